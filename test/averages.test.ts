// Tests averages of weights, and Lookahead, which restarts from an average.

import { readFileSync } from 'node:fs';
import { adamw, adamwScheduleFree, ema, lookahead, type Gradients } from 'twinstep';
import { checkpointStream, loadCheckpoint, saveCheckpoint } from 'twinstep/checkpoint';
import { describe, expect, test, vi } from 'vitest';
import { LARGEST } from '../src/math/f32.js';
import { openDevice } from '../tools/dawn.js';
import { backends } from './support/backends.js';
import { any, buffer, contents, COPY_DST, COPY_SRC, device, STORAGE, watchBuffers } from './support/gpu.js';
import { array, largest, tensors } from './support/numbers.js';
import { map, readAll, same, type Tensors } from './support/tensors.js';
import { ROUNDING } from './support/tolerances.js';

const lengths = [1, 3, 64, 130];
const params = (): Tensors => tensors(lengths, 1);

const torch = JSON.parse(readFileSync(new URL('golden/averages.json', import.meta.url), 'utf8')) as Record<
  'grads' | 'weights' | 'ema' | 'swa',
  number[][]
> & { init: number[] };

describe.each(backends)('%s', (...[, backend]) => {
  test.each([
    ['ema', 0.9],
    ['swa', (n: number): number => n / (n + 1)],
  ] as const)('averages the weights of a run like torch’s %s', async (name, decay) => {
    const weights = await adamw({ w: Float32Array.from(torch.init) }, { ...backend, lr: 0.1 });
    const average = await ema(weights, { decay });
    for (const [t, grad] of torch.grads.entries()) {
      weights.step({ w: Float32Array.from(grad) });
      average.step(weights.params);
      const error = (await average.read('w')).map((x, i) => x - torch[name][t][i]);
      // Per step the weights differ by one rounding and the averages by another, each 2^-24 of 2.
      expect(largest(error)).toBeLessThanOrEqual(2 * (t + 2) * ROUNDING * 2);
    }
    expect(average.stepOf('w')).toBe(torch.grads.length);
    expect(Object.keys(average.groups[0])).toContain('decay');
  });

  test('an average of weights whose difference exceeds f32 is finite and lies between them', async () => {
    const optimizer = await adamw({ w: Float32Array.of(3e38, -LARGEST, 1) }, backend);
    const average = await ema(optimizer, { decay: (n) => n / (n + 1) });
    average.step(optimizer.params);
    await optimizer.loadStateDict(await optimizer.stateDict(), { params: { w: Float32Array.of(-3e38, LARGEST, 3) } });
    average.step(optimizer.params);
    expect([...(await average.read('w'))]).toEqual([0, 0, 2]);
  });

  test('an average begins as a copy and does not affect the optimizer', async () => {
    const optimizer = await adamw(params(), backend);
    const average = await ema(optimizer, { decay: () => 0.5 });
    same(await readAll(average, params()), params());
    const plain = await adamw(params(), backend);
    for (let t = 0; t < 5; t++) {
      for (const each of [optimizer, plain]) each.step(tensors(lengths, 10 + t));
      average.step(optimizer.params);
    }
    same(await readAll(optimizer, params()), await readAll(plain, params()));
    expect(Object.keys(average.grads)).toEqual([]);
  });

  test('an average saves and loads like any optimizer', async () => {
    const optimizer = await adamw(params(), backend);
    const [unbroken, resumed] = [await ema(optimizer), await ema(optimizer, { decay: 0.5 })];
    for (let t = 0; t < 6; t++) {
      optimizer.step(tensors(lengths, 10 + t));
      unbroken.step(optimizer.params);
      if (t === 3) {
        const weights = await readAll(unbroken, params());
        await resumed.loadStateDict(structuredClone(await unbroken.stateDict()), { params: weights });
      }
      if (t > 3) resumed.step(optimizer.params);
    }
    same(await readAll(resumed, params()), await readAll(unbroken, params()));
    expect(resumed.groups[0].decay).toBe(0.999);
  });

  test.each([1, -0.1, NaN, '0.9', null])('ema() refuses a decay of %s', async (decay) => {
    const optimizer = await adamw(params(), backend);
    await expect(ema(optimizer, { decay: any(decay) })).rejects.toThrow('Expected decay to be a number of at least 0');
    await expect(ema(optimizer, any({ lr: 1 }))).rejects.toThrow('Unknown option "lr", got 1; ema has "decay"');
  });

  test.each([
    [{ backend: 'reference' }, '"backend", got "reference"'],
    [{ decay: 0.9, keepGrads: true }, '"keepGrads", got true'],
    [{ threads: 3 }, '"threads", got 3'],
    [{ device: undefined }, '"device", got undefined'],
    [{ wasm: new Uint8Array(8) }, '"wasm", got Uint8Array(8)'],
  ])('ema() refuses %o, since it runs where its optimizer does', async (options, what) => {
    const optimizer = await adamw(params(), backend);
    const sentence = `Unknown option ${what}; ema has "decay", and runs where its optimizer does.`;
    await expect(ema(optimizer, any(options))).rejects.toThrow(sentence);
    expect((await ema(optimizer)).backend.name).toBe(optimizer.backend.name);
  });

  test('Lookahead moves by alpha towards the optimizer every k steps, and the optimizer continues from there', async () => {
    const [k, alpha] = [3, 0.25];
    const ahead = await lookahead(await adamw(params(), backend), { k, alpha });
    // The paper's algorithm over a separate optimizer, in f32.
    const fast = await adamw(params(), { backend: 'wasm' });
    const slow = params();
    for (let t = 1; t <= 8; t++) {
      ahead.step(tensors(lengths, 10 + t));
      fast.step(tensors(lengths, 10 + t));
      if (t % k > 0) continue;
      for (const [name, values] of Object.entries(slow)) {
        // The formula of torch.lerp.
        values.forEach((x, i) => (values[i] = x + Math.fround(alpha * Math.fround(fast.params[name][i] - x))));
        fast.params[name].set(values);
      }
    }
    same(await readAll(ahead.optimizer, params()), await readAll(fast, params()));
    same(await readAll(ahead.slow, params()), slow);
  });

  test('Lookahead with alpha 1 equals the optimizer alone', async () => {
    const plain = await adamw(params(), backend);
    const ahead = await lookahead(await adamw(params(), backend), { alpha: 1 });
    for (let t = 0; t < 12; t++) for (const each of [plain, ahead]) each.step(tensors(lengths, 10 + t));
    same(await readAll(ahead.optimizer, params()), await readAll(plain, params()));
  });

  test('Lookahead resumes between two synchronizations', async () => {
    const make = async (weights: Tensors) => lookahead(await adamw(weights, backend), { k: 4 });
    const unbroken = await make(params());
    for (let t = 0; t < 6; t++) unbroken.step(tensors(lengths, 10 + t));
    const resumed = await make(await readAll(unbroken.optimizer, params()));
    await resumed.loadStateDict(structuredClone(await unbroken.stateDict()));
    for (let t = 6; t < 13; t++) for (const each of [unbroken, resumed]) each.step(tensors(lengths, 10 + t));
    same(await readAll(resumed.optimizer, params()), await readAll(unbroken.optimizer, params()));
    expect(await resumed.stateDict()).toEqual(await unbroken.stateDict());
  });

  test('Lookahead counts steps from its creation, also after resuming', async () => {
    const begin = async () => {
      const optimizer = await adamw(params(), backend);
      for (let t = 0; t < 4; t++) optimizer.step(tensors(lengths, 10 + t));
      return lookahead(optimizer, { k: 3 });
    };
    const [ahead, resumed, old] = [
      await begin(),
      await lookahead(await adamw(params(), backend), { k: 3 }),
      await begin(),
    ];
    const synced: number[] = [];
    const step = async (each: typeof ahead, t: number): Promise<void> => {
      each.step(tensors(lengths, 20 + t));
      if (each === ahead && (await each.slow.stateDict()).state[0]?.step === synced.length + 1) synced.push(t);
    };
    for (let t = 1; t <= 4; t++) await step(ahead, t);
    expect(synced).toEqual([3]);
    const dict = await ahead.stateDict();
    expect(dict.param_groups[0].lookahead_step).toBe(4);
    await resumed.loadStateDict(dict, { params: await readAll(ahead.optimizer, params()) });
    for (let t = 5; t <= 10; t++) for (const each of [ahead, resumed]) await step(each, t);
    expect(synced).toEqual([3, 6, 9]);
    same(await readAll(resumed.optimizer, params()), await readAll(ahead.optimizer, params()));
    expect(await resumed.stateDict()).toEqual(await ahead.stateDict());

    // An older dict without lookahead_step counted the optimizer's steps: 8 here.
    const [{ lookahead_step: _, ...group }] = dict.param_groups;
    await old.loadStateDict({ ...dict, param_groups: [group] } as never);
    const before = await readAll(old.slow, params());
    old.step(tensors(lengths, 30));
    expect(await readAll(old.slow, params())).not.toEqual(before);
    expect((await old.stateDict()).param_groups[0].lookahead_step).toBe(9);
    const bad = { ...dict, param_groups: [{ ...group, lookahead_step: -1 }] };
    await expect(old.loadStateDict(bad as never)).rejects.toThrow('Expected lookahead_step in param_groups[0] to be a');
  });

  test('Lookahead loads what fits with strict: false, and keeps its options', async () => {
    const [from, to] = [
      await lookahead(await adamw({ a: array(3, 1), b: array(5, 2) }, backend), { k: 2 }),
      await lookahead(await adamw({ b: array(5, 3), c: array(2, 4) }, { ...backend, lr: 0.5 }), { k: 2 }),
    ];
    for (let t = 0; t < 3; t++) from.step({ a: array(3, t), b: array(5, t) });
    for (let t = 0; t < 2; t++) to.step({ b: array(5, t), c: array(2, t) });
    const before = await readAll(to.slow, { c: 0 });
    const dict = await from.stateDict();
    const names = await to.loadStateDict(dict, { strict: false, options: 'current' });
    expect(names).toEqual({ missing: ['c'], unexpected: ['a'] });
    same(await readAll(to.slow, { b: 0, c: 0 }), { ...(await readAll(from.slow, { b: 0 })), ...before });
    expect([to.optimizer.groups[0].lr, to.optimizer.stepOf('b')]).toEqual([0.5, 3]);
  });

  test('Lookahead loads a state dict as it is at the call, all of it or nothing', async () => {
    const make = async () => lookahead(await adamw(params(), backend), { k: 2 });
    const [ahead, other, late] = await Promise.all([make(), make(), make()]);
    for (let t = 0; t < 7; t++) ahead.step(tensors(lengths, 10 + t));
    for (let t = 0; t < 5; t++) for (const each of [other, late]) each.step(tensors(lengths, 30 + t));
    const [before, dict] = await Promise.all([ahead.stateDict(), other.stateDict()]);
    const [group] = dict.param_groups;
    const { slow_param: _, ...rest } = dict.state[1];
    for (const [bad, sentence] of [
      [{ ...dict, param_groups: [{ ...group, algorithm: 'adam' }] }, 'The state dict says algorithm = "adam" in'],
      [
        { ...dict, state: { ...dict.state, 1: rest } },
        'Expected slow_param of "w3" to be a Float32Array, got undefined.',
      ],
      [
        { ...dict, state: { ...dict.state, 1: { ...rest, slow_param: array(2, 1) } } },
        'Expected 3 values of slow_param',
      ],
      [await other.optimizer.stateDict(), 'Expected slow_param of "w1" to be a Float32Array, got undefined.'],
      [{ ...dict, param_groups: [group, null] }, 'Expected param_groups[1] to be a record with params, got null.'],
      [null, 'Expected the state dict to be a record with state and param_groups, got null.'],
    ] as const) {
      const loading = ahead.loadStateDict(any(bad));
      await expect(loading).rejects.toThrow(sentence);
      expect(await ahead.stateDict()).toEqual(before);
    }
    const loading = late.loadStateDict(dict, { params: await readAll(other.optimizer, params()) });
    // The GPU first probes its buffers.
    if (late.optimizer.device !== undefined) await loading;
    for (const each of [late, other]) each.step(tensors(lengths, 50));
    await loading;
    expect(await late.stateDict()).toEqual(await other.stateDict());
  });

  test('follow() refuses to run twice at the same time', async () => {
    const ahead = await lookahead(await adamw({ a: array(3, 1) }, backend), { k: 1 });
    await ahead.optimizer.addParams(0, { b: array(2, 2) });
    const first = ahead.follow();
    for (let i = 0; i < 2; i++) await Promise.resolve();
    await expect(ahead.follow()).rejects.toThrow('follow() is already running: await that first.');
    await first;
    await ahead.follow();
    expect([ahead.optimizer, ahead.slow].map(({ params: own }) => Object.keys(own))).toEqual([
      ['a', 'b'],
      ['a', 'b'],
    ]);
    await ahead.optimizer.addParams(0, { c: array(2, 3) });
    await ahead.follow();
    const gradients: Gradients = { a: array(3, 4), b: array(2, 5), c: array(2, 6) };
    ahead.step(gradients);
  });

  test('Lookahead recovers from a failed follow(), with or without removing the tensor', async () => {
    const tensor: Tensors = { a: array(3, 1) };
    const ahead = await lookahead(await adamw(tensor, backend), { k: 1 });
    for (const isRemoved of [true, false]) {
      await ahead.optimizer.addParams(0, { c: array(2, 2) });
      const addParams = vi.spyOn(ahead.slow, 'addParams').mockRejectedValueOnce(new Error('no memory today'));
      await expect(ahead.follow()).rejects.toThrow('no memory today');
      addParams.mockRestore();
      if (isRemoved) await ahead.optimizer.removeParams(['c']);
      else expect(() => ahead.step({ a: array(3, 4) })).toThrow('Lookahead has no slow weights of "c": await follow()');
      await ahead.optimizer.addParams(0, { [`${isRemoved}`]: array(2, 3) });
      await ahead.follow();
      ahead.step({ a: array(3, 4) });
      expect(Object.keys(ahead.slow.params)).toEqual(Object.keys(ahead.optimizer.params));
    }
    expect(Object.keys(ahead.slow.params)).toEqual(['a', 'true', 'c', 'false']);
  });

  test('Lookahead drops the slow weights of removed tensors at the next possible call', async () => {
    const ahead = await lookahead(await adamw(params(), backend), { k: 1 });
    ahead.slow.step({ w1: ahead.optimizer.params.w1 }, { more: true });
    await ahead.optimizer.removeParams(['w3']);
    for (let i = 0; i < 2; i++) expect(() => ahead.step({ w1: array(1, 1) })).toThrow('A step is unfinished');
    await expect(ahead.follow()).rejects.toThrow('A step is unfinished');
    expect(ahead.optimizer.completedSteps).toBe(0);
    expect(Object.keys(ahead.slow.params)).toContain('w3');
    ahead.slow.step({});
    await ahead.optimizer.addParams(0, { w3: array(5, 2) });
    await ahead.follow();
    same(await readAll(ahead.slow, { w3: 0 }), { w3: array(5, 2) });
    ahead.step({ w3: array(5, 3) });
    same(await readAll(ahead.slow, { w3: 0 }), await readAll(ahead.optimizer, { w3: 0 }));
  });

  test('Lookahead does not reuse slow weights for another tensor of the same name', async () => {
    const ahead = await lookahead(await adamw({ a: array(3, 1), b: array(2, 1) }, backend), { k: 1 });
    for (const [i, name] of (['a', 'b', 'a'] as const).entries()) {
      await ahead.optimizer.removeParams([name]);
      await ahead.optimizer.addParams(0, { [name]: array(5, 2 + i) });
      for (let j = 0; j < 2; j++) expect(() => ahead.step({})).toThrow(/^Lookahead has no slow weights of "[ab]"/);
      if (i === 0) continue;
      // First both tensors need slow weights, then one.
      await ahead.follow();
      same(await readAll(ahead.slow, { a: 0, b: 0 }), await readAll(ahead.optimizer, { a: 0, b: 0 }));
      ahead.step({ a: array(5, 7) });
    }
  });

  test('Lookahead reads the options of a step once', async () => {
    const ahead = await lookahead(await adamw(params(), backend), { k: 1 });
    let reads = 0;
    const options = Object.defineProperty({}, 'more', {
      get: () => (reads++ === 0 ? true : undefined),
      enumerable: true,
    });
    ahead.step({ w1: array(1, 2) }, options);
    expect([reads, ahead.slow.completedSteps]).toEqual([1, 0]);
    expect(() => ahead.step({ w1: array(1, 2) })).toThrow('Got a second gradient of "w1" in the same step.');
    ahead.step({ w3: array(3, 2) });
    expect(ahead.slow.completedSteps).toBe(1);
  });

  test('Lookahead leaves frozen tensors unchanged, and makes slow weights of added ones in follow()', async () => {
    const ahead = await lookahead(await adamw(params(), backend), { k: 2 });
    ahead.step(tensors(lengths, 10));
    ahead.optimizer.freeze('w3');
    const { w3 } = await readAll(ahead.optimizer, { w3: 0 });
    ahead.step(tensors(lengths, 11));
    same(await readAll(ahead.optimizer, { w3: 0 }), { w3 });
    await ahead.optimizer.addParamGroup({ params: { added: array(5, 1) } });
    await ahead.follow();
    for (const seed of [12, 13]) ahead.step({ ...tensors(lengths, seed), added: array(5, seed) });
    same(await readAll(ahead.slow, { added: 0 }), await readAll(ahead.optimizer, { added: 0 }));
    expect(await ahead.slow.read('added')).not.toEqual(array(5, 1));
    await ahead.optimizer.addParams(0, { more: array(5, 1) });
    const before = await readAll(ahead.optimizer, params());
    expect(() => ahead.step(tensors(lengths, 12))).toThrow('Lookahead has no slow weights of "more": await');
    same(await readAll(ahead.optimizer, params()), before);
    await expect(ahead.stateDict()).rejects.toThrow('Lookahead has no slow weights of "more"');
  });

  test('Lookahead resumes from one checkpoint', async () => {
    const make = async () => lookahead(await adamw(params(), backend), { k: 4 });
    const [unbroken, resumed] = await Promise.all([make(), make()]);
    const others = params();
    delete others.w3;
    for (let t = 0; t < 6; t++) unbroken.step(map(others, (x) => x * (t - 2)));
    const bytes = await saveCheckpoint(unbroken);
    await loadCheckpoint(resumed, bytes);
    for (let t = 6; t < 13; t++) for (const each of [unbroken, resumed]) each.step(tensors(lengths, 10 + t));
    same(await readAll(resumed.optimizer, params()), await readAll(unbroken.optimizer, params()));
    expect(await saveCheckpoint(resumed)).toEqual(await saveCheckpoint(unbroken));
    const plain = await adamw(params(), backend);
    await expect(loadCheckpoint(plain, bytes)).rejects.toThrow('has "slow_param"');
    const streamed = await new Response(checkpointStream(unbroken)).arrayBuffer();
    expect(new Uint8Array(streamed)).toEqual(await saveCheckpoint(unbroken));
  });

  test('Lookahead finishes an interrupted synchronization at the next call or save', async () => {
    const make = async () => lookahead(await adamw(params(), backend), { k: 2 });
    const [ahead, plain] = [await make(), await make()];
    const decay = ahead.slow.groups[0].decay;
    const failure = new Error('no decay today');
    const throwing = (): never => {
      throw failure;
    };
    for (let t = 0; t < 5; t++) {
      if (t === 1 || t === 3) ahead.slow.groups[0].decay = throwing;
      if (t === 1 || t === 3) expect(() => ahead.step(tensors(lengths, t))).toThrow(failure);
      else ahead.step(tensors(lengths, t));
      // No step is taken before the synchronization is finished.
      if (t === 1) expect(() => ahead.step(tensors(lengths, t))).toThrow(failure);
      ahead.slow.groups[0].decay = decay;
      plain.step(tensors(lengths, t));
      if (t === 3) expect(await ahead.stateDict()).toEqual(await plain.stateDict());
    }
    expect(await ahead.stateDict()).toEqual(await plain.stateDict());
    same(await readAll(ahead.optimizer, params()), await readAll(plain.optimizer, params()));
  });

  test('Lookahead counts a step in parts as one', async () => {
    const [separate, whole] = [
      await lookahead(await adamw(params(), backend)),
      await lookahead(await adamw(params(), backend)),
    ];
    for (let t = 0; t < 6; t++) {
      const { w3, ...others } = tensors(lengths, 10 + t);
      separate.step({ w3 }, { more: true });
      separate.step(others);
      whole.step({ w3, ...others });
    }
    same(await readAll(separate.optimizer, params()), await readAll(whole.optimizer, params()));
  });

  test.each([
    [{ k: 0 }, 'Expected k to be a whole number of at least 1, got 0.'],
    [{ k: 1.5 }, 'Expected k to be a whole number of at least 1, got 1.5.'],
    [{ alpha: 1e-17 }, 'Expected alpha to be a number of at least 2^-53 and at most 1, got 1e-17.'],
    [{ alpha: '0.5' } as object, 'Expected alpha to be a number of at least 2^-53 and at most 1, got "0.5".'],
    [{ alpha: 2 }, 'Expected alpha to be a number of at least 2^-53 and at most 1, got 2.'],
    [{ K: 3 } as object, 'Unknown option "K"; lookahead has "k", "alpha".'],
    [5 as never, 'Expected the options of lookahead to be a record, got 5.'],
  ])('Lookahead refuses %o', async (options, sentence) => {
    await expect(lookahead(await adamw(params(), backend), options)).rejects.toThrow(sentence);
  });
});

test('ema() and lookahead() refuse what is not an optimizer; lookahead() refuses Schedule-Free', async () => {
  const free = await adamwScheduleFree(params());
  await expect(lookahead(free)).rejects.toThrow('Expected the optimizer to be one without an average of its own');
  await expect(lookahead(any(undefined))).rejects.toThrow(
    'Expected the first argument of lookahead to be an optimizer, got undefined.',
  );
  await expect(ema(any(free.params))).rejects.toThrow(
    'Expected the first argument of ema to be an optimizer, got an Object.',
  );
  await expect(ema(free, any(0.9))).rejects.toThrow('Expected the options of ema to be a record, got 0.9.');
});

describe('a device requested by an optimizer', () => {
  // Each order of disposing of the optimizer, its average, and the average of that.
  const orders = ['012', '021', '102', '120', '201', '210'].map((order) => Array.from(order, Number));

  test.each(orders)(
    'is destroyed after the optimizer and its averages, disposed of in the order %i, %i, %i',
    async (...order) => {
      const { optimizer, own } = await withOwnDevice();
      const average = await ema(optimizer, { decay: 0.5 });
      const all = [optimizer, average, await ema(average, { decay: 0.5 })];
      const destroy = vi.spyOn(own, 'destroy');
      for (const [n, i] of order.entries()) {
        expect(destroy).not.toHaveBeenCalled();
        all[i].dispose();
        all[i].dispose();
        for (const left of order.slice(n + 1)) {
          all[left].step({ w: array(4, 5) });
          expect(await all[left].read('w')).toEqual(await all[left].read('w'));
        }
      }
      expect(destroy).toHaveBeenCalledTimes(1);
    },
  );

  test('is destroyed after Lookahead and after the last other optimizer on it', async () => {
    const { optimizer, own } = await withOwnDevice();
    const ahead = await lookahead(optimizer);
    const other = await adamw({ w: array(4, 1) }, { backend: 'webgpu', device: own });
    await expect(adamw({ w: [] as never }, { backend: 'webgpu', device: own })).rejects.toThrow('got []');
    const destroy = vi.spyOn(own, 'destroy');
    ahead.dispose();
    other.step({ w: array(4, 2) });
    await other.read('w');
    expect(destroy).not.toHaveBeenCalled();
    other.dispose();
    expect(destroy).toHaveBeenCalledTimes(1);
  });

  test('is not destroyed if the caller passed it', async () => {
    const destroy = vi.spyOn(device, 'destroy');
    const optimizer = await adamw({ w: array(4, 1) }, { backend: 'webgpu', device });
    const average = await ema(optimizer);
    optimizer.dispose();
    average.dispose();
    expect(destroy).not.toHaveBeenCalled();
    destroy.mockRestore();
  });

  /** Makes an optimizer that requests its device from navigator.gpu. */
  async function withOwnDevice() {
    const opened = await openDevice();
    if (typeof opened === 'string') throw new Error(opened);
    const { device: own } = opened;
    const requestAdapter = async () => ({ limits: own.limits, requestDevice: async () => own });
    vi.stubGlobal('navigator', { gpu: { requestAdapter } });
    const optimizer = await adamw({ w: array(4, 1) }, { backend: 'webgpu' });
    vi.unstubAllGlobals();
    return { optimizer, own };
  }
});

test('Lookahead gives the results of the CPU in the caller’s buffers, by step() and encode()', async () => {
  const [stepped, encoded] = [buffer(array(70, 1)), buffer(array(70, 1))];
  const cpu = await lookahead(await adamw({ w: array(70, 1) }), { k: 2 });
  const [step, encode] = await Promise.all(
    [stepped, encoded].map(async (w) => lookahead(await adamw({ w }, { device }), { k: 2 })),
  );
  for (let t = 0; t < 5; t++) {
    const grad = array(70, 10 + t);
    cpu.step({ w: grad });
    step.step({ w: buffer(grad) });
    const encoder = device.createCommandEncoder();
    encode.encode(encoder, { w: buffer(grad) });
    device.queue.submit([encoder.finish()]);
  }
  for (const each of [stepped, encoded]) same({ w: await contents(each) }, cpu.optimizer.params as Tensors);
  expect(await encode.slow.read('w')).toEqual(await cpu.slow.read('w'));

  const readOnly = device.createBuffer({ size: 256, usage: STORAGE | COPY_SRC });
  const refused = lookahead(await adamw({ w: readOnly }, { device }));
  await expect(refused).rejects.toThrow('Lookahead of "w" needs COPY_DST usage of its GPUBuffer');
  for (const [usage, lacking] of [
    [COPY_SRC, 'COPY_DST'],
    [COPY_DST, 'COPY_SRC'],
  ] as const) {
    const half = device.createBuffer({ size: 256, usage: STORAGE | usage });
    const grown = await step.optimizer.addParams(0, { b: { buffer: half } });
    await expect(step.follow()).rejects.toThrow(`Lookahead of "b" needs ${lacking} usage`);
    await grown.removeParams(['b']);
  }
  step.step({ w: buffer(array(70, 20)) });
});

test('lookahead() frees the slow weights if the optimizer is disposed of meanwhile', async () => {
  let rejected = 0;
  for (let ticks = 0; ticks < 60; ticks++) {
    const optimizer = await adamw({ w: array(64, 1) }, { backend: 'webgpu', device });
    const { alive, spy } = watchBuffers();
    const creating = lookahead(optimizer);
    creating.catch(() => {});
    // The slow weights are allocated: their creation awaits the device.
    const isAllocated = (): boolean => ticks === 0 || [...alive].some(({ label }) => label === 'twinstep param');
    while (!isAllocated()) await new Promise((resolve) => setImmediate(resolve));
    for (let i = 1; i < ticks; i++) await undefined;
    optimizer.dispose();
    const made = await creating.catch((error: Error) => error);
    if (made instanceof Error) {
      rejected += 1;
      expect(made.message).toBe('This optimizer has been disposed of.');
    } else made.dispose();
    expect(alive.size).toBe(0);
    spy.mockRestore();
  }
  expect(rejected).toBeGreaterThan(0);
});

describe.each(backends)('%s: tensors that change while lookahead() is awaited', (...[, backend]) => {
  test.each([
    ['removed and added again', true],
    ['added', false],
  ])('are %s: follow() is needed', async (_, isRemoved) => {
    let needed = 0;
    for (let ticks = 0; ticks < 14; ticks++) {
      const optimizer = await adamw(isRemoved ? { w: array(4, 1), v: array(4, 2) } : { w: array(4, 1) }, backend);
      const creating = lookahead(optimizer, { k: 1 });
      for (let i = 0; i < ticks; i++) await undefined;
      if (isRemoved) await optimizer.removeParams(['v' as never]);
      await optimizer.addParams(0, { v: new Float32Array(4).fill(100) });
      const ahead = await creating;
      const step = (): void => ahead.step(any({ v: new Float32Array(4) }));
      try {
        step();
      } catch (error) {
        needed += 1;
        expect(String(error)).toBe('Error: Lookahead has no slow weights of "v": await follow() after adding tensors.');
        await ahead.follow();
        step();
      }
      expect((await ahead.slow.read(any('v')))[0]).toBeGreaterThan(99);
      expect((await optimizer.read(any('v')))[0]).toBeGreaterThan(99);
      ahead.dispose();
    }
    expect(needed).toBeGreaterThan(0);
  });
});
