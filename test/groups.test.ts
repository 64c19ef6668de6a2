// Tests adding, removing, freezing and masking tensors, steps in parts, and loading state dicts of other groups.

import {
  adam,
  adamw,
  adamwScheduleFree,
  lookahead,
  noDecayOnBiasAndNorm,
  sgdScheduleFree,
  type Optimizer,
} from 'twinstep';
import { reduceOnPlateau } from 'twinstep/schedules';
import { describe, expect, test, vi } from 'vitest';
import { backends, webgpu } from './support/backends.js';
import { any, buffer, contents, STORAGE, watchBuffers } from './support/gpu.js';
import { array, tensors } from './support/numbers.js';
import { readAll, same, type Tensors } from './support/tensors.js';

const lengths = [3, 64];
const x = (): Float32Array => array(5, 9);

/** Counts the entries that `work` adds to maps, sets and frozen objects. */
async function entriesOf(work: () => Promise<void>): Promise<number> {
  const { freeze } = Object;
  let entries = 0;
  const spies = [
    vi.spyOn(Map.prototype, 'set'),
    vi.spyOn(Set.prototype, 'add'),
    vi.spyOn(Object, 'freeze').mockImplementation((object) => {
      entries += Object.keys(object as object).length;
      return freeze(object);
    }),
  ];
  await work();
  for (const { mock } of spies.slice(0, 2)) entries += mock.calls.length;
  for (const spy of spies) spy.mockRestore();
  return entries;
}

/** Counts the array items that `work` filters. */
async function filteredBy(work: () => Promise<void>): Promise<number> {
  const { filter } = Array.prototype;
  let items = 0;
  const spy = vi.spyOn(Array.prototype, 'filter').mockImplementation(function (this: unknown[], ...how) {
    items += this.length;
    return filter.apply(this, how);
  });
  await work();
  spy.mockRestore();
  return items;
}

describe.each(backends)('%s', (...[, backend]) => {
  const make = () => adamw([{ params: tensors(lengths, 1), decayMask: { w3: true, w64: false } }], backend);

  test.each([
    ['a duplicate name', { params: { w3: x() } }, 'The parameter name "w3" of group 1 is already in use.'],
    ['no parameter', { params: {} }, 'Expected at least one parameter, got an Object.'],
    ['no record', [x()], 'Expected group 1 to be a record with params, got [Float32Array(5)].'],
    [
      'a bad option',
      { params: { x: x() }, lr: -1 },
      'Expected lr of group 1 to be a finite number of at least 0, got -1.',
    ],
    ['an unknown option', { params: { x: x() }, momentum: 1 }, 'Unknown option "momentum" of group 1, got 1;'],
    ['a mask without its name', { params: { x: x() }, decayMask: {} }, 'decayMask of group 1 lacks "x".'],
    ['a list of numbers', { params: { x: [1] } }, 'Expected parameter "x" to be a Float32Array, a GPUBuffer or a'],
  ])('addParamGroup() refuses %s', async (_, group, sentence) => {
    const optimizer = await make();
    const before = await optimizer.stateDict();
    await expect(optimizer.addParamGroup(any(group))).rejects.toThrow(sentence);
    expect(await optimizer.stateDict()).toEqual(before);
    expect(Object.keys(optimizer.params)).toEqual(['w3', 'w64']);
    await optimizer.addParamGroup({ params: { x: x() } });
    optimizer.step({ x: x() });
    expect(optimizer.stepOf('x')).toBe(1);
  });

  test('addParams() refuses an unknown group, and a name that the mask does not have', async () => {
    const optimizer = await make();
    const lacks = 'decayMask of group 0 lacks "x".';
    await expect(optimizer.addParams(0, { x: x() })).rejects.toThrow(lacks);
    await expect(optimizer.addParams(1, { x: x() })).rejects.toThrow(
      'Expected the group to be an index below 1, got 1.',
    );
    await expect(optimizer.addParams(0, {})).rejects.toThrow('Expected at least one parameter, got an Object.');
    expect(Object.keys(optimizer.params)).toEqual(['w3', 'w64']);
  });

  test('refuses two additions at the same time, and one after dispose()', async () => {
    const optimizer = await make();
    const first = optimizer.addParamGroup({ params: { x: x() } });
    await expect(optimizer.addParamGroup({ params: { y: x() } })).rejects.toThrow('await that first');
    await first;
    const late = optimizer.addParamGroup({ params: { y: x() } });
    optimizer.dispose();
    await expect(late).rejects.toThrow('disposed of');
  });

  test('the work of adding a tensor does not depend on the number of tensors', async () => {
    const optimizer = await adamw(tensors(lengths, 1), backend);
    const added = async (i: number): Promise<void> => {
      await optimizer.addParams(0, { [`x${i}`]: x() });
      await optimizer.addParamGroup({ params: { [`y${i}`]: x() } });
    };
    for (let i = 0; i < 10; i++) await added(i);
    const few = await entriesOf(() => added(10));
    for (let i = 11; i < 300; i++) await added(i);
    expect(await entriesOf(() => added(300))).toBe(few);
  });

  test('tensors added one by one step like those of one record, and are listed in the order of addition', async () => {
    const names = Array.from({ length: 300 }, (_, i) => `x${i}`);
    const made = (seed: number) => Object.fromEntries(names.map((name, i) => [name, array(1 + (i % 70), seed + i)]));
    const params = made(1);
    const [separate, whole] = [await adamw({ x0: params.x0 }, backend), await adamw(params, backend)];
    for (const name of names.slice(1)) await separate.addParams(0, { [name]: params[name] });
    for (const seed of [500, 1000]) for (const optimizer of [separate, whole]) optimizer.step(made(seed));
    same(await readAll(separate, params), await readAll(whole, params));
    for (const shown of [separate.params, separate.grads]) {
      expect(Object.keys(shown)).toEqual(names);
      expect(Object.isFrozen(shown)).toBe(true);
    }
    expect(separate.params).toBe(separate.params);
  });

  test('an added group has the options of the optimizer’s creation', async () => {
    const schedule = (): number => 0.5;
    const optimizer = await adamw([{ params: tensors(lengths, 1), lr: 0.25 }], { ...backend, lr: 0.125, schedule });
    await optimizer.addParamGroup({ params: { x: x() }, weightDecay: 0 });
    const [, { lr, weightDecay, betas }] = optimizer.groups;
    expect([lr, weightDecay, betas]).toEqual([0.125, 0, [0.9, 0.999]]);
    optimizer.step({ x: x() });
    expect(optimizer.groups[1].scheduledLr).toBe(0.0625);
  });

  test('a group added in eval mode is in eval mode', async () => {
    const optimizer = await adamwScheduleFree(tensors(lengths, 1), backend);
    optimizer.step(tensors(lengths, 2));
    optimizer.eval();
    await optimizer.addParamGroup({ params: { x: x() } });
    expect(optimizer.groups[1].trainMode).toBe(false);
    same(await readAll(optimizer, { x: 0 }), { x: x() });
    optimizer.train();
    optimizer.step({ x: x() });
  });

  test('freeze() refuses unknown names and groups', async () => {
    const optimizer = await make();
    expect(() => optimizer.freeze('x')).toThrow('There is no parameter "x"; there are "w3", "w64".');
    expect(() => optimizer.unfreeze(1)).toThrow('Expected the group to be an index below 1, got 1.');
    expect(() => optimizer.freeze(any(null))).toThrow(
      'Expected the argument to be the name of a tensor or the index of a group, got null.',
    );
    const dict = await optimizer.stateDict();
    dict.param_groups[0].frozen = ['x'];
    await expect(optimizer.loadStateDict(dict)).rejects.toThrow(
      'There is no parameter "x", listed as frozen in param_groups[0]; there are "w3", "w64".',
    );
  });

  test('a gradient for a frozen tensor is checked', async () => {
    const optimizer = await make();
    optimizer.freeze('w3');
    expect(() => optimizer.step({ w3: x() })).toThrow('Expected 3 gradient values for "w3", got 5.');
  });

  test('refuses a state dict of another decay mask, naming the tensors on which they differ', async () => {
    const [optimizer, other] = [await make(), await adamw([{ params: tensors(lengths, 1) }], backend)];
    const dict = await optimizer.stateDict();
    expect(dict.param_groups[0].no_decay).toEqual(['w64']);
    await expect(other.loadStateDict(dict)).rejects.toThrow('disagrees on "w64" with the state dict');
    const [{ no_decay: _, ...group }] = dict.param_groups;
    await other.loadStateDict({ ...dict, param_groups: [group as (typeof dict.param_groups)[0]] });
  });

  test('refuses a state dict with a key in camelCase', async () => {
    const optimizer = await make();
    const dict = await optimizer.stateDict();
    dict.param_groups[0].weightDecay = 0.5;
    await expect(optimizer.loadStateDict(dict)).rejects.toThrow(
      'State dicts use PyTorch\'s names: expected "weight_decay", got "weightDecay" in param_groups[0].',
    );
  });

  test('a step in parts takes each gradient once, and other calls throw until it is complete', async () => {
    const optimizer = await adamwScheduleFree(tensors(lengths, 1), backend);
    const { w3, w64 } = tensors(lengths, 2);
    optimizer.step({ w3 }, { more: true });
    expect(() => optimizer.step({ w3 })).toThrow('Got a second gradient of "w3" in the same step.');
    expect(() => optimizer.eval()).toThrow('A step is unfinished');
    await expect(optimizer.stateDict()).rejects.toThrow('A step is unfinished');
    expect(optimizer.stepOf('w3')).toBe(0);
    optimizer.step({ w64 });
    expect(optimizer.stepOf('w3')).toBe(1);
    optimizer.step({ w3 }, { more: true });
    optimizer.step({});
    expect(optimizer.stepOf('w3')).toBe(2);
    expect(() => optimizer.step({ w3 }, { more: any(1) })).toThrow('Expected more to be true or false, got 1.');
  });
});

const changes: Readonly<Record<string, [change: (array: Float32Array<ArrayBuffer>) => void, refusal: string]>> = {
  transferred: [(of) => void structuredClone(of.buffer, { transfer: [of.buffer] }), 'to have its memory'],
  resized: [(of) => (of.buffer as any).resize(64), 'Expected parameter "t" to keep its 8 values, got 16.'],
};

test.each(
  (['wasm', 'reference'] as const).flatMap((backend) =>
    Object.keys(changes).map((change) => [backend, change] as const),
  ),
)(
  '%s: an addition that is refused, since an array was %s meanwhile, leaves free memory zero',
  async (backend, name) => {
    const [change, refusal] = changes[name];
    const optimizer: Optimizer<Float32Array> = await adamw({ w: array(4, 1) }, { backend });
    // Opens the buffer that small tensors share.
    await optimizer.addParams(0, { first: array(3, 2) });
    const t = new Float32Array(new (ArrayBuffer as any)(32, { maxByteLength: 64 }) as ArrayBuffer);
    const adding = optimizer.addParams(0, { big: array(1000, 3), t });
    change(t);
    await expect(adding).rejects.toThrow(refusal);
    await optimizer.addParams(0, { c: new Float32Array(1000) });
    optimizer.step({ c: new Float32Array(1000) });
    expect(optimizer.params.c).toEqual(new Float32Array(1000));
  },
);

test.each(['wasm', 'reference'] as const)('%s: small added tensors share a buffer', async (backend) => {
  const optimizer = await adamw(tensors(lengths, 1), { backend });
  for (let i = 0; i < 400; i++) await optimizer.addParams(0, { [`x${i}`]: x() });
  const buffers = new Set(Object.values(optimizer.params).map((each) => each.buffer));
  expect(buffers.size).toBe(2);
});

describe.each(backends)('%s: removeParams()', (...[, backend]) => {
  test('takes work proportional to the number of tensors', async () => {
    const workOf = async (count: number): Promise<number> => {
      const params: Tensors = { w: x() };
      const optimizer = await adamw(params, backend);
      const names = Array.from({ length: count }, (_, i) => `x${i}`);
      for (const [i, name] of names.entries()) {
        if (i % 2 === 0) await optimizer.addParams(0, { [name]: x() });
        else await optimizer.addParamGroup({ params: { [name]: x() } });
      }
      let entries = 0;
      const filtered = await filteredBy(async () => {
        entries = await entriesOf(() => optimizer.removeParams(names));
      });
      expect(Object.keys(optimizer.params)).toEqual(['w']);
      optimizer.dispose();
      return entries + filtered;
    };
    expect(await workOf(200)).toBeLessThan(3 * (await workOf(100)));
  });

  const all = [1, 3, 64, 130];
  const grads = (seed: number, names: readonly string[]) => {
    return Object.fromEntries(Object.entries(tensors(all, seed)).filter(([name]) => names.includes(name)));
  };
  const two = (): { params: Tensors }[] => {
    const { w1, w3, ...others } = tensors(all, 1);
    return [{ params: { w1, w3 } }, { params: others }];
  };

  test.each([
    ['the last of a group', ['w3']],
    ['the first of a group', ['w64']],
    ['a whole group', ['w1', 'w3']],
    ['one of each group', ['w130', 'w1']],
  ])('leaves the other tensors unchanged: %s', async (_, names) => {
    for (const make of [adamw, sgdScheduleFree] as unknown as (typeof adamw)[]) {
      const left = ['w1', 'w3', 'w64', 'w130'].filter((name) => !names.includes(name));
      const [optimizer, separate] = [await make(two(), backend), await make(two(), backend)];
      for (let t = 0; t < 3; t++) for (const each of [optimizer, separate]) each.step(tensors(all, 10 + t));
      const shown = optimizer.params[left[0]];
      await optimizer.removeParams(names);
      expect(Object.keys(optimizer.params).toSorted()).toEqual(left.toSorted());
      expect(Object.keys(optimizer.grads).toSorted()).toEqual(left.toSorted());
      expect(optimizer.params[left[0]]).toBe(shown);
      expect(optimizer.groups.flatMap(({ params }) => params)).toEqual(left);
      expect(() => optimizer.step(tensors(all, 1))).toThrow(`There is no parameter "${names.toSorted()[0]}"`);
      expect(() => optimizer.stepOf(names[0])).toThrow('There is no parameter');
      await expect(optimizer.read(names[0])).rejects.toThrow('There is no parameter');
      for (let t = 0; t < 3; t++) for (const each of [optimizer, separate]) each.step(grads(20 + t, left));
      optimizer.eval();
      separate.eval();
      same(await readAll(optimizer, grads(1, left)), await readAll(separate, grads(1, left)));
      const norms = await optimizer.norms();
      expect(Object.keys(norms).toSorted()).toEqual(left.toSorted());

      // A second optimizer without the same tensors loads the state dict.
      const another = await make(two(), backend);
      await another.removeParams(names);
      await another.loadStateDict(await optimizer.stateDict(), { params: await readAll(optimizer, grads(1, left)) });
      for (const each of [optimizer, another]) {
        each.train();
        each.zeroGrad();
        each.step(grads(30, left));
      }
      same(await readAll(another, grads(1, left)), await readAll(optimizer, grads(1, left)));
    }
  });

  test('allows adding the tensors again, to any group, with new state', async () => {
    const optimizer = await adamw(two(), backend);
    optimizer.step(tensors(all, 2));
    await optimizer.removeParams(['w1', 'w3']);
    expect(optimizer.groups[0].params).toEqual([]);
    optimizer.step(grads(3, ['w64', 'w130']));
    await optimizer.addParams(1, { w3: array(3, 5) });
    await optimizer.addParams(0, { w1: array(1, 5) });
    expect(optimizer.groups.map(({ params }) => params)).toEqual([['w1'], ['w64', 'w130', 'w3']]);
    expect([optimizer.stepOf('w3'), optimizer.stepOf('w64'), optimizer.completedSteps]).toEqual([0, 2, 2]);
    const separate = await adamw({ w1: array(1, 5), w3: array(3, 5) }, backend);
    for (let t = 0; t < 3; t++) {
      optimizer.step(tensors(all, 10 + t));
      separate.step(grads(10 + t, ['w1', 'w3']));
    }
    same(await readAll(optimizer, { w1: 0, w3: 0 }), await readAll(separate, { w1: 0, w3: 0 }));
    for (let i = 0; i < 5; i++) {
      await optimizer.removeParams(['w3', 'w64']);
      await optimizer.addParams(0, { w64: array(64, i), w3: array(3, i) });
      optimizer.step(tensors(all, i));
      expect([optimizer.stepOf('w3'), optimizer.stepOf('w130')]).toEqual([1, 6 + i]);
    }
  });

  test('does not change the number of completed steps', async () => {
    const optimizer = await adamw(two(), backend);
    optimizer.step(tensors(all, 2));
    optimizer.step(grads(3, ['w3']));
    await optimizer.removeParams(['w3']);
    expect(optimizer.completedSteps).toBe(2);
    const dict = await optimizer.stateDict();
    expect(dict.param_groups[0]).toMatchObject({ completed_steps: 2, param_names: ['w1'] });
    optimizer.step(grads(4, ['w1']));
    expect([optimizer.completedSteps, optimizer.stepOf('w1')]).toEqual([3, 2]);
  });

  test.each([
    [['w3', 'x'], 'There is no parameter "x"; there are "w1", "w3", "w64", "w130".'],
    [['w3', 'w3'], 'The parameter "w3" is listed twice.'],
    [['w3', 5], 'Expected the parameter to be a name, got 5.'],
    [[], 'Expected the names to remove to be an array of at least one, got [].'],
    ['w3', 'Expected the names to remove to be an array of at least one, got "w3".'],
    [undefined, 'Expected the names to remove to be an array of at least one, got undefined.'],
    [['w1', 'w3', 'w64', 'w130'], 'Cannot remove all parameters of an optimizer: to free it, call dispose().'],
  ])('refuses %j', async (names, sentence) => {
    const optimizer = await adamw(two(), backend);
    optimizer.step(tensors(all, 2));
    const before = await optimizer.stateDict();
    await expect(optimizer.removeParams(any(names))).rejects.toThrow(sentence);
    await expect(optimizer.removeParams(Array(2 ** 32 - 1))).rejects.toThrow(
      'Expected the parameter to be a name, got undefined.',
    );
    expect(await optimizer.stateDict()).toEqual(before);
    optimizer.step(tensors(all, 3));
  });

  test('throws within a step, between batches, and while tensors are being added', async () => {
    const optimizer = await adamw(two(), backend);
    optimizer.step(grads(1, ['w1']), { more: true });
    await expect(optimizer.removeParams(['w3'])).rejects.toThrow('A step is unfinished');
    optimizer.step(grads(1, ['w3']));
    optimizer.accumulate(grads(1, ['w1']));
    await expect(optimizer.removeParams(['w3'])).rejects.toThrow('There are accumulated gradients (batches: 1)');
    optimizer.zeroGrad();
    const adding = optimizer.addParams(0, { x: x() });
    await expect(optimizer.removeParams(['w3'])).rejects.toThrow('Parameters are being added: await that first.');
    await adding;
    await optimizer.removeParams(['w3', 'x']);
    const lazy = optimizer.lazyStateDict();
    await optimizer.removeParams(['w1']);
    await expect(lazy.params[0].read()).rejects.toThrow('The optimizer changed before "w1"');
  });

  test('keeps the names in a decay mask that is a record', async () => {
    const decayMask = { w3: true, w64: false };
    const optimizer = await adamw(tensors(lengths, 1), { ...backend, decayMask });
    await optimizer.removeParams(['w3']);
    await optimizer.addParams(0, { w3: array(3, 1) });
    await optimizer.removeParams(['w64']);
    await optimizer.addParamGroup({ params: { w64: array(64, 1) } });
    expect((await optimizer.stateDict()).param_groups.map((group) => group.no_decay)).toEqual([[], ['w64']]);
  });

  test('removes slow weights of Lookahead', async () => {
    const [ahead, separate] = await Promise.all(
      [0, 1].map(async () => lookahead(await adamw(two(), backend), { k: 2 })),
    );
    const left = ['w1', 'w64'];
    for (let t = 0; t < 3; t++) for (const each of [ahead, separate]) each.step(tensors(all, 10 + t));
    await ahead.optimizer.removeParams(['w3']);
    await ahead.optimizer.removeParams(['w130']);
    for (let t = 0; t < 3; t++) for (const each of [ahead, separate]) each.step(grads(20 + t, left));
    same(await readAll(ahead.optimizer, grads(1, left)), await readAll(separate.optimizer, grads(1, left)));
    expect(Object.keys(ahead.slow.params)).toEqual(left);
    await ahead.loadStateDict(await ahead.stateDict());
    await ahead.optimizer.addParams(0, { w3: array(3, 1) });
    await ahead.follow();
    ahead.step(grads(30, [...left, 'w3']));
  });
});

test('the array of a removed tensor on the CPU stays readable, and threads step the others', async () => {
  const params: Tensors = { big: array(200_000, 1), small: array(3, 2) };
  const [optimizer, separate] = await Promise.all([2, 1].map((threads) => adamw(params, { threads })));
  const { small } = optimizer.params;
  await optimizer.removeParams(['small']);
  expect(small).toEqual(params.small);
  await optimizer.addParams(0, { more: array(100_000, 3) });
  await optimizer.removeParams(['big']);
  await optimizer.addParams(0, { big: array(200_000, 1) });
  for (let t = 0; t < 3; t++) {
    optimizer.step({ big: array(200_000, t), more: array(100_000, t) });
    separate.step({ big: array(200_000, t) });
  }
  same({ big: await optimizer.read('big') }, { big: await separate.read('big') });
  for (const each of [optimizer, separate]) each.dispose();
});

test('removing parts of one buffer takes work proportional to their number', async () => {
  const { device } = webgpu!;
  const workOf = async (count: number): Promise<number> => {
    const all = buffer(array(64 * count, 1));
    const params = Object.fromEntries(
      Array.from({ length: count }, (_, i) => [`x${i}`, { buffer: all, offset: 256 * i, size: 256 }]),
    );
    const optimizer: Optimizer<GPUBufferBinding> = await adamw({ ...params, w: buffer(x()) }, { device });
    const filtered = await filteredBy(() => optimizer.removeParams(Object.keys(params)));
    expect(Object.keys(optimizer.params)).toEqual(['w']);
    optimizer.step({ w: all });
    return filtered;
  };
  expect(await workOf(200)).toBeLessThan(3 * (await workOf(100)));
});

test('removeParams() destroys the optimizer’s buffers, but not the caller’s', async () => {
  const { device } = webgpu!;
  const [first, second] = [buffer(array(64, 1)), buffer(array(64, 2))];
  const made = vi.spyOn(device, 'createBuffer');
  const optimizer: Optimizer<GPUBufferBinding> = await adamw({ first }, { device, lr: 0.1 });
  await optimizer.addParamGroup({ params: { second } });
  const own = made.mock.results.map(({ value }) => value as GPUBuffer);
  made.mockRestore();
  optimizer.step({ first: array(64, 3), second: array(64, 4) });
  const grad = (optimizer.grads as Record<string, GPUBufferBinding>).second.buffer;
  const destroyed = [...own, grad].filter((each) => each.label !== 'twinstep grad' || each === grad);
  const spies = destroyed.map((each) => vi.spyOn(each, 'destroy'));
  expect(() => optimizer.step({ first: second })).toThrow('The gradient of "first" overlaps the parameter "second".');
  const value = await contents(second);
  await optimizer.removeParams(['second']);
  expect(spies.filter((spy) => spy.mock.calls.length > 0).length).toBe(3);
  expect(await contents(second)).toEqual(value);
  optimizer.step({ first: second });
  await optimizer.addParams(0, { again: second });
  optimizer.step({ first: buffer(array(64, 5)), again: array(64, 6) });
  await optimizer.removeParams(['first']);
  await optimizer.stateDict();
  optimizer.zeroGrad();
  optimizer.dispose();
  expect((await contents(first)).every(Number.isFinite)).toBe(true);
});

describe.each(backends)('%s: a state dict', (...[, backend]) => {
  const grads = (seed: number) => tensors(lengths, seed);

  /** The state dict of a run with many options that another run may not have. */
  async function saved() {
    const schedule = reduceOnPlateau({ patience: 0, factor: 0.5 });
    const run = await adamw(tensors(lengths, 1), { ...backend, lr: 0.1, schedule, betas: () => [0.8, 0.9] });
    for (let t = 0; t < 3; t++) run.step(grads(10 + t));
    for (const metric of [1, 2]) schedule.step(metric);
    run.freeze('w3');
    return run.stateDict();
  }

  test('loads with options: "current", which keeps the options of the run', async () => {
    const dict = await saved();
    const schedule = reduceOnPlateau({ patience: 5 });
    const options = { lr: 0.5, eps: 1e-4, weightDecay: 0.25, decayMask: (name: string) => name === 'w3', schedule };
    const run = await adamw(tensors(lengths, 1), { ...backend, ...options });
    await expect(run.loadStateDict(dict)).rejects.toThrow(
      `saved with functions as "betas" in param_groups[0]: functions are not saved, so pass them when you create the optimizer. To keep the optimizer's options, load with options: 'current'.`,
    );
    run.freeze('w64');
    expect(await run.loadStateDict(dict, { options: 'current' })).toEqual({ missing: [], unexpected: [] });
    const [group] = run.groups;
    expect(group).toMatchObject({ lr: 0.5, eps: 1e-4, weightDecay: 0.25, betas: [0.9, 0.999], frozen: ['w64'] });
    expect([run.completedSteps, run.stepOf('w3'), run.stepOf('w64')]).toEqual([3, 3, 3]);
    expect(schedule(0)).toBe(0.5);
    const after = await run.stateDict();
    expect(after.state).toEqual(dict.state);
    expect(after.param_groups[0].no_decay).toEqual(['w64']);

    // The next step equals that of an optimizer with the same moments that had these options from the start.
    run.unfreeze(0);
    const twin = await adamw(tensors(lengths, 1), { ...backend, ...options });
    await twin.loadStateDict({
      state: dict.state,
      param_groups: after.param_groups.map((each) => ({ ...each, frozen: [] })),
    });
    for (const each of [run, twin]) each.step(grads(20));
    same(await readAll(run, tensors(lengths, 1)), await readAll(twin, tensors(lengths, 1)));
  });

  test('loads with options: "current" into a run with another schedule or with Nesterov’s step', async () => {
    const dict = await saved();
    const run = await adamw(tensors(lengths, 1), { ...backend, schedule: () => 0.5, nesterov: true, epsRoot: 1e-8 });
    await run.loadStateDict(dict, { options: 'current' });
    run.step(grads(20));
    expect(run.groups[0].scheduledLr).toBe(0.0005);
    const amsgrad = await adamw(tensors(lengths, 1), { ...backend, amsgrad: true });
    // No advice to load with options: 'current', which cannot work: the state lacks an array.
    await expect(amsgrad.loadStateDict(dict)).rejects.toThrow(
      /^This optimizer was made with amsgrad = true, got false in param_groups\[0\]\. Its state has other arrays: make the optimizer with amsgrad = false\.$/,
    );
    const nesterov = await adamw(tensors(lengths, 1), { ...backend, nesterov: true });
    await expect(nesterov.loadStateDict(dict)).rejects.toThrow(
      "with nesterov = true, got false in param_groups[0]. To keep the optimizer's options, load with options: 'current'.",
    );
    await nesterov.loadStateDict(dict, { options: 'current' });
    await expect(amsgrad.loadStateDict(dict, { options: 'current' })).rejects.toThrow(
      'Expected max_exp_avg_sq in the state of "w3" to be a Float32Array, got undefined.',
    );
    const other = await adam(tensors(lengths, 1), backend);
    await expect(other.loadStateDict(dict, { options: 'current' })).rejects.toThrow('decoupled_weight_decay = true in');
  });

  test.each([
    [{ options: 'mine' }, 'Expected options to be "saved" or "current", got "mine".'],
    [{ options: null }, 'Expected options to be "saved" or "current", got null.'],
    [{ strict: 0 }, 'Expected strict to be true or false, got 0.'],
    [{ strickt: false }, 'Unknown option "strickt"; loadStateDict has "params", "options", "strict".'],
  ])('does not load with %j', async (how, sentence) => {
    const run = await adamw(tensors(lengths, 1), backend);
    await expect(run.loadStateDict(await run.stateDict(), any(how))).rejects.toThrow(sentence);
  });

  test('with another beta1 of Schedule-Free is refused in train mode, where parameters depend on beta1', async () => {
    const make = (beta1: number) => adamwScheduleFree(tensors(lengths, 1), { ...backend, betas: [beta1, 0.999] });
    const [from, to] = [await make(0.9), await make(0.8)];
    from.step(grads(2));
    const before = await to.stateDict();
    await expect(to.loadStateDict(await from.stateDict(), { options: 'current' })).rejects.toThrow(
      'The parameters were saved in param_groups[0] in train mode with another beta1 or momentum',
    );
    expect(await to.stateDict()).toEqual(before);
    from.eval();
    const params = await readAll(from, tensors(lengths, 1));
    await to.loadStateDict(await from.stateDict(), { options: 'current', params });
    same(await readAll(to, params, true), params);
    to.train();
    expect(to.groups[0].betas).toEqual([0.8, 0.999]);
    const average = await readAll(to, params, true);
    for (const name in params) {
      average[name].forEach((value, i) => expect(Math.abs(value - params[name][i])).toBeLessThan(1e-6));
    }
  });

  test('loads what fits with strict: false into a model with other tensors and groups', async () => {
    const [body, head, old] = [array(5, 1), array(3, 2), array(2, 3)];
    const from = await adamw([{ params: { body, old } }, { params: { head }, lr: 0.5 }], { ...backend, lr: 0.25 });
    const all = { body: array(5, 11), head: array(3, 12), old: array(2, 13), fresh: array(4, 14) };
    const { fresh, ...known } = all;
    for (let t = 0; t < 3; t++) from.step(known);
    const dict = await from.stateDict();
    const to = await adamw(
      [{ params: { head, fresh: array(4, 4) } }, { params: { body } }, { params: { late: array(2, 5) } }],
      backend,
    );
    for (let t = 0; t < 2; t++) to.step({ fresh });
    const { state } = await to.stateDict();
    await expect(to.loadStateDict(dict)).rejects.toThrow(
      'Expected the number of param_groups to be 3, got 2. To load only the tensors that both have, load with strict',
    );
    const names = await to.loadStateDict(dict, { strict: false });
    expect(names).toEqual({ missing: ['fresh', 'late'], unexpected: ['old'] });
    expect(to.groups.map(({ lr }) => lr)).toEqual([0.5, 0.25, 0.001]);
    const after = await to.stateDict();
    expect(after.state).toEqual({ 0: dict.state[2], 1: state[1], 2: dict.state[0] });
    expect(to.completedSteps).toBe(3);
    to.step({ fresh, body: all.body });
    expect([to.completedSteps, to.stepOf('fresh'), to.stepOf('body'), to.stepOf('head')]).toEqual([4, 3, 4, 3]);
    const none = await adamw({ x: x() }, backend);
    none.step({ x: x() });
    const own = await none.stateDict();
    expect(await none.loadStateDict(dict, { strict: false })).toEqual({
      missing: ['x'],
      unexpected: ['body', 'old', 'head'],
    });
    expect((await none.stateDict()).state).toEqual(own.state);
  });

  test('with another length, without names, or with a duplicate name is refused even with strict: false', async () => {
    const run = await adamw([{ params: { w3: array(3, 1) } }, { params: { w64: array(64, 1) } }], backend);
    run.step(grads(5));
    const dict = await run.stateDict();
    const other = await adamw({ w3: array(4, 1), more: x() }, backend);
    const before = await other.stateDict();
    const [first, second] = dict.param_groups;
    const { param_names: _, ...unnamed } = first;
    for (const [bad, sentence] of [
      [dict, 'Expected 4 values of exp_avg in the state of "w3", got 3.'],
      [
        { ...dict, param_groups: [unnamed, second] },
        'Expected param_names in param_groups[0], since tensors are matched by name, got none.',
      ],
      [{ ...dict, param_groups: [first, { ...second, param_names: ['w3'] }] }, 'The parameter "w3" is listed twice'],
      [
        { ...dict, state: { 1: dict.state[1], 7: dict.state[0] } },
        'The state dict has state for "7", which is in no group.',
      ],
      [{ ...dict, param_groups: 5 }, 'Expected param_groups to be an array, got 5.'],
    ] as const) {
      await expect(other.loadStateDict(any(bad), { strict: false })).rejects.toThrow(sentence);
      expect(await other.stateDict()).toEqual(before);
    }
    const params = { w3: array(3, 1), gone: x() };
    await expect(other.loadStateDict(await other.stateDict(), { strict: false, params })).rejects.toThrow(
      'Expected 4 values of parameter "w3", got 3.',
    );
  });

  test('is refused if two of its groups are now one, except with options: "current"', async () => {
    const from = await adamw([{ params: { a: x() }, lr: 0.5 }, { params: { b: x() } }], backend);
    from.step({ a: x(), b: x() });
    const dict = await from.stateDict();
    const to = await adamw({ a: x(), b: x() }, { ...backend, lr: 0.125 });
    await expect(to.loadStateDict(dict, { strict: false })).rejects.toThrow(
      'Group 0 has "a", "b", which the state dict has in param_groups[0] and in param_groups[1]: create the same groups as the state dict has, or (except for Schedule-Free) load with options: \'current\'.',
    );
    await to.loadStateDict(dict, { strict: false, options: 'current' });
    expect([to.groups[0].lr, to.stepOf('a'), to.stepOf('b'), to.completedSteps]).toEqual([0.125, 1, 1, 1]);
    const free = await sgdScheduleFree([{ params: { a: x() } }, { params: { b: x() } }], backend);
    const one = await sgdScheduleFree({ a: x(), b: x() }, backend);
    const merging = one.loadStateDict(await free.stateDict(), { strict: false, options: 'current' });
    await expect(merging).rejects.toThrow('Group 0 has "a", "b", which the state dict has in');
  });

  test('of Schedule-Free is refused if a missing tensor was stepped in another mode or with another beta1', async () => {
    const from = await sgdScheduleFree({ a: x() }, { ...backend, momentum: 0.5 });
    from.step({ a: x() });
    const to = await sgdScheduleFree({ a: x(), b: x() }, backend);
    const dict = await from.stateDict();
    to.step({ b: x() });
    const loading = (given: typeof dict) => to.loadStateDict(given, { strict: false });
    await expect(loading(dict)).rejects.toThrow(
      '"b", which the state dict lacks, has been stepped in train mode with another beta1 or momentum',
    );
    from.eval();
    await expect(loading(await from.stateDict())).rejects.toThrow(
      '"b", which the state dict lacks, has been stepped, and is in another mode',
    );
    to.eval();
    expect(await loading(await from.stateDict())).toEqual({ missing: ['b'], unexpected: [] });
    expect(to.groups[0].momentum).toBe(0.5);
  });
});

describe('names of groups', () => {
  const named = () =>
    adamwScheduleFree([
      { params: { a: x() }, name: 'body' },
      { params: { b: x() }, lr: 0.5 },
      { params: { c: x() }, name: '1', lr: 0.25 },
    ]);

  test('find groups, at creation and added', async () => {
    const optimizer: Optimizer<Float32Array> = await named();
    await optimizer.addParamGroup({ params: { d: x() }, name: 'head' });
    expect(optimizer.groups.map(({ name }) => name)).toEqual(['body', undefined, '1', 'head']);
    for (const [name, i] of Object.entries({ body: 0, 1: 2, head: 3 })) {
      expect(optimizer.group(name)).toBe(optimizer.groups[i]);
    }
    optimizer.group('head').lr = 0.125;
    expect(optimizer.groups[3].lr).toBe(0.125);
    await optimizer.addParams('head', { e: x() });
    await optimizer.addParams('1', { f: x() });
    expect(optimizer.groups.map(({ params }) => params)).toEqual([['a'], ['b'], ['c', 'f'], ['d', 'e']]);
    optimizer.step({ a: x(), d: x() });
    optimizer.eval('head');
    expect(optimizer.groups.map(({ trainMode }) => trainMode)).toEqual([true, true, true, false]);
    optimizer.train('head');
    await optimizer.removeParams(['d', 'e']);
    expect(optimizer.group('head').params).toEqual([]);
    optimizer.dispose();
    expect(optimizer.group('head')).toBe(optimizer.groups[3]);
  });

  test('that no group has are refused, with the names that there are', async () => {
    const optimizer = await named();
    const sentence = 'There is no group "bodi"; there are "body", "1". Did you mean body?';
    expect(() => optimizer.group('bodi')).toThrow(sentence);
    expect(() => optimizer.eval('bodi')).toThrow(sentence);
    await expect(optimizer.addParams('bodi', { d: x() })).rejects.toThrow(sentence);
    expect(() => optimizer.group('2')).toThrow('There is no group "2"; there are "body", "1".');
    expect(() => optimizer.group(any(1))).toThrow('Expected the group to be a name, got 1.');
    expect(() => optimizer.group(any(undefined))).toThrow('Expected the group to be a name, got undefined.');
    const unnamed = await adamw({ a: x() });
    expect(() => unnamed.group('a')).toThrow('There is no group "a"; no group has a name.');
    await expect(unnamed.addParams(any(null), { d: x() })).rejects.toThrow(
      'Expected the group to be an index below 1, got null.',
    );
  });

  test.each([
    ['', 'Expected the name of group 3 to be a non-empty string of well-formed Unicode, got "".'],
    [null, 'Expected the name of group 3 to be a non-empty string of well-formed Unicode, got null.'],
    [3, 'Expected the name of group 3 to be a non-empty string of well-formed Unicode, got 3.'],
    ['\ud800', 'Expected the name of group 3 to be a non-empty string of well-formed Unicode, got "\\ud800".'],
    ['body', 'The name "body" of group 3 is the name of another group.'],
  ])('are refused: %j', async (name, sentence) => {
    const optimizer = await named();
    const before = await optimizer.stateDict();
    await expect(optimizer.addParamGroup({ params: { d: x() }, name: any(name) })).rejects.toThrow(sentence);
    expect(await optimizer.stateDict()).toEqual(before);
    const groups = ['a', 'b', 'c', 'd'].map((key) => ({ params: { [key]: x() }, name: key === 'd' ? any(name) : key }));
    groups[1].name = 'body' as never;
    await expect(adamw(groups)).rejects.toThrow(sentence);
  });

  test('are read-only, and no option of the optimizer', async () => {
    const optimizer = await named();
    for (const group of optimizer.groups) {
      expect(() => Object.assign(group, { name: 'x' })).toThrow('name is read-only, got "x".');
    }
    await expect(adamw({ a: x() }, any({ name: 'x' }))).rejects.toThrow('Unknown option "name", got "x";');
    // A tensor may have this name.
    expect(Object.keys((await adamw({ name: x() })).params)).toEqual(['name']);
  });

  test('are in error messages instead of indices', async () => {
    const schedule = (): number => NaN;
    const optimizer = await adamw([{ params: { a: x() } }, { params: { b: x() }, name: 'head' }]);
    expect(() => (optimizer.groups[0].lr = -1)).toThrow('Expected lr of group 0 to be');
    expect(() => (optimizer.groups[1].lr = -1)).toThrow('Expected lr of group "head" to be');
    await expect(optimizer.addParams(1, { a: x() })).rejects.toThrow('"a" of group "head" is already in use.');
    await expect(optimizer.addParamGroup(any({ params: { c: x() }, name: 'new', betas: 1 }))).rejects.toThrow(
      'Expected betas of group "new" to be',
    );
    optimizer.group('head').schedule = schedule;
    expect(() => optimizer.step({ b: x() })).toThrow('Expected schedule(0) of group "head" to be');
    const other = await adamw([{ params: { a: x() } }, { params: { b: x() } }]);
    const one = await adamw([{ params: { a: x(), b: x() }, name: 'all' }]);
    await expect(one.loadStateDict(await other.stateDict(), { strict: false })).rejects.toThrow(
      'Group "all" has "a", "b", which the state dict has in param_groups[0] and in param_groups[1]',
    );
  });

  test('are not taken for names of tensors by freeze()', async () => {
    const optimizer: Optimizer<Float32Array> = await adamw([
      { params: { a: x() }, name: 'b' },
      { params: { b: x() }, name: 'head' },
    ]);
    optimizer.freeze('b');
    expect(optimizer.groups.map(({ frozen }) => frozen)).toEqual([[], ['b']]);
    const sentence = '"head" is the name of a group, not of a parameter: pass its index, 1.';
    expect(() => optimizer.freeze('head')).toThrow(sentence);
    expect(() => optimizer.unfreeze('head')).toThrow(sentence);
    expect(optimizer.groups.map(({ frozen }) => frozen)).toEqual([[], ['b']]);
  });

  test('are saved, and ignored when loaded', async () => {
    const optimizer = await named();
    optimizer.step({ a: x() });
    const dict = await optimizer.stateDict();
    expect(dict.param_groups.map(({ name }) => name)).toEqual(['body', undefined, '1']);
    expect(Object.hasOwn(dict.param_groups[1], 'name')).toBe(false);
    const groups = ['a', 'b', 'c'].map((key) => ({ params: { [key]: x() }, name: `of ${key}` }));
    const others = await adamwScheduleFree(groups);
    await others.loadStateDict(dict);
    expect(others.groups.map(({ name, lr }) => [name, lr])).toEqual([
      ['of a', 0.0025],
      ['of b', 0.5],
      ['of c', 0.25],
    ]);
    for (const group of dict.param_groups) delete group.name;
    await optimizer.loadStateDict(dict);
    expect(optimizer.group('body')).toBe(optimizer.groups[0]);
  });
});

test('refuses to add GPU buffers to an optimizer on the CPU', async () => {
  const optimizer = await adamw(tensors(lengths, 1));
  const added = optimizer.addParamGroup({ params: { x: any(buffer(x())) } });
  await expect(added).rejects.toThrow('one kind of memory, got "w3" on the CPU and "x" on the GPU');
});

test('steps added buffers of the caller in place, and refuses overlapping ones', async () => {
  const { device } = webgpu!;
  const [first, second] = [buffer(array(64, 1)), buffer(array(64, 2))];
  const optimizer: Optimizer<GPUBufferBinding> = await adamwScheduleFree({ first }, { device, lr: 0.1 });
  await expect(optimizer.addParamGroup({ params: { again: first } })).rejects.toThrow('"first", "again" overlap');
  const part = { buffer: first, offset: 0, size: 4 };
  await expect(optimizer.addParams(0, { fresh: buffer(x()), part })).rejects.toThrow('"first", "part" overlap');
  await expect(optimizer.addParams(0, { s: second, t: second })).rejects.toThrow('"s", "t" overlap');
  const unread = buffer(array(4, 1), STORAGE);
  const needs = 'z of "unread" starts as a copy of the parameter, which needs COPY_SRC usage';
  await expect(optimizer.addParams(0, { unread })).rejects.toThrow(needs);
  await optimizer.addParams(0, { second });
  optimizer.step({ first: array(64, 3), second: array(64, 4) });
  const separate = await adamwScheduleFree({ second: array(64, 2) }, { backend: 'webgpu', device, lr: 0.1 });
  separate.step({ second: array(64, 4) });
  same({ second: await contents(second) }, { second: await separate.read('second') });
});

test.each([
  ['model.layers.0.self_attn.q_proj.weight', true],
  ['fc.bias', false],
  ['h.0.LayerNorm.weight', false],
  ['model.layers.0.input_layernorm.weight', false],
  ['model.norm.weight', false],
  ['norm', false],
  ['layers.3.post_norm.weight', false],
  ['normalizer.weight', true],
  ['abnormal.weight', true],
])('noDecayOnBiasAndNorm("%s") is %s', (name, decays) => {
  expect(noDecayOnBiasAndNorm(name)).toBe(decays);
});

test.each([0, 1, 5, 20])('dispose() while tensors are added frees all GPU memory, after %i ticks', async (ticks) => {
  const { device } = webgpu!;
  const { alive, spy } = watchBuffers();
  try {
    for (const add of [
      (optimizer: Optimizer<any, any>) => optimizer.addParams(0, { more: array(1000, 2) }),
      (optimizer: Optimizer<any, any>) => optimizer.addParamGroup({ params: { more: array(1000, 2) }, amsgrad: true }),
    ]) {
      const optimizer = await adamw({ w: array(64, 1) }, { backend: 'webgpu', device });
      const adding = add(optimizer);
      for (let i = 0; i < ticks; i++) await undefined;
      optimizer.dispose();
      await expect(adding).rejects.toThrow('This optimizer has been disposed of.');
      expect(spy).toHaveBeenCalled();
      expect(alive.size).toBe(0);
    }
  } finally {
    spy.mockRestore();
  }
});
