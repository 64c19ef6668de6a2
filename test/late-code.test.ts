// Tests calls whose code is loaded late: they use the values of their arguments at the call.

import { rmSync } from 'node:fs';
import { expect, test } from 'vitest';
import { fresh, freshFolder } from './support/fresh.js';
import { buffer, device } from './support/gpu.js';
import { array } from './support/numbers.js';

const grad = { w: array(12, 2) };

test('loadStateDict() loads the dict as it was at the call', async () => {
  const { adamw } = await fresh();
  const optimizer = await adamw({ w: array(12, 1) });
  optimizer.step(grad);
  const dict = await optimizer.stateDict();
  const expected = structuredClone(dict);
  const loading = optimizer.loadStateDict(dict);
  (dict.state[0].exp_avg as Float32Array).fill(7);
  dict.state[0].step = 7;
  dict.param_groups[0].lr = 7;
  await loading;
  expect(await optimizer.stateDict()).toEqual(expected);
});

test('the first addParams() reads arrays until it resolves, as later calls and creation do', async () => {
  const { adamw } = await fresh();
  const optimizer = await adamw({ w: array(12, 1) });
  for (const name of ['first', 'later']) {
    const values = array(2 ** 16, 3);
    const adding = optimizer.addParams(0, { [name]: values });
    structuredClone(values, { transfer: [values.buffer] });
    await expect(adding).rejects.toThrow(`parameter "${name}"`);
    expect(Object.keys(optimizer.params)).toEqual(['w']);
  }
});

test('addParamGroup() adds the group as it was at the call', async () => {
  const { adamw } = await fresh();
  const optimizer = await adamw({ w: array(12, 1) });
  const group = { params: { v: array(5, 3) }, lr: 0.5, schedule: () => 1 };
  const adding = optimizer.addParamGroup(group);
  group.params = { v: array(5, 7) };
  group.lr = 7;
  const grown = await adding;
  expect(grown).toBe(optimizer);
  expect([grown.params.v, optimizer.groups[1].lr]).toEqual([array(5, 3), 0.5]);
});

test('stateDict() and read() return the values at the call, regardless of later steps', async () => {
  const { adamwScheduleFree } = await fresh();
  const optimizer = await adamwScheduleFree({ w: array(12, 1) });
  optimizer.step(grad);
  const [saving, reading] = [optimizer.stateDict(), optimizer.read('w', { average: true })];
  const before = await optimizer.stateDict();
  optimizer.step(grad);
  expect(await saving).toEqual(before);
  const again = await adamwScheduleFree({ w: array(12, 1) });
  again.step(grad);
  expect(await reading).toEqual(await again.read('w', { average: true }));
});

test('loadStateDict() rejects if a step was taken before its code was loaded', async () => {
  const { adamw } = await fresh();
  const optimizer = await adamw({ w: array(12, 1) });
  const dict = await optimizer.stateDict();
  const loading = optimizer.loadStateDict(dict);
  optimizer.step(grad);
  await expect(loading).rejects.toThrow('The optimizer changed while its state dict was being loaded.');
  expect(optimizer.stepOf('w')).toBe(1);
  await optimizer.loadStateDict(dict);
  expect(optimizer.stepOf('w')).toBe(0);
});

test('calls whose code cannot be loaded reject with a sentence and change nothing', async () => {
  const folder = freshFolder();
  rmSync(new URL('state.js', folder));
  const { adamw } = (await import(new URL('index.js', folder).href)) as typeof import('twinstep');
  const optimizer = await adamw({ w: array(12, 1) });
  const dict = await optimizer.stateDict();
  await expect(optimizer.loadStateDict(dict)).rejects.toThrow(
    'loadStateDict() cannot run: its code cannot be loaded here',
  );
  await expect(optimizer.addParams(0, { v: array(3, 1) })).rejects.toThrow(
    'addParams() cannot run: its code cannot be loaded here',
  );
  optimizer.step(grad);
  expect(optimizer.stepOf('w')).toBe(1);
});

test('creation reads GPU buffers, groups and options at the call, each property once', async () => {
  const { adamw } = await fresh();
  const [first, second] = [buffer(array(64, 1)), buffer(array(64, 2))];
  let reads = 0;
  const binding = { buffer: first, offset: 0, size: 128 };
  const params = {
    get w() {
      reads += 1;
      return binding;
    },
  };
  const betas: [number, number] = [0.8, 0.9];
  const groups = [{ params, lr: 0.5, betas }, { params: { v: second } }];
  const making = adamw(groups, { device });
  Object.assign(binding, { buffer: second, size: 256 });
  groups[0].lr = 7;
  betas[0] = 0;
  groups.length = 1;
  const optimizer = await making;
  expect(reads).toBe(1);
  expect(optimizer.params.w).toEqual({ buffer: first, offset: 0, size: 128 });
  expect(optimizer.groups.map(({ lr, betas: rates }) => [lr, rates])).toEqual([
    [0.5, [0.8, 0.9]],
    [0.001, [0.9, 0.999]],
  ]);
});

test.each(['code', 'load', 'failed', 'settled', 'grad', 'one', 'fromParam', 'drop', 'trainMode'])(
  'ignores a property %s of Object.prototype',
  async (name) => {
    const { adamw, lookahead } = await fresh();
    Reflect.defineProperty(Object.prototype, name, { value: 'x', configurable: true, writable: true });
    try {
      const optimizer = await adamw({ w: array(12, 1) });
      const grown = await optimizer.addParams(0, { v: array(3, 1) });
      expect(grown).toBe(optimizer);
      const ahead = await lookahead(optimizer);
      ahead.step(grad);
      await ahead.loadStateDict(await ahead.stateDict());
      expect(await optimizer.norms()).toEqual({
        w: { param: norm(optimizer.params.w), grad: expect.closeTo(norm(grad.w)) },
        v: { param: norm(array(3, 1)), grad: 0 },
      });
      await grown.removeParams(['v']);
      expect(optimizer.stepOf('w')).toBe(1);
    } finally {
      delete (Object.prototype as Record<string, unknown>)[name];
    }
  },
);

const norm = (values: Float32Array): number => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
