// Tests bad input: errors name the offending value, and nothing changes.

import {
  adam,
  adamw,
  adamwScheduleFree,
  debiasedDecay,
  ema,
  enableWideSimd,
  lookahead,
  nadam,
  noDecayOnBiasAndNorm,
} from 'twinstep';
import {
  checkpointStream,
  decodeCheckpoint,
  encodeCheckpoint,
  loadCheckpoint,
  parseSafetensors,
  saveCheckpoint,
  serializeSafetensors,
} from 'twinstep/checkpoint';
import { coefficients, wasmKernels, wgslKernel } from 'twinstep/kernels';
import * as schedules from 'twinstep/schedules';
import { beforeEach, describe, expect, test } from 'vitest';
import { backends, type Options } from './support/backends.js';
import { array, difference, shrunk } from './support/numbers.js';

type Optimizer = Awaited<ReturnType<typeof adam>>;

const params = (): Record<string, Float32Array> => ({ w: array(12, 1), b: array(3, 2) });
const grads = (): Record<string, Float32Array> => ({ w: array(12, 3), b: array(3, 4) });
// Passes values that the types refuse.
const any = <Value = never>(value: unknown): Value => value as Value;

describe('creation refuses', () => {
  const w = array(2, 1);
  const memory = new Float32Array(8);
  const group = { params: { w } };
  const refused: [string, unknown, unknown, string][] = [
    ['a negative lr', { w }, { lr: -1 }, 'Expected lr to be a finite number of at least 0, got -1.'],
    ['an lr of NaN', { w }, { lr: NaN }, 'Expected lr to be a finite number of at least 0, got NaN.'],
    ['an lr beyond f32', { w }, { lr: 1e39 }, 'Expected lr to be a finite number of at least 0, got 1e+39.'],
    ['an lr of null', { w }, { lr: null }, 'Expected lr to be a finite number of at least 0, got null.'],
    ['an lr that is a string', { w }, { lr: '1e-3' }, 'Expected lr to be a finite number of at least 0, got "1e-3".'],
    ['a negative eps', { w }, { eps: -1e-8 }, 'Expected eps to be a finite number of at least 0, got -1e-8.'],
    [
      'a decay of NaN',
      { w },
      { weightDecay: NaN },
      'Expected weightDecay to be a finite number of at least 0, or a function from completed steps to one, got NaN.',
    ],
    [
      'a beta of 1',
      { w },
      { betas: [0.9, 1] },
      'Expected betas to be two numbers of at least 0 and less than 1, or a function from completed steps to them, got [0.9, 1].',
    ],
    [
      'a beta of NaN',
      { w },
      { betas: [NaN, 0.9] },
      'Expected betas to be two numbers of at least 0 and less than 1, or a function from completed steps to them, got [NaN, 0.9].',
    ],
    [
      'one beta',
      { w },
      { betas: [0.9] },
      'Expected betas to be two numbers of at least 0 and less than 1, or a function from completed steps to them, got [0.9].',
    ],
    [
      'one number for betas',
      { w },
      { betas: 0.9 },
      'Expected betas to be two numbers of at least 0 and less than 1, or a function from completed steps to them, got 0.9.',
    ],
    [
      'betas with a hole',
      { w },
      { betas: Array(2) },
      'Expected betas to be two numbers of at least 0 and less than 1, or a function from completed steps to them, got [undefined, undefined].',
    ],
    ['a bigint', { w }, { lr: 1n }, 'Expected lr to be a finite number of at least 0, got 1n.'],
    ['a Map of options', { w }, new Map([['lr', 1]]), 'Expected options to be a record, got a Map.'],
    ['a Map of tensors', new Map([['w', w]]), {}, 'Expected params to be a record of tensors by name, got a Map.'],
    [
      'a hole in the list of groups',
      Object.assign(Array(2), { 1: { params: { w } } }),
      {},
      'Expected group 0 to be a record with params, got undefined.',
    ],
    [
      'a fake tensor',
      { w: Object.create(Float32Array.prototype) },
      {},
      'Expected parameter "w" to be a Float32Array, a GPUBuffer or a GPUBufferBinding, got',
    ],
    ['a flag of 1', { w }, { amsgrad: 1 }, 'Expected amsgrad to be true or false, got 1.'],
    [
      'a gradScale of Infinity',
      { w },
      { gradScale: Infinity },
      'Expected gradScale to be a finite number of at least 0 (maximize steps up the gradient), got Infinity.',
    ],
    [
      'a negative gradScale',
      { w },
      { gradScale: -1 },
      'Expected gradScale to be a finite number of at least 0 (maximize steps up the gradient), got -1.',
    ],
    [
      'a name that is not Unicode',
      { 'w\ud800': w },
      {},
      'Expected the name of a parameter to be well-formed Unicode, got "w\\ud800".',
    ],
    [
      'a schedule that is not a function',
      { w },
      { schedule: 0.5 },
      'Expected schedule to be a function from completed steps to a multiplier of lr, got 0.5.',
    ],
    [
      'a decayMask that is a list',
      { w },
      { decayMask: ['w'] },
      'Expected decayMask to be a function from a name to true or false, or a record of them, got ["w"].',
    ],
    [
      'a decayMask that returns undefined',
      { w },
      { decayMask: () => {} },
      'Expected decayMask("w") to be true or false, got undefined.',
    ],
    ['a decayMask without a name', { w, b: array(1, 1) }, { decayMask: { w: true } }, 'decayMask lacks "b".'],
    [
      'a decayMask with an unknown name',
      { w },
      { decayMask: { w: true, x: true } },
      'decayMask has unknown names: "x".',
    ],
    [
      'an unknown option',
      { w },
      { weight_decay: 0.1 },
      'Unknown option "weight_decay", got 0.1; adamw has "weightDecay", "maximize", "gradScale", "schedule", "decayMask", "lr", "betas", "eps", "amsgrad", "couple", "epsHat", "nesterov", "epsRoot"; backend, device, threads, wasm and keepGrads belong to the optimizer as a whole.',
    ],
    [
      'an unknown backend',
      { w },
      { backend: 'cuda' },
      'Expected backend to be one of auto, fastest, webgpu, wasm, reference, or a list of backends, got "cuda".',
    ],
    ['no backends', { w }, { backend: [] }, 'Expected backend to be a name, or a list of at least one, got [].'],
    [
      "a list of backends with 'auto'",
      { w },
      { backend: ['wasm', 'auto'] },
      'Expected backend[1] to be one of webgpu, wasm, reference, got "auto".',
    ],
    [
      'a long list of no backends',
      { w },
      { backend: Array(2 ** 30) },
      'Expected backend[0] to be one of webgpu, wasm, reference, got undefined.',
    ],
    [
      'a backend listed twice',
      { w },
      { backend: ['wasm', 'wasm'] },
      'Expected backend[1] to be another backend than those before it, got "wasm".',
    ],
    ['a device that is not one', { w }, { device: {} }, 'Expected device to be a GPUDevice, got an Object.'],
    ['options that are not a record', { w }, 1e-3, 'Expected options to be a record, got 0.001.'],
    ['no parameters', {}, {}, 'Expected at least one parameter, got an Object.'],
    ['no groups', [], {}, 'Expected at least one parameter, got [].'],
    ['a tensor instead of a record', w, {}, 'Expected params to be a record of tensors by name, got Float32Array(2).'],
    ['null', null, {}, 'Expected params to be a record of tensors by name, got null.'],
    [
      'a list of numbers',
      { w: [1, 2] },
      {},
      'Expected parameter "w" to be a Float32Array, a GPUBuffer or a GPUBufferBinding, got [1, 2].',
    ],
    [
      'a Float64Array',
      { w: new Float64Array(2) },
      {},
      'Expected parameter "w" to be a Float32Array, a GPUBuffer or a GPUBufferBinding, got Float64Array(2).',
    ],
    ['a group that is a tensor', [w], {}, 'Expected group 0 to be a record with params, got Float32Array(2).'],
    [
      'a group without params',
      [{ lr: 1 }],
      {},
      'Expected params of group 0 to be a record of tensors by name, got undefined.',
    ],
    [
      'a bad option in a group',
      [{ params: { w }, lr: -1 }],
      {},
      'Expected lr of group 0 to be a finite number of at least 0, got -1.',
    ],
    [
      'an unknown option in a group',
      [group, { params: {}, backend: 'wasm' }],
      {},
      'Unknown option "backend" of group 1, got "wasm"; adamw has',
    ],
    ['a group listed twice', [group, group], {}, 'Group 1 is the same object as group 0.'],
    [
      'a tensor in two groups',
      [group, { params: { w: array(2, 2) } }],
      {},
      'The parameter name "w" of group 1 is already in use.',
    ],
    [
      'one array under two names',
      { w, v: w },
      {},
      'Expected every parameter in memory of its own, but "w", "v" overlap.',
    ],
    [
      'arrays that overlap',
      { a: memory.subarray(0, 5), b: memory.subarray(4) },
      {},
      'Expected every parameter in memory of its own, but "a", "b" overlap.',
    ],
  ];
  test.each(refused)('%s', async (...[, tensors, options, message]) => {
    await expect(adamw(any(tensors), any(options))).rejects.toThrow(message);
  });

  const revoked = (target: object): object => {
    const { proxy, revoke } = Proxy.revocable(target, {});
    revoke();
    return proxy;
  };
  const thrower = (): never => {
    throw new Error('no');
  };
  const getter = (name: string | symbol, at = {}): object => Object.defineProperty(at, name, { get: thrower });
  const named = (name: unknown): object => ({ constructor: Object.defineProperty(() => 0, 'name', { value: name }) });
  const endless = function* (): Generator<number> {
    for (;;) yield 1;
  };
  const throws = 'an object that throws when it is read.';
  // The error is made quickly and is short for any value. These are functions because vitest would print the values.
  const hostile: [string, () => unknown, string][] = [
    ['a revoked Proxy', () => revoked({}), throws],
    ['a revoked Proxy of a list', () => revoked([]), throws],
    ['a list with a revoked Proxy', () => [1, revoked({})], throws],
    ['a list with an item that throws', () => getter('0', [0]), throws],
    ['a list with an endless iterator', () => Object.assign([1, 2], { [Symbol.iterator]: endless }), '[1, 2].'],
    ['a list in lists', () => [[[[]]]], 'Array(1).'],
    ['a tag that throws', () => getter(Symbol.toStringTag), throws],
    ['a constructor that throws', () => getter('constructor'), throws],
    ['a name that is a Symbol', () => named(Symbol('x')), 'a Symbol(x).'],
    ['a long name', () => named('L'.repeat(1e6)), `a ${'L'.repeat(78)}….`],
    ['no prototype', () => Object.create(null), 'an Object.'],
    ['a long Symbol', () => Symbol('s'.repeat(1e6)), `Symbol(${'s'.repeat(73)}….`],
    ['a long text', () => 's'.repeat(1e8), `"${'s'.repeat(80)}…".`],
    ['a bigint', () => -(2n ** 127n), '-170141183460469231731687303715884105728n.'],
    ['a long bigint', () => 1n << 10_000_000n, 'a bigint of over 128 bits.'],
  ];
  test.each(hostile)('a hostile value with a short error: %s', async (...[, make, shown]) => {
    const optimizer = await adamw({ w });
    const given = any({ w: make() });
    expect(() => optimizer.step(given)).toThrow(
      new TypeError(`Expected gradient "w" to be a Float32Array, got ${shown}`),
    );
  });

  test('options that cannot be read', async () => {
    const message = 'Expected options to be a record, got an object that throws when it is read.';
    await expect(adamw({ w }, any(revoked({})))).rejects.toThrow(message);
  });

  test('nothing if parameters are adjacent in one buffer', async () => {
    const optimizer = await adamw({ a: memory.subarray(0, 4), b: memory.subarray(4) });
    expect(optimizer.params.b).toHaveLength(4);
  });
});

describe.each(backends)('%s: a refusal changes nothing:', (...[, backend]) => {
  let optimizer: Optimizer;
  let undisturbed: Optimizer;

  beforeEach(async () => {
    const options: Options = { lr: 0.01, weightDecay: 0.1, ...backend };
    [optimizer, undisturbed] = await Promise.all([adamw(params(), options), adamw(params(), options)]);
    for (const each of [optimizer, undisturbed]) each.step(grads());
  });

  /** Takes another step with both, and compares every bit. */
  async function expectUndisturbed(): Promise<void> {
    expect(await optimizer.stateDict()).toEqual(await undisturbed.stateDict());
    for (const each of [optimizer, undisturbed]) each.step(grads());
    for (const name of ['w', 'b']) {
      expect(optimizer.stepOf(name)).toBe(2);
      expect(difference(await optimizer.read(name), await undisturbed.read(name)), name).toBeUndefined();
    }
  }

  const steps: [string, unknown, string][] = [
    ['too few values', { w: array(12, 9), b: array(2, 9) }, 'Expected 3 gradient values for "b", got 2.'],
    ['too many values', { w: array(12, 9), b: array(4, 9) }, 'Expected 3 gradient values for "b", got 4.'],
    ['no values', { b: array(3, 9), w: new Float32Array(0) }, 'Expected 12 gradient values for "w", got 0.'],
    ['an unknown name', { w: array(12, 9), v: array(3, 9) }, 'There is no parameter "v"; there are "w", "b".'],
    ['a list of numbers', { w: array(12, 9), b: [1, 2, 3] }, 'Expected gradient "b" to be a Float32Array'],
    ['another type of array', { b: new Float64Array(3) }, 'got Float64Array(3).'],
    ['a number', { b: 1 }, 'got 1.'],
    ['null', null, 'Expected gradients to be a record by name (such as optimizer.grads), got null.'],
    ['a number instead of a record', 3, 'Expected gradients to be a record by name (such as optimizer.grads), got 3.'],
    ['undefined', undefined, 'Expected gradients to be a record by name (such as optimizer.grads), got undefined.'],
    [
      'a Map',
      new Map([['w', array(12, 9)]]),
      'Expected gradients to be a record by name (such as optimizer.grads), got a Map.',
    ],
    [
      'a Promise',
      Promise.resolve({}),
      'Expected gradients to be a record by name (such as optimizer.grads), got a Promise.',
    ],
    [
      'an array',
      [array(12, 9)],
      'Expected gradients to be a record by name (such as optimizer.grads), got [Float32Array(12)].',
    ],
  ];
  test.each(steps)('step with %s', async (...[, given, message]) => {
    expect(() => optimizer.step(any(given))).toThrow(message);
    await expectUndisturbed();
  });

  test.each([NaN, -1, Infinity, '1', undefined, null])('a schedule that returns %s', async (value) => {
    optimizer.groups[0].schedule = any(() => value);
    const shown = typeof value === 'string' ? '"1"' : String(value);
    expect(() => optimizer.step(grads())).toThrow(
      `Expected schedule(1) to be a finite number of at least 0, got ${shown}.`,
    );
    optimizer.groups[0].schedule = undefined;
    await expectUndisturbed();
  });

  test('a schedule that throws', async () => {
    optimizer.groups[0].schedule = () => {
      throw new Error('out of steps');
    };
    expect(() => optimizer.step(grads())).toThrow('out of steps');
    optimizer.groups[0].schedule = undefined;
    await expectUndisturbed();
  });

  const assignments: [string, unknown, string][] = [
    ['lr', -1, 'Expected lr to be a finite number of at least 0, got -1.'],
    ['lr', undefined, 'Expected lr to be a finite number of at least 0, got undefined.'],
    [
      'betas',
      [0.9, 1.5],
      'Expected betas to be two numbers of at least 0 and less than 1, or a function from completed steps to them, got [0.9, 1.5].',
    ],
    [
      'weightDecay',
      '0.1',
      'Expected weightDecay to be a finite number of at least 0, or a function from completed steps to one, got "0.1".',
    ],
    ['amsgrad', true, "amsgrad is fixed at creation, since it decides the optimizer's memory, got true."],
    ['learningRate', 0.1, 'Unknown option "learningRate", got 0.1; adamw has'],
    ['params', ['w'], 'params is read-only, got ["w"].'],
    ['scheduledLr', 1, 'scheduledLr is read-only, got 1.'],
    ['constructor', 1, 'Unknown option "constructor", got 1; adamw has'],
  ];
  test.each(assignments)('assigning %s = %s', async (name, value, message) => {
    const group = optimizer.groups[0] as unknown as Record<string, unknown>;
    expect(() => (group[name] = value)).toThrow(message);
    await expectUndisturbed();
  });

  test('options whose product exceeds f32', async () => {
    const { lr, betas } = optimizer.groups[0];
    Object.assign(optimizer.groups[0], { lr: 3e38, betas: [0.99, 0] });
    expect(() => optimizer.step(grads())).toThrow('Expected step_size at step 2 to be finite, got Infinity.');
    Object.assign(optimizer.groups[0], { lr, betas });
    await expectUndisturbed();
  });

  test('deleting or redefining an option, or a beta', async () => {
    const group = optimizer.groups[0] as unknown as Record<string, number[]>;
    expect(() => delete group.lr).toThrow('Cannot redefine or delete an option of a group, only assign it: lr.');
    expect(() => Object.defineProperty(group, 'lr', { value: -1 })).toThrow(
      'Cannot redefine or delete an option of a group, only assign it: lr.',
    );
    expect(() => (group.betas[0] = 5)).toThrow(TypeError);
    await expectUndisturbed();
  });

  test('reading an unknown name', async () => {
    expect(() => optimizer.stepOf('v')).toThrow('There is no parameter "v"; there are "w", "b".');
    await expect(optimizer.read('v')).rejects.toThrow('There is no parameter "v"; there are "w", "b".');
    await expect(optimizer.read('w', any({ avarage: true }))).rejects.toThrow(
      'Unknown option "avarage"; read has "average".',
    );
    await expect(optimizer.read('w', any({ average: 'no' }))).rejects.toThrow('average to be true or false, got "no".');
    await expectUndisturbed();
  });

  const saved = { exp_avg: array(12, 5), exp_avg_sq: array(12, 6).map(Math.abs) };
  const dict = (change: Options, state: unknown = {}): unknown => ({
    state,
    param_groups: [{ lr: 0.5, betas: [0.5, 0.5], params: [0, 1], param_names: ['w', 'b'], ...change }],
  });
  const dicts: [string, unknown, string][] = [
    ['whose state is a Map', dict({}, new Map()), 'Expected the state dict to be a record with state and param_groups'],
    [
      'with a duplicate name',
      dict({ params: [0, 1, 2], param_names: ['w', 'b', 'b'] }),
      'The parameter "b" is listed twice in the state dict, again in param_groups[0].',
    ],
    ['that is null', null, 'Expected the state dict to be a record with state and param_groups, got null.'],
    ['without groups', { state: {}, param_groups: [] }, 'Expected the number of param_groups to be 1, got 0.'],
    [
      'of Adam',
      dict({ decoupled_weight_decay: false }),
      'The state dict says decoupled_weight_decay = false in param_groups[0]; adamw has true.',
    ],
    [
      'of AMSGrad',
      dict({ amsgrad: true }),
      'This optimizer was made with amsgrad = false, got true in param_groups[0]. Its state has other arrays: make the optimizer with amsgrad = true.',
    ],
    ['with a bad lr', dict({ lr: -1 }), 'Expected lr in param_groups[0] to be a finite number of at least 0, got -1.'],
    [
      'with a missing name',
      dict({ params: [0], param_names: ['w'] }),
      'The state dict lacks the parameter "b" in param_groups[0].',
    ],
    [
      'with an unknown name',
      dict({ params: [0, 1, 2], param_names: ['w', 'b', 'v'] }),
      'There is no parameter "v" in param_groups[0]; there are "w", "b".',
    ],
    [
      'with a duplicate index',
      dict({ params: [0, 0] }),
      'Parameter 0 is listed twice in the state dict, again in param_groups[0].',
    ],
    ['with too few indices', dict({ params: [0] }), 'Expected the number of params in param_groups[0] to be 2, got 1.'],
    [
      'with state of an unknown parameter',
      dict({}, { 7: { step: 1 } }),
      'The state dict has state for "7", which is in no group.',
    ],
    [
      'without a step',
      dict({}, { 0: saved }),
      'Expected step in the state of "w" to be a whole number of at least 1, less than 2^53 - 1, got undefined.',
    ],
    [
      'with a fractional step',
      dict({}, { 0: { step: 0.5, ...saved } }),
      'Expected step in the state of "w" to be a whole number of at least 1, less than 2^53 - 1, got 0.5.',
    ],
    [
      'without a slot',
      dict({}, { 0: { step: 1, exp_avg: saved.exp_avg } }),
      'Expected exp_avg_sq in the state of "w" to be a Float32Array, got undefined.',
    ],
    [
      'with an unknown slot',
      dict({}, { 0: { step: 1, ...saved, z: array(12, 1) } }),
      'The state of "w" has "z"; it should have "exp_avg", "exp_avg_sq".',
    ],
    [
      'with a short slot',
      dict({}, { 0: { step: 1, ...saved, exp_avg_sq: array(3, 1) } }),
      'Expected 12 values of exp_avg_sq in the state of "w", got 3.',
    ],
    [
      'with a negative second moment',
      dict({}, { 0: { step: 1, ...saved, exp_avg_sq: saved.exp_avg_sq.with(7, -1) } }),
      'Expected exp_avg_sq[7] in the state of "w" to be at least 0, as an average of squares is, got -1.',
    ],
    [
      'with a second moment of NaN',
      dict({}, { 0: { step: 1, ...saved, exp_avg_sq: saved.exp_avg_sq.with(0, NaN) } }),
      'Expected exp_avg_sq[0] in the state of "w" to be at least 0, as an average of squares is, got NaN.',
    ],
    [
      'with a step that cannot be incremented',
      dict({}, { 0: { step: 2 ** 53 - 1, ...saved } }),
      'Expected step in the state of "w" to be a whole number of at least 1, less than 2^53 - 1, got 9007199254740991.',
    ],
    [
      'with completed steps that cannot be incremented',
      dict({ completed_steps: 2 ** 53 - 1 }),
      'Expected completed_steps in param_groups[0] to be a whole number of at least 0, less than 2^53 - 1, got 9007199254740991.',
    ],
    ...['00', '0.0', '0e0', '+0', ' 0', '-0', '0x0', '٠', ''].map((key): [string, unknown, string] => [
      `with the key ${JSON.stringify(key)} for 0`,
      dict({}, { [key]: { step: 1, ...saved } }),
      `The state dict has state for ${JSON.stringify(key)}, which is in no group.`,
    ]),
    ...[-0, '0', 0n, 0.5, 2 ** 53].map((index): [string, unknown, string] => [
      `with ${typeof index} ${String(index)} as an index`,
      dict({ params: [index, 1] }),
      'Expected params[0] in param_groups[0] to be a whole number of at least 0, got',
    ]),
    [
      'with a sparse list of names',
      dict({ param_names: Array(2 ** 32 - 1) }),
      'Expected param_names[0] in param_groups[0] to be a string, got undefined.',
    ],
    [
      'with a bad last tensor',
      dict({}, { 0: { step: 1, ...saved }, 1: { step: 1 } }),
      'Expected exp_avg in the state of "b" to be a Float32Array, got undefined.',
    ],
  ];
  test('a state dict with unknown options', async () => {
    const loading = optimizer.loadStateDict(await optimizer.stateDict(), any({ parms: {} }));
    await expect(loading).rejects.toThrow('Unknown option "parms"; loadStateDict has "params", "options", "strict".');
    await expectUndisturbed();
  });

  test('a second moment of Infinity, which PyTorch writes, loads as the largest f32 and stays in the dict', async () => {
    for (const make of [adamw, nadam, adamwScheduleFree] as unknown as (typeof adamw)[]) {
      const [from, to] = [await make(params(), backend), await make(params(), backend)];
      from.step(grads());
      const given = await from.stateDict();
      const squares = given.state[0].exp_avg_sq as Float32Array;
      squares[3] = Infinity;
      await to.loadStateDict(given);
      expect(squares[3]).toBe(Infinity);
      const loaded = (await to.stateDict()).state[0].exp_avg_sq as Float32Array;
      expect(difference(loaded, squares.with(3, 3.4028234663852886e38))).toBeUndefined();
      for (let t = 0; t < 3; t++) to.step(grads());
      expect((await to.read('w')).every(Number.isFinite)).toBe(true);
    }
  });

  test('a negative max_exp_avg_sq', async () => {
    const amsgrad = await adam(params(), { amsgrad: true, ...backend });
    amsgrad.step(grads());
    const given = await amsgrad.stateDict();
    (given.state[1].max_exp_avg_sq as Float32Array)[2] = -Infinity;
    await expect(amsgrad.loadStateDict(given)).rejects.toThrow(
      'Expected max_exp_avg_sq[2] in the state of "b" to be at least 0, as an average of squares is, got -Infinity.',
    );
  });

  test('sums of Schedule-Free that would overflow in the next step', async () => {
    const free = await adamwScheduleFree(params(), { r: 1, ...backend });
    free.step(grads());
    const given = await free.stateDict();
    for (const [change, sentence] of [
      [{ k: 2 ** 53 - 1 }, 'Expected k in param_groups[0] to be a whole number of at least 0, less than 2^53 - 1'],
      [
        { lr_max: 1e200 },
        'No step can follow the state in param_groups[0]: Expected the weight of step 2 in the average',
      ],
      [
        { weight_sum: 1.7e308, lr_max: 1e154 },
        'No step can follow the state in param_groups[0]: Expected the weight of step 2 in the average',
      ],
      [{ weight_sum: NaN }, 'Expected weight_sum in param_groups[0] to be a finite number of at least 0, got NaN.'],
    ] as const) {
      const bad = { ...given, param_groups: [{ ...given.param_groups[0], ...change }] };
      await expect(free.loadStateDict(bad)).rejects.toThrow(sentence);
      expect(await free.stateDict()).toEqual(given);
    }
  });

  // Each changes a dict of another run so that a second read of a property gives another value.
  class Lying extends Float32Array {
    override get length(): number {
      return 3;
    }
  }
  type Dict = { state: Record<string, Record<string, unknown>>; param_groups: Record<string, unknown>[] };
  const onSecond = (given: Dict, act: () => void): void => {
    const { 0: first, 1: second } = given.state;
    given.state = Object.defineProperty({ 0: first }, 1, { get: () => (act(), second), enumerable: true }) as never;
  };
  const changeEachRead = (object: object, name: string, values: readonly unknown[]): void => {
    let n = 0;
    Object.defineProperty(object, name, { get: () => values[Math.min(n++, values.length - 1)], enumerable: true });
  };
  const inconsistent: [string, (given: Dict) => void, string | undefined][] = [
    ['an array with a wrong length property', ({ state }) => (state[1].exp_avg_sq = new Lying(9)), 'got 9.'],
    [
      'an array that a getter grows',
      (given) => {
        const shared = Reflect.construct(SharedArrayBuffer, [48, { maxByteLength: 96 }]) as SharedArrayBuffer;
        given.state[0].exp_avg_sq = new Float32Array(shared);
        onSecond(given, () => (shared as unknown as { grow(bytes: number): void }).grow(96));
      },
      'Expected 12 values of exp_avg_sq in the state of "w", got 24.',
    ],
    [
      'an array that a getter transfers',
      (given) => {
        const { buffer } = given.state[0].exp_avg_sq as Float32Array<ArrayBuffer>;
        onSecond(given, () => structuredClone(buffer, { transfer: [buffer] }));
      },
      'exp_avg_sq in the state of "w" to have its memory, got a buffer that was transferred',
    ],
    ['a counter', ({ state }) => changeEachRead(state[0], 'step', [5, -1, 'x']), undefined],
    ['a slot', ({ state }) => changeEachRead(state[1], 'exp_avg', [array(3, 8), array(2, 8), 'x']), undefined],
    ['the groups', (given) => changeEachRead(given, 'param_groups', [given.param_groups, []]), undefined],
    [
      'names',
      ({ param_groups: [group] }) =>
        changeEachRead(group, 'param_names', [
          ['w', 'b'],
          ['b', 'w'],
        ]),
      undefined,
    ],
    [
      'one name',
      ({ param_groups: [group] }) => changeEachRead(group.param_names as object, '0', ['w', 'b']),
      undefined,
    ],
    ['an index', ({ param_groups: [group] }) => changeEachRead(group.params as object, '1', [1, 0, 'x']), undefined],
    [
      'betas',
      ({ param_groups: [group] }) =>
        changeEachRead(group, 'betas', [
          [0.5, 0.5],
          [2, 2],
        ]),
      undefined,
    ],
    ['one beta', ({ param_groups: [group] }) => changeEachRead((group.betas = [0.5, 0.5]), '1', [0.5, 7]), undefined],
    [
      'the state of a schedule',
      ({ param_groups: [group] }) => changeEachRead(group.schedule as object, 'multiplier', [0.5, 'x']),
      undefined,
    ],
    [
      'a Proxy',
      (given) => {
        let n = 0;
        const get = (record: object, key: string): unknown =>
          key === 'step' && n++ > 0 ? 'x' : Reflect.get(record, key);
        given.state[0] = new Proxy(given.state[0], { get } as ProxyHandler<never>);
      },
      undefined,
    ],
  ];
  test.each(inconsistent)(
    'a state dict that gives different values on each read: %s',
    async (...[, spoil, refusal]) => {
      const make = () => adamw(params(), { schedule: schedules.reduceOnPlateau(), ...backend });
      const [one, donor] = await Promise.all([make(), make()]);
      one.step(grads());
      for (let t = 0; t < 5; t++) donor.step(grads());
      const [before, given] = [await one.stateDict(), await donor.stateDict()];
      spoil(given as never);
      const loading = one.loadStateDict(given);
      if (refusal === undefined) {
        // The values of the first read are loaded, and are valid.
        await loading;
        const loaded = await one.stateDict();
        expect([loaded.state[0].step, loaded.state[1].step]).toEqual([5, 5]);
        await donor.loadStateDict(loaded);
      } else {
        await expect(loading).rejects.toThrow(refusal);
        expect(await one.stateDict()).toEqual(before);
      }
    },
  );

  test('a state dict with arrays in the optimizer’s own memory is copied before it is written', async () => {
    const own = optimizer.params as Readonly<Record<string, unknown>>;
    if (!(own.w instanceof Float32Array)) return expect(backend).toHaveProperty('backend', 'webgpu');
    const given = await optimizer.stateDict();
    const w = own.w.slice();
    given.state[0].exp_avg = own.w;
    await optimizer.loadStateDict(given, { params: params() });
    expect((await optimizer.stateDict()).state[0].exp_avg).toEqual(w);
  });

  test('a state dict that changes its optimizer while it is read', async () => {
    const given = await undisturbed.stateDict();
    const { state } = given;
    const changing = { ...given, get state() { optimizer.freeze('w'); return state; } }; // prettier-ignore
    await expect(optimizer.loadStateDict(changing)).rejects.toThrow('freeze() was called during another call');
    optimizer.unfreeze('w');
    await expectUndisturbed();
  });

  test('a schedule that throws when its state is loaded, after another schedule has loaded its state', async () => {
    const states: unknown[] = [];
    const plateau = schedules.reduceOnPlateau();
    const refusing = Object.assign(() => 1, {
      stateDict: () => ({}),
      loadStateDict: () => {
        states.push(plateau.stateDict().multiplier);
        if (states.length === 1) throw new Error('bad state');
      },
    });
    const { w, b } = params();
    const made = await adamw(
      [
        { params: { w }, schedule: plateau },
        { params: { b }, schedule: refusing },
      ],
      backend,
    );
    const given = await made.stateDict();
    given.param_groups[0].schedule = { ...plateau.stateDict(), multiplier: 0.5 };
    await expect(made.loadStateDict(given)).rejects.toThrow('Cannot load the schedule in param_groups[1]: bad state');
    expect(states).toEqual([0.5, 0.5]);
    expect(plateau.stateDict().multiplier).toBe(1);
  });

  test('properties of Object.prototype are not part of a state dict', async () => {
    const given = await undisturbed.stateDict();
    const added = {
      step: 7,
      exp_avg: 1,
      frozen: ['w'],
      betas: [0, 0],
      params: 1,
      schedule: {},
      algorithm: 'x',
      strict: 0,
    };
    const { 1: _, ...state } = given.state;
    const prototype = Object.getPrototypeOf({}) as object;
    const { algorithm: _algorithm, frozen: _frozen, ...group } = given.param_groups[0];
    try {
      for (const [name, value] of Object.entries(added)) {
        Object.defineProperty(prototype, name, { value, configurable: true, enumerable: false, writable: true });
      }
      await optimizer.loadStateDict({ state, param_groups: [group] } as never);
      await optimizer.loadStateDict(given);
    } finally {
      for (const name of Object.keys(added)) Reflect.deleteProperty(prototype, name);
    }
    await expectUndisturbed();
  });

  test('an index with a leading zero in a state dict of Lookahead', async () => {
    const ahead = await lookahead(optimizer);
    const given = await ahead.stateDict();
    const { 1: last, ...others } = given.state;
    const loading = ahead.loadStateDict({ ...given, state: { ...others, '01': last } as never });
    await expect(loading).rejects.toThrow('Expected slow_param of "b" to be a Float32Array, got undefined.');
    const more = ahead.loadStateDict({ ...given, state: { ...given.state, '01': last } as never });
    await expect(more).rejects.toThrow('The state dict has state for "01", which is in no group.');
    expect(await ahead.stateDict()).toEqual(given);
  });

  test.each(dicts)('a state dict %s', async (...[, given, message]) => {
    await expect(optimizer.loadStateDict(any(given))).rejects.toThrow(message);
    await expectUndisturbed();
  });

  test('any use after dispose()', async () => {
    optimizer.dispose();
    optimizer.dispose();
    const gone = 'This optimizer has been disposed of.';
    expect(() => optimizer.step(grads())).toThrow(gone);
    expect(() => optimizer.step()).toThrow(gone);
    expect(() => optimizer.params).toThrow(gone);
    expect(() => optimizer.grads).toThrow(gone);
    expect(() => optimizer.stepOf('w')).toThrow(gone);
    await expect(optimizer.read('w')).rejects.toThrow(gone);
    await expect(optimizer.stateDict()).rejects.toThrow(gone);
    await expect(optimizer.loadStateDict(await undisturbed.stateDict())).rejects.toThrow(gone);
  });
});

describe.each(backends.slice(0, 2))('%s: gradients in the optimizer’s own memory', (...[, backend]) => {
  test('are refused if they belong to another tensor', async () => {
    const optimizer = await adamw({ a: array(4, 1), b: array(4, 2) }, backend);
    const { a, b } = optimizer.grads as Record<string, Float32Array>;
    expect(() => optimizer.step({ a: b, b: a })).toThrow(
      'The gradient of "a" lies in the memory of another tensor or slot.',
    );
    expect(() => optimizer.step({ a: a.subarray(0), b })).not.toThrow();
  });

  test('may be parameters, with their values before the step', async () => {
    const [a, b] = [array(4, 1), array(4, 2)];
    const optimizer = await adamw([{ params: { a } }, { params: { b } }], backend);
    const live = optimizer.params as Record<string, Float32Array>;
    optimizer.step({ a: live.b, b: live.a });
    const separate = await adamw({ a, b }, backend);
    separate.step({ a: b, b: a });
    for (const name of ['a', 'b'] as const)
      expect(difference(await optimizer.read(name), await separate.read(name))).toBeUndefined();
  });
});

test.each(backends.slice(0, 2))('%s: encode() and its relatives throw on the CPU', async (...[, backend]) => {
  const optimizer = await adamw(params(), backend);
  const encoder = { beginComputePass: () => {} };
  expect(() => optimizer.encode(any(encoder), any(grads()))).toThrow(
    'encode() records GPU commands, but the parameters are in CPU memory; call step().',
  );
  expect(() => optimizer.encode(any({}))).toThrow('Expected the encoder to be a GPUCommandEncoder, got an Object.');
  const inCpu = 'records GPU commands, but the parameters are in CPU memory; call';
  for (const each of [optimizer, await adamwScheduleFree(params(), backend)]) {
    expect(() => each.encodeTrain(any(encoder))).toThrow(new TypeError(`encodeTrain() ${inCpu} train().`));
    expect(() => each.encodeEval(any(encoder))).toThrow(new TypeError(`encodeEval() ${inCpu} eval().`));
    expect(() => each.encodeAverage(any(encoder), any(grads()))).toThrow(
      new TypeError(`encodeAverage() ${inCpu} read(name, { average: true }).`),
    );
  }
  expect(optimizer.stepOf('w')).toBe(0);
});

describe('unknown options and extra arguments', () => {
  const w = (): Record<string, Float32Array> => ({ w: array(2, 1) });

  test.each([
    ['learningRate', 'lr'],
    ['learning_rate', 'lr'],
    ['LR', 'lr'],
    ['beta1', 'betas'],
    ['beta_2', 'betas'],
    ['epsilon', 'eps'],
    ['esp', 'eps'],
    ['weight_decay', 'weightDecay'],
    ['wieghtDecay', 'weightDecay'],
    ['wd', 'weightDecay'],
    ['amsGrad', 'amsgrad'],
    ['maximise', 'maximize'],
    ['lrScheduler', 'schedule'],
  ])('%s: did you mean %s?', async (name, meant) => {
    const suggestion = new RegExp(`^Unknown option "${name}".* Did you mean ${meant}\\?$`);
    await expect(adamw(w(), any({ [name]: 0.1 }))).rejects.toThrow(suggestion);
    await expect(adamw([{ params: w(), ...any({ [name]: 0.1 }) }])).rejects.toThrow(suggestion);
    const optimizer = await adamw(w());
    expect(() => Object.assign(optimizer.groups[0], { [name]: 0.1 })).toThrow(suggestion);
  });

  test('suggests options of the optimizer as a whole, of Lookahead and of loading', async () => {
    for (const [name, meant] of Object.entries({ thread: 'threads', keepgrads: 'keepGrads', Backend: 'backend' })) {
      const suggestion = new RegExp(`^Unknown option "${name}".* Did you mean ${meant}\\?$`);
      await expect(adamw(w(), any({ [name]: 1 }))).rejects.toThrow(suggestion);
    }
    const optimizer = await adamw(w());
    await expect(lookahead(optimizer, any({ alfa: 0.5 }))).rejects.toThrow(/ Did you mean alpha\?$/);
    await expect(optimizer.loadStateDict(any({}), any({ stric: false }))).rejects.toThrow(/ Did you mean strict\?$/);
    // For an option that belongs elsewhere, the error says where instead of suggesting it.
    await expect(adamw([{ params: w(), ...any({ backend: 'wasm' }) }])).rejects.toThrow(/as a whole\.$/);
  });

  test('refuses names that are not strings', async () => {
    const optimizer = await adamw(w());
    const revoked = Proxy.revocable({}, {});
    revoked.revoke();
    const others: [unknown, string][] = [
      [['w'], '["w"]'],
      [Object.create(null), 'an Object'],
      [revoked.proxy, 'an object that throws when it is read'],
      [{ toString: () => 'w' }, 'an Object'],
      [5, '5'],
      [undefined, 'undefined'],
      [Symbol('w'), 'Symbol(w)'],
    ];
    for (const [name, shown] of others) {
      const refused = `Expected the parameter to be a name, got ${shown}.`;
      expect(() => optimizer.stepOf(any(name))).toThrow(refused);
      await expect(optimizer.read(any(name))).rejects.toThrow(refused);
      expect(() => noDecayOnBiasAndNorm(any(name))).toThrow(refused);
      expect(() => wgslKernel(any(name))).toThrow(`, got ${shown}.`);
      expect(() => coefficients(any(name))).toThrow(`, got ${shown}.`);
    }
    expect(() => wgslKernel(any(['adam']))).toThrow('Expected the kernel to be one of');
    expect(() => coefficients(any(['adam']))).toThrow('Expected the algorithm to be one of');
    // From these no next step can be counted.
    for (const step of [2 ** 53 - 1, -0, -1, 0.5]) {
      expect(() => coefficients('adam', {}, { step })).toThrow(
        `Expected step to be a whole number of at least 0, less than 2^53 - 1, got ${Object.is(step, -0) ? '-0' : step}.`,
      );
    }
  });

  test('suggests nothing if no name is similar', async () => {
    await expect(adamw(w(), any({ threshold: 1 }))).rejects.toThrow(/as a whole\.$/);
    await expect(adamw(w(), any({ x: 1 }))).rejects.toThrow(/as a whole\.$/);
    const long = 'weight'.repeat(100_000);
    await expect(adamw(w(), any({ [long]: 1 }))).rejects.toThrow('Unknown option "weightweight');
  });

  test('suggests names of tensors and options of schedules', async () => {
    const tensors: Record<string, Float32Array> = { weight: array(2, 1), bias: array(2, 2) };
    const optimizer = await adamw(tensors);
    const unknown = 'There is no parameter "wieght"; there are "weight", "bias". Did you mean weight?';
    await expect(optimizer.read('wieght')).rejects.toThrow(unknown);
    expect(() => optimizer.step({ wieght: array(2, 3) })).toThrow(unknown);
    expect(() => schedules.cosineAnnealing(any({ T_max: 3 }))).toThrow(/ Did you mean tMax\?$/);
    expect(() => optimizer.step({}, any({ gradscal: 2 }))).toThrow(/ Did you mean gradScale\?$/);
  });

  test('every function refuses extra arguments', async () => {
    const optimizer = await adamw(w());
    const ahead = await lookahead(await adamw(w()));
    const gradients = { w: array(2, 2) };
    const free = coefficients('adamwScheduleFree');
    const calls: Record<string, [(...args: never[]) => unknown, ...unknown[]]> = {
      adamw: [adamw, w(), {}],
      ema: [ema, optimizer, {}],
      lookahead: [lookahead, optimizer, {}],
      debiasedDecay: [debiasedDecay, 0.1, 0.9],
      enableWideSimd: [enableWideSimd, new Uint8Array(8), {}],
      coefficients: [coefficients, 'adam', {}, { step: 0 }],
      next: [free.next],
      scalars: [free.scalars, {}],
      average: [free.average, true],
      saveCheckpoint: [saveCheckpoint, optimizer, {}],
      checkpointStream: [checkpointStream, optimizer, {}],
      loadCheckpoint: [loadCheckpoint, optimizer, new Uint8Array(8), {}],
      encodeCheckpoint: [encodeCheckpoint, {}],
      decodeCheckpoint: [decodeCheckpoint, new Uint8Array(8)],
      parseSafetensors: [parseSafetensors, new Uint8Array(8), {}],
      serializeSafetensors: [serializeSafetensors, new Map(), new Map()],
      wasmKernels: [wasmKernels, new WebAssembly.Memory({ initial: 1 }), {}],
      wgslKernel: [wgslKernel, 'adam', {}],
      workgroups: [wgslKernel('adam').workgroups, 64, 64],
      constant: [schedules.constant, {}],
      cosineAnnealing: [schedules.cosineAnnealing, { tMax: 1 }],
      cosineAnnealingWarmRestarts: [schedules.cosineAnnealingWarmRestarts, { t0: 1 }],
      cosineDecay: [schedules.cosineDecay, { decaySteps: 1 }],
      exponential: [schedules.exponential, { gamma: 1 }],
      inverseSqrt: [schedules.inverseSqrt, { warmupSteps: 1 }],
      linear: [schedules.linear, {}],
      linearWarmup: [schedules.linearWarmup, { totalIters: 1 }, () => 1],
      multiStep: [schedules.multiStep, { milestones: [] }],
      oneCycle: [schedules.oneCycle, { totalSteps: 1 }],
      betas: [schedules.oneCycle({ totalSteps: 1 }).betas, 0.9],
      polynomial: [schedules.polynomial, {}],
      reduceOnPlateau: [schedules.reduceOnPlateau, {}],
      sequential: [schedules.sequential, [() => 1], []],
      step: [schedules.step, { stepSize: 1 }],
      warmupStableDecay: [schedules.warmupStableDecay, { warmupSteps: 1, stableSteps: 1, decaySteps: 1 }],
    };
    const plateau = schedules.reduceOnPlateau();
    for (const [name, [call, ...args]] of [
      ...Object.entries(calls),
      ...methods(optimizer, gradients),
      ...methods(ahead, gradients),
      ...([
        ['step', [plateau.step, 1]],
        ['stateDict', [plateau.stateDict]],
        ['loadStateDict', [plateau.loadStateDict, plateau.stateDict()]],
      ] as [string, [(...given: never[]) => unknown, ...unknown[]]][]),
    ]) {
      const most = args.length;
      const refused = `Expected the number of arguments of ${name} to be at most ${most}, got ${most + 1}.`;
      await expect((async () => call(...any<never[]>([...args, undefined])))(), name).rejects.toThrow(refused);
    }
    expect(optimizer.completedSteps).toBe(0);
    // Callbacks of `map` and `filter` accept the extra index.
    const names = ['w', 'bias'];
    expect(names.filter(noDecayOnBiasAndNorm)).toEqual(['w']);
    expect([0, 1].map(schedules.constant())).toEqual([1 / 3, 1 / 3]);
  });

  /** The bound methods of an optimizer by name, with all the arguments that they take. */
  function methods(optimizer: object, gradients: unknown): [string, [(...args: never[]) => unknown, ...unknown[]]][] {
    const taken: Record<string, unknown[]> = {
      step: [gradients, {}],
      encode: [{ beginComputePass() {} }, {}, {}],
      encodeTrain: [{ beginComputePass() {} }, 0],
      encodeEval: [{ beginComputePass() {} }, 0],
      encodeAverage: [{ beginComputePass() {} }, {}],
      accumulate: [gradients],
      zeroGrad: [],
      norms: [gradients],
      gradNorm: [],
      skippedSteps: [],
      group: ['a'],
      addParamGroup: [{ params: { v: array(2, 2) } }],
      addParams: [0, { v: array(2, 2) }, {}],
      removeParams: [['w']],
      freeze: ['w'],
      unfreeze: ['w'],
      stepOf: ['w'],
      slots: ['w'],
      read: ['w', {}],
      train: [0],
      eval: [0],
      stepClosure: [() => gradients],
      stateDict: [],
      lazyStateDict: [],
      loadStateDict: [{}, {}],
      follow: [],
      dispose: [],
    };
    const names = Object.getOwnPropertyNames(Object.getPrototypeOf(optimizer)).filter((name) => {
      const { value } = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(optimizer), name)!;
      return typeof value === 'function' && name !== 'constructor';
    });
    return names.map((name) => {
      const method = (optimizer as Record<string, (...args: never[]) => unknown>)[name].bind(optimizer);
      return [name, [method, ...taken[name]]];
    });
  }
});

describe('an assignment without effect throws', () => {
  const assignments: [string, string, RegExp][] = [
    [
      'an option',
      'o.lr = 0',
      /^Cannot assign 0 to "lr", which does not exist; options are in groups, such as groups\[0\]\.lr\.$/,
    ],
    ['a synonym of an option', 'o.learningRate = 0', /^Cannot assign 0 to "learningRate", .* Did you mean lr\?$/],
    [
      'an unknown property',
      'o.foo = "x"',
      /^Cannot assign "x" to "foo", which does not exist; options are in groups, such as groups\[0\]\.lr\.$/,
    ],
    ['the parameters', 'o.params = {}', /^params is read-only, got an Object\.$/],
    ['the gradients', 'o.grads = {}', /^grads is read-only, got an Object\.$/],
    ['the backend', 'o.backend = "wasm"', /^backend is read-only, got "wasm"\.$/],
    ['the groups', 'o.groups = []', /^groups is read-only, got \[\]\.$/],
    ['the device', 'o.device = null', /^device is read-only, got null\.$/],
    ['completed steps', 'o.completedSteps = 0', /^completedSteps is read-only, got 0\.$/],
    [
      'a group',
      'o.groups[0] = { lr: 0 }',
      /^groups\["0"\] is read-only, got an Object; assign to an option, as groups/,
    ],
    ['an added group', 'o.groups.push({ params: {} })', /^groups\["1"\] is read-only, .* or call addParamGroup\(\)\.$/],
    ['fewer groups', 'o.groups.length = 0', /^groups\["length"\] is read-only, got 0; /],
    ['no group', 'delete o.groups[0]', /^groups\["0"\] is read-only, got undefined; /],
    ['freezing the groups', 'Object.freeze(o.groups)', /^groups cannot be frozen, sealed or/],
    [
      'preventing extensions of the groups',
      'Object.preventExtensions(o.groups)',
      /^groups cannot be frozen, .* addParamGroup\(\)\.$/,
    ],
    [
      'the prototype of the groups',
      'Object.setPrototypeOf(o.groups, null)',
      /^groups cannot be frozen, .* given another prototype; /,
    ],
    ['a beta', 'o.groups[0].betas[0] = 0.5', /read only/],
    ['a name of a group', 'o.groups[0].params[0] = "v"', /read only/],
    ['an added name', 'o.groups[0].params.push("v")', /not extensible/],
    ['fewer names', 'o.groups[0].params.length = 0', /read only/],
    ['a name of a frozen tensor', 'o.groups[0].frozen.push("w")', /not extensible/],
    ['the name of the backend', 'o.backend.name = "webgpu"', /read only/],
    ['a gradient', 'o.grads.w = new Float32Array(2)', /read only/],
    ['a parameter', 'o.params.w = new Float32Array(2)', /read only/],
    ['a new parameter', 'o.params.v = new Float32Array(2)', /not extensible/],
  ];
  test.each(assignments)('%s: %s', async (...[, code, message]) => {
    const optimizer = await adamw({ w: array(2, 1) });
    // oxlint-disable-next-line no-new-func -- a script without strict mode as well as a module
    const assign = (mode: string) => new Function('o', `${mode}${code}`) as (given: unknown) => void;
    expect(() => assign('"use strict";')(optimizer)).toThrow(message);
    // Plain frozen records and lists throw only in strict mode; they are fast to read and can be cloned.
    const isFrozen = /^o\.(params|grads|backend|groups\[0\])\..* = /.test(code);
    if (!isFrozen) expect(() => assign('')(optimizer)).toThrow(message);
    expect(optimizer.groups.map(({ params: names, frozen, betas }) => [names, frozen, betas])).toEqual([
      [['w'], [], [0.9, 0.999]],
    ]);
    await optimizer.addParamGroup({ params: { v: array(2, 1) } });
    expect(Object.keys(optimizer.params)).toEqual(['w', 'v']);
  });

  test('but properties of a group can be cloned, also after loading', async () => {
    const optimizer = await adamw({ w: array(2, 1) });
    const other = await adamw({ w: array(2, 1) }, { betas: [0.5, 0.75] });
    other.freeze('w');
    await optimizer.loadStateDict(await other.stateDict());
    const shown = { ...optimizer.groups[0] };
    expect(structuredClone(shown)).toEqual(shown);
    expect([shown.params, shown.frozen, shown.betas]).toEqual([['w'], ['w'], [0.5, 0.75]]);
    optimizer.groups[0].betas = [0.25, 0.5];
    expect(structuredClone(optimizer.groups[0].betas)).toEqual([0.25, 0.5]);
  });

  test('on Lookahead and coefficients', async () => {
    const ahead = any<Record<string, unknown>>(await lookahead(await adamw({ w: array(2, 1) })));
    expect(() => (ahead.k = 3)).toThrow(
      'Cannot assign 3 to "k", which does not exist; options are in optimizer.groups,',
    );
    expect(() => (ahead.lr = 3)).toThrow('options are in optimizer.groups, such as optimizer.groups[0].lr.');
    expect(() => (ahead.slow = 3)).toThrow('slow is read-only, got 3.');
    const scalars = any<Record<string, unknown>>(coefficients('adam'));
    expect(() => (scalars.lr = 3)).toThrow(
      'coefficients["lr"] is read-only, got 3; assign to an option, as options.lr.',
    );
    expect(() => (scalars.step = 3)).toThrow('coefficients["step"] is read-only, got 3;');
  });

  test('but a method may be replaced by a spy', async () => {
    const optimizer = await adamw({ w: array(2, 1) });
    const { step } = optimizer;
    let count = 0;
    optimizer.step = (...args) => {
      count += 1;
      step.apply(optimizer, args);
    };
    optimizer.step({ w: array(2, 2) });
    expect([count, optimizer.completedSteps]).toEqual([1, 1]);
  });
});

describe('ignores properties of Object.prototype:', () => {
  // Old libraries and polyfills add functions there, whose names may equal our options.
  const names = [
    'clone',
    'w',
    'more',
    'gradScale',
    'lr',
    'betas',
    'schedule',
    'device',
    'params',
    'decayMask',
    'average',
  ];
  const more = [
    'k',
    'alpha',
    'tMax',
    'lanes',
    'isFirst',
    'group',
    'conflict',
    'get',
    'set',
    'value',
    'size',
    'offset',
    'shapes',
    'dtype',
  ];

  test.each(
    [...names, ...more].flatMap(
      (name) =>
        [
          [name, () => {}],
          [name, 3],
          [name, true],
        ] as [string, unknown][],
    ),
  )('%s: %s', async (name, value) => {
    const run = async () => {
      const seen: unknown[] = [];
      for (const create of [adamw, any<typeof adamw>(adamwScheduleFree)]) {
        const optimizer = await create([{ params: { w: array(2, 1), v: array(3, 2) }, lr: 0.1 }], { weightDecay: 0.1 });
        optimizer.step({ w: array(2, 3), v: array(3, 3) });
        optimizer.step({ v: array(3, 4) }, { more: true });
        optimizer.step({ w: array(2, 4) }, { gradScale: 0.5 });
        optimizer.accumulate({ v: array(3, 5) });
        optimizer.step();
        await optimizer.addParamGroup({ params: { u: array(2, 6) } });
        optimizer.groups[0].lr = 0.2;
        const average = await ema(optimizer);
        for (let t = 0; t < 2; t++) {
          optimizer.step({ w: array(2, 3) }, {});
          average.step(optimizer.params);
        }
        const dict = await optimizer.stateDict();
        const file = await saveCheckpoint(optimizer);
        seen.push(file, await loadCheckpoint(optimizer, file), [...parseSafetensors(file).tensors.keys()]);
        await optimizer.loadStateDict(dict, { params: { ...optimizer.params } });
        seen.push(
          { ...optimizer.params },
          { ...average.params },
          dict,
          { ...optimizer.groups[0] },
          await optimizer.norms(),
        );
      }
      const ahead = await lookahead(await adamw({ w: array(2, 1) }), { k: 2 });
      for (let t = 0; t < 2; t++) ahead.step({ w: array(2, 3) });
      seen.push(await ahead.stateDict(), [0, 1, 2].map(schedules.cosineAnnealing({ tMax: 3 })));
      const scalars = coefficients('adam', { lr: 0.5 });
      scalars.next();
      return [...seen, scalars.scalars(), wgslKernel('adam').lanes];
    };
    const expected = await run();
    let given: unknown[];
    const plain = Object.getPrototypeOf({}) as object;
    Object.defineProperty(plain, name, { value, enumerable: true, configurable: true, writable: true });
    try {
      given = await run();
    } finally {
      Reflect.deleteProperty(plain, name);
    }
    expect(given).toEqual(expected);
  });
});

describe.each(backends)('%s: refuses transferred memory', (...[, backend]) => {
  const transferred = (length: number): Float32Array => {
    const values = array(length, 7);
    structuredClone(values, { transfer: [values.buffer] });
    return values;
  };
  const lost = (what: string): string =>
    `Expected ${what} to have its memory, got a buffer that was transferred or has shrunk.`;

  test('as a parameter', async () => {
    await expect(adamw({ w: transferred(2) }, backend)).rejects.toThrow(lost('parameter "w"'));
    const optimizer = await adamw({ w: array(2, 1) }, backend);
    await expect(optimizer.addParams(0, any({ v: transferred(2) }))).rejects.toThrow(lost('parameter "v"'));
    const added = optimizer.addParamGroup(any({ params: { v: transferred(2) } }));
    await expect(added).rejects.toThrow(lost('parameter "v"'));
    expect(Object.keys(optimizer.params)).toEqual(['w']);
  });

  test('and a parameter at the end of a buffer that has shrunk', async () => {
    await expect(adamw({ w: shrunk(2) }, backend)).rejects.toThrow(lost('parameter "w"'));
    await expect(adamw([{ params: { w: shrunk(2) } }], backend)).rejects.toThrow(lost('parameter "w"'));
    const optimizer = await adamw({ w: array(2, 1) }, backend);
    const refused = lost('parameter "v"');
    await expect(optimizer.addParams(0, any({ v: shrunk(2) }))).rejects.toThrow(refused);
    await expect(optimizer.addParamGroup(any({ params: { v: shrunk(2) } }))).rejects.toThrow(refused);
    const ahead = await lookahead(optimizer);
    expect(() => ahead.step({ w: shrunk(2) })).toThrow(lost('gradient "w"'));
    expect(Object.keys(optimizer.params)).toEqual(['w']);
  });

  test('as a parameter, before the promise resolves', async () => {
    const w = array(2, 1);
    const creating = adamw({ w }, backend);
    structuredClone(w, { transfer: [w.buffer] });
    // Either the values were copied before the transfer, or creation rejects.
    await creating.then(
      async (optimizer) => expect(await optimizer.read('w')).toEqual(array(2, 1)),
      (error: Error) => expect(error.message).toBe(lost('parameter "w"')),
    );
  });

  test('as a gradient', async () => {
    const optimizer = await adamw({ w: array(2, 1), none: new Float32Array(0) }, backend);
    const refused = lost('gradient "w"');
    const given = { w: transferred(2) };
    expect(() => optimizer.step(given)).toThrow(refused);
    expect(() => optimizer.accumulate(given)).toThrow(refused);
    await expect(optimizer.norms(given)).rejects.toThrow(refused);
    expect(optimizer.completedSteps).toBe(0);
    // An empty gradient is valid.
    optimizer.step({ none: new Float32Array(0) });
  });

  test('in a checkpoint', async () => {
    const stateDict = await (await adamw({ w: array(2, 1) }, backend)).stateDict();
    expect(() => encodeCheckpoint({ params: { w: transferred(2) }, stateDict })).toThrow(lost('parameter "w"'));
    const state = { 0: { step: 1, exp_avg: transferred(2), exp_avg_sq: array(2, 2) } };
    const encode = (): unknown => encodeCheckpoint({ params: { w: array(2, 1) }, stateDict: { ...stateDict, state } });
    expect(encode).toThrow(lost('exp_avg of "w"'));
  });

  test('as kernels', async () => {
    const wasm = new Uint8Array(8);
    structuredClone(wasm, { transfer: [wasm.buffer] });
    const refused = 'Expected the bytes of wasm to have its memory, got a buffer that was transferred or has shrunk.';
    for (const source of [wasm, wasm.buffer]) {
      await expect(adamw({ w: array(2, 1) }, { ...backend, wasm: source })).rejects.toThrow(refused);
      expect(() => wasmKernels(new WebAssembly.Memory({ initial: 1 }), { wasm: source })).toThrow(refused);
    }
  });
});

test('reference: every call throws after the optimizer’s own memory was transferred', async () => {
  const optimizer = await adamw({ w: array(2, 1) }, { backend: 'reference' });
  const given = { w: array(2, 2) };
  optimizer.step(given);
  const { w } = optimizer.params as Record<string, Float32Array>;
  structuredClone(w, { transfer: [w.buffer] });
  const refused = "The optimizer's memory and state are lost: the buffer of params, grads or slots was transferred.";
  expect(() => optimizer.step()).toThrow(refused);
  expect(() => optimizer.step(given)).toThrow(refused);
  expect(() => optimizer.accumulate(given)).toThrow(refused);
  expect(() => optimizer.zeroGrad()).toThrow(refused);
  await expect(optimizer.read('w')).rejects.toThrow(refused);
  await expect(optimizer.norms()).rejects.toThrow(refused);
  await expect(optimizer.stateDict()).rejects.toThrow(refused);
  expect(() => optimizer.slots('w')).toThrow(refused);
  await expect(optimizer.addParams(0, any({ v: array(2, 1) }))).rejects.toThrow(refused);
  optimizer.dispose();
});
