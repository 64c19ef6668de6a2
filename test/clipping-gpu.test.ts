// Tests the gradient options of a step on the GPU against the CPU, which other tests compare with PyTorch.

import {
  adam,
  adamw,
  adamwScheduleFree,
  ema,
  gradScaler,
  lookahead,
  nadam,
  radam,
  radamScheduleFree,
  sgdScheduleFree,
  type Optimizer as AnyOptimizer,
} from 'twinstep';
import { checkpointStream, loadCheckpoint, saveCheckpoint } from 'twinstep/checkpoint';
import { describe, expect, test, vi } from 'vitest';
import { openDevice, openNullDevice } from '../tools/dawn.js';
import { any, buffer, contents, COPY_SRC, device, STORAGE, watchBuffers } from './support/gpu.js';
import { array, difference, largest, random } from './support/numbers.js';
import { CLIPPED, ONE_UPDATE, ROUNDING, SQUARES } from './support/tolerances.js';
import { readAll, type Tensors } from './support/tensors.js';

type Next = () => number;
type Values = Record<string, Float32Array | null>;
type Optimizer = AnyOptimizer<Float32Array, any, any>;
type StateDict = Awaited<ReturnType<Optimizer['stateDict']>>;

const pick = <Item>(next: Next, items: readonly Item[]): Item => items[Math.floor(next() * items.length)];

/** Parameters of at least 0.5 in magnitude, so that one update is small against each of them. */
const away = (next: Next): number => (next() < 0.5 ? -1 : 1) * (0.5 + 2 * next());
const weights = (length: number, seed: number): Float32Array => array(length, seed, away);

const lengths = [0, 1, 3, 5, 64, 67, 130];
const specials = [NaN, Infinity, -Infinity, 1e30, -1e30, 1e-44, 0];

/** The same optimizer on both backends, and its steps with the same gradients and options. */
class Twins {
  readonly names: string[] = [];
  /** The encoders of recorded steps that were not submitted. */
  readonly recorded: GPUCommandEncoder[] = [];
  saved: StateDict | undefined;
  added = 0;
  readonly scalers = [gradScaler({ initScale: 8, growthInterval: 3 }), gradScaler({ initScale: 8, growthInterval: 3 })];

  constructor(
    readonly cpu: Optimizer,
    readonly gpu: Optimizer,
    readonly next: Next,
    readonly isCallers: boolean,
  ) {}

  static async make(next: Next, isCallers: boolean, given: object = {}): Promise<Twins> {
    const create = pick(next, [adam, adamw]);
    const variants = [{}, { amsgrad: true }, { nesterov: true }, { epsRoot: 1e-6 }, { epsHat: true }];
    const betas = pick<unknown>(next, [
      [0.9, 0.999],
      [0.5, 0.9],
      (t: number) => (t % 2 === 0 ? [0.9, 0.99] : [0, 0.5]),
    ]);
    const common = {
      lr: 0.01,
      betas,
      weightDecay: pick(next, [0, 0.1]),
      maximize: next() < 0.3,
      schedule: pick(next, [undefined, (t: number) => 1 / (1 + t / 8)]),
      ...pick<object>(next, variants),
      ...given,
    };
    const names: string[] = [];
    const groups = Array.from({ length: 1 + Math.floor(next() * 3) }, (_, g) => {
      const params: Tensors = {};
      for (let i = 0; i <= next() * 4; i++) {
        names.push(`w${g}_${i}`);
        params[`w${g}_${i}`] = weights(pick(next, lengths), names.length);
      }
      const [first] = Object.keys(params);
      return { params, gradScale: pick(next, [1, 0.25, 3]), decayMask: (name: string) => name !== first };
    });
    const onGpu = groups.map((group) => ({ ...group, params: isCallers ? uploaded(group.params) : group.params }));
    const twins = new Twins(
      any(await create(groups, any({ ...common, backend: 'wasm' }))),
      any(await create(any(onGpu), any({ ...common, backend: 'webgpu', device }))),
      next,
      isCallers,
    );
    twins.names.push(...names);
    return twins;
  }

  get both(): [Optimizer, Optimizer] {
    return [this.cpu, this.gpu];
  }

  lengthOf(name: string): number {
    return this.cpu.params[name].length;
  }

  /** Random gradients of random size. Some are missing, and some are not finite if the options handle that. */
  draw(mayBeSpecial: boolean): Values {
    const { next } = this;
    const size = 10 ** (next() * 6 - 3);
    const values = Object.fromEntries(
      this.names.map((name): [string, Float32Array | null] => {
        if (next() < 0.15) return [name, null];
        return [name, array(this.lengthOf(name), Math.floor(next() * 1e9), (draw) => (draw() * 4 - 2) * size)];
      }),
    );
    if (mayBeSpecial && next() < 0.6) {
      const one = values[pick(next, this.names)];
      const special = pick(next, specials);
      // GPUs may flush 1e-44 to 0: a tensor of nothing else has a norm that cannot be 1.
      const isLost = one === null || one.length < (special === 1e-44 ? 2 : 1);
      if (!isLost) one[Math.floor(next() * one.length)] = special;
    }
    return values;
  }

  /** Draws options, and those that make an infinity or NaN harmless. */
  options(): [cpu: object, gpu: object, isSafe: boolean] {
    const { next, scalers } = this;
    const [cpu, gpu]: Record<string, unknown>[] = [{}, {}];
    const set = (name: string, value: unknown, other = value): void => void ([cpu[name], gpu[name]] = [value, other]);
    if (next() < 0.3) set('maxNorm', pick<unknown>(next, [0.1, 10, Infinity, { perTensor: 0.5 }]));
    else if (next() < 0.2) set('normalize', true);
    if (next() < 0.3) set('maxValue', pick(next, [0.01, 1, 1e20]));
    if (next() < 0.3) set('ifFinite', true);
    if (next() < 0.3) set('gradScale', 0.5, pick(next, [0.5, buffer(Float32Array.of(0.5))]));
    if (next() < 0.3) set('scaler', scalers[0], scalers[1]);
    const isSafe = ['maxNorm', 'normalize', 'ifFinite', 'scaler'].some((name) => name in cpu);
    return [cpu, gpu, isSafe];
  }

  /** Passes gradients on the GPU as arrays, buffers or a mixture, or writes them into the optimizer's own. */
  give(values: Values): unknown {
    const how = pick(this.next, ['arrays', 'buffers', 'mixture', 'own']);
    if (how === 'arrays') return values;
    if (how === 'own') {
      const own: Record<string, GPUBufferBinding | null> = {};
      for (const [name, each] of Object.entries(values)) {
        own[name] = each && any(this.gpu.grads as object)[name];
        if (each === null || each.length === 0) continue;
        device.queue.writeBuffer(own[name]!.buffer, own[name]!.offset ?? 0, each as Float32Array<ArrayBuffer>);
      }
      return own;
    }
    const inBuffer = (each: Float32Array | null) =>
      each === null || each.length === 0 || (how === 'mixture' && this.next() < 0.5) ? each : buffer(each);
    return Object.fromEntries(Object.entries(values).map(([name, each]) => [name, inBuffer(each)]));
  }

  /** One random step on both, on the GPU at once or recorded. */
  async step(): Promise<void> {
    const { next, recorded } = this;
    const [onCpu, onGpu, isSafe] = this.options();
    const values = this.draw(isSafe);
    if (recorded.length > 0 || next() < 0.2) {
      for (const name of this.names) if (values[name]?.length === 0) values[name] = null;
      const inBuffers = Object.entries(values).map(([name, each]) => [name, each && buffer(each)]);
      if (recorded.length === 0 || next() < 0.5) recorded.push(device.createCommandEncoder());
      this.gpu.encode(recorded.at(-1)!, any(Object.fromEntries(inBuffers)), onGpu);
    } else {
      this.gpu.step(any(this.give(values)), onGpu);
    }
    this.cpu.step(any(values), onCpu);
    if (recorded.length > 0 && next() < 0.5) return;
    this.submit();
    if (!('maxNorm' in onCpu) && !('normalize' in onCpu)) return;
    const [norm, expected] = [await this.gpu.gradNorm(), await this.cpu.gradNorm()];
    if (!Number.isFinite(expected)) expect(norm).toBe(expected);
    else expect(Math.abs(norm - expected)).toBeLessThanOrEqual((SQUARES / 2) * expected + 2 ** -126);
  }

  /** Submits the recorded steps. */
  submit(): void {
    device.queue.submit(this.recorded.splice(0).map((encoder) => encoder.finish()));
  }

  /** A random change of both other than a step. */
  async change(): Promise<void> {
    const { next, cpu, gpu, names, isCallers } = this;
    this.submit();
    const what = pick(next, [
      'add',
      'add group',
      'remove',
      'save',
      'load',
      'load',
      'swap',
      'swap',
      'checkpoint',
      'freeze',
    ]);
    if (what.startsWith('add')) {
      const params = { [`n${this.added++}`]: weights(pick(next, lengths), this.added) };
      const given = isCallers ? uploaded(params) : params;
      const group = Math.floor(next() * cpu.groups.length);
      if (what === 'add') await Promise.all([cpu.addParams(group, params), gpu.addParams(group, any(given))]);
      else await Promise.all([cpu.addParamGroup({ params }), gpu.addParamGroup({ params: any(given) })]);
      names.push(...Object.keys(params));
    } else if (what === 'remove' && names.length > 1) {
      const [gone] = names.splice(Math.floor(next() * names.length), 1);
      await Promise.all(this.both.map((each) => each.removeParams([gone])));
    } else if (what === 'save') {
      this.saved = await pick(next, this.both).stateDict();
    } else if (what === 'load' && this.saved !== undefined) {
      // Saved before tensors were added or removed, and counters went on.
      const load = (each: Optimizer) =>
        each.loadStateDict(this.saved!, { strict: false }).catch((error: Error) => error.message);
      const [onCpu, onGpu] = await Promise.all(this.both.map(load));
      expect(onGpu).toEqual(onCpu);
    } else if (what === 'swap') {
      const from = pick(next, this.both);
      const [dict, params] = [
        await from.stateDict(),
        await readAll(from, Object.fromEntries(names.map((name) => [name, 0]))),
      ];
      for (const each of this.both) await each.loadStateDict(dict, { params });
    } else if (what === 'checkpoint') {
      const bytes = await saveCheckpoint(pick(next, this.both));
      for (const each of this.both) await loadCheckpoint(each, bytes);
    } else if (what === 'freeze') {
      const frozen = pick(next, names);
      for (const each of this.both) each.freeze(frozen);
    }
    if (next() < 0.5) for (const each of this.both) for (const name of names) each.unfreeze(name);
  }

  /** Expects the same counters and dicts, and the same parameters and slots except for rounding. */
  async agree(): Promise<void> {
    const { cpu, gpu } = this;
    this.submit();
    expect(await gpu.skippedSteps()).toBe(await cpu.skippedSteps());
    expect(gpu.completedSteps).toBe(cpu.completedSteps);
    const stepsOf = (optimizer: Optimizer) => this.names.map((name) => [name, optimizer.stepOf(name)]);
    expect(stepsOf(gpu)).toEqual(stepsOf(cpu));
    const like = Object.fromEntries(this.names.map((name) => [name, 0]));
    const [params, expected] = [await readAll(gpu, like), await readAll(cpu, like)];
    for (const name of this.names) close(params[name], expected[name], name);
    const [dict, wanted] = [await gpu.stateDict(), await cpu.stateDict()];
    expect(dict.param_groups).toEqual(wanted.param_groups);
    expect(Object.keys(dict.state)).toEqual(Object.keys(wanted.state));
    for (const [index, ofTensor] of Object.entries<Record<string, unknown>>(wanted.state)) {
      for (const [slot, values] of Object.entries(ofTensor)) {
        const mine = (dict.state as Record<string, Record<string, unknown>>)[index][slot];
        // Moments lose digits of earlier, larger ones.
        const size = slot === 'exp_avg' ? Math.sqrt(largest(any(ofTensor.exp_avg_sq))) : 0;
        if (ArrayBuffer.isView(values)) close(any(mine), any(values), `${index} ${slot}`, size);
        else expect([index, slot, mine]).toEqual([index, slot, values]);
      }
    }
    const readings = await Promise.all(this.scalers.map((scaler) => scaler.read()));
    expect(readings[1]).toEqual(readings[0]);
  }

  dispose(): void {
    for (const each of [...this.both, ...this.scalers]) each.dispose();
  }
}

const uploaded = (values: Tensors, on = device): Record<string, GPUBuffer | GPUBufferBinding> =>
  Object.fromEntries(
    Object.entries(values).map(([name, each]) => [
      name,
      each.length > 0
        ? buffer(each, STORAGE | COPY_SRC, on)
        : { buffer: buffer(new Float32Array(1), STORAGE | COPY_SRC, on), size: 0 },
    ]),
  );

function close(actual: Float32Array, expected: Float32Array, name: string, size = 0): void {
  expect(actual.length, name).toBe(expected.length);
  const bound = CLIPPED * ROUNDING * Math.max(size, largest(expected)) + 2 ** -126;
  let worst = 0;
  for (let i = 0; i < expected.length; i++) worst = Math.max(worst, Math.abs(actual[i] - expected[i]));
  expect(worst, name).toBeLessThanOrEqual(bound);
}

describe('random steps with random options do as on the CPU', () => {
  const seeds = Array.from({ length: 24 }, (_, k) => k + 1);
  test.each(seeds)('seed %i', async (seed) => {
    const next = random(seed);
    const twins = await Twins.make(next, seed % 3 === 0);
    for (let t = 0; t < 12; t++) {
      await twins.step();
      if (next() < 0.1) await twins.agree();
    }
    await twins.agree();
    twins.dispose();
  });

  test.each(seeds)('also while tensors and states come and go, seed %i', async (seed) => {
    const next = random(1000 + seed);
    const twins = await Twins.make(next, seed % 3 === 0);
    for (let t = 0; t < 10; t++) {
      for (let k = 0; k < next() * 4; k++) await twins.step();
      await twins.change();
      if (next() < 0.2) await twins.agree();
    }
    await twins.step();
    await twins.agree();
    twins.dispose();
  });
});

describe('bias corrections count the steps that were taken:', () => {
  const betas = [
    [0.9, 0.999],
    [0, 0.5],
    [0.99, 0.999999],
    [0.999999, 0.9],
  ] as const;
  const counts = [1, 2, 10, 1e3, 1e6];
  const cases = betas.flatMap((pair) =>
    counts.flatMap((t) => [1, 100].map((skipped) => [t, ...pair, skipped] as const)),
  );
  test.each(cases)('step %i with betas %f and %f, after %i skipped ones', async (t, beta1, beta2, skipped) => {
    const length = 64;
    const [m, g] = [array(length, 1), array(length, 2)];
    const v = array(length, 3, (next) => next() + 0.1);
    const [lr, eps] = [0.01, 1e-8];
    const optimizer = await adam(
      { w: new Float32Array(length) },
      { device, backend: 'webgpu', lr, eps, betas: [beta1, beta2] },
    );
    const dict = await optimizer.stateDict();
    if (t > 1) dict.state[0] = { step: t - 1, exp_avg: m, exp_avg_sq: v };
    await optimizer.loadStateDict(dict);
    for (let k = 0; k < skipped; k++)
      optimizer.step({ w: g.map((x, i) => (i === k % length ? NaN : x)) }, { ifFinite: true });
    optimizer.step({ w: g }, { ifFinite: true });
    const read = await optimizer.read('w');
    expect(await optimizer.skippedSteps()).toBe(skipped);
    expect(optimizer.stepOf('w')).toBe(t);
    optimizer.dispose();
    const [c1, c2] = [beta1, beta2].map((beta) => -Math.expm1(t * Math.log(beta)));
    for (let i = 0; i < length; i++) {
      const [m0, v0] = t > 1 ? [m[i], v[i]] : [0, 0];
      const [a, b] = [beta1 * m0 + (1 - beta1) * g[i], beta2 * v0 + (1 - beta2) * g[i] ** 2];
      const update = (lr * (a / c1)) / (Math.sqrt(b / c2) + eps);
      // A sum of numbers of opposite signs is as exact as the larger one.
      const size = Math.abs(update) * Math.max(1, (beta1 * Math.abs(m0)) / Math.abs(a));
      expect(Math.abs(read[i] + update), `element ${i}`).toBeLessThanOrEqual(ONE_UPDATE * ROUNDING * size);
    }
  });
});

describe('the work of a step', () => {
  const make = (on: GPUDevice): Record<string, object> => {
    const scaler = gradScaler({ device: on });
    const gradScale = buffer(Float32Array.of(1), STORAGE, on);
    return {
      none: {},
      maxValue: { maxValue: 1 },
      gradScale: { gradScale },
      ifFinite: { ifFinite: true },
      scaler: { scaler },
      maxNorm: { maxNorm: 1 },
      'maxNorm and maxValue': { maxNorm: 1, maxValue: 1 },
      perTensor: { maxNorm: { perTensor: 1 } },
      normalize: { normalize: true },
      all: { maxNorm: { perTensor: 1 }, maxValue: 1, ifFinite: true, scaler, gradScale },
    };
  };

  /** Counts what `work` calls. */
  function count(on: GPUDevice, work: () => void) {
    const encoder = on.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.end();
    const ofPass = Object.getPrototypeOf(pass) as GPUComputePassEncoder;
    const spies = {
      submits: vi.spyOn(on.queue, 'submit'),
      maps: vi.spyOn(Object.getPrototypeOf(buffer(new Float32Array(1), STORAGE, on)) as GPUBuffer, 'mapAsync'),
      buffers: vi.spyOn(on, 'createBuffer'),
      bindGroups: vi.spyOn(on, 'createBindGroup'),
      passes: vi.spyOn(Object.getPrototypeOf(encoder) as GPUCommandEncoder, 'beginComputePass'),
      direct: vi.spyOn(ofPass, 'dispatchWorkgroups'),
      indirect: vi.spyOn(ofPass, 'dispatchWorkgroupsIndirect'),
    };
    work();
    const counts = Object.entries(spies).map(([name, spy]) => [name, spy.mock.calls.length]);
    for (const spy of Object.values(spies)) spy.mockRestore();
    const { direct, indirect, ...others } = Object.fromEntries(counts) as Record<keyof typeof spies, number>;
    return { ...others, dispatches: direct + indirect };
  }

  const one = { submits: 1, maps: 0, buffers: 0, bindGroups: 0, passes: 1 };
  // squares, two folds, decide and prepare, and the update; limits with maxValue; rescale if each tensor is clipped.
  const dispatches: [name: string, own: number, callers: (tensors: number) => number][] = [
    ['none', 1, (n) => n],
    ['maxValue', 1, (n) => n],
    ['gradScale', 3, (n) => 2 + n],
    ['ifFinite', 6, (n) => 4 + 2 * n],
    ['scaler', 6, (n) => 4 + 2 * n],
    ['maxNorm', 6, (n) => 4 + 2 * n],
    ['maxNorm and maxValue', 7, (n) => 5 + 2 * n],
    ['perTensor', 7, (n) => 4 + 2 * n],
    ['normalize', 7, (n) => 4 + 2 * n],
    ['all', 8, (n) => 5 + 2 * n],
  ];

  test.each([2, 300])('in the optimizer’s memory is the same for any number of tensors: %i', async (n) => {
    const on = await openNullDevice();
    const values = Object.fromEntries(Array.from({ length: n }, (_, i) => [`w${i}`, array(1 + i, i)]));
    const options = make(on);
    for (const [name, own] of dispatches) {
      const optimizer = await adamw(values, { device: on, backend: 'webgpu' });
      for (let t = 0; t < 2; t++) optimizer.step(values, options[name]);
      expect([name, count(on, () => optimizer.step(values, options[name]))]).toEqual([
        name,
        { ...one, dispatches: own },
      ]);
      optimizer.dispose();
    }
    await settled(on);
    on.destroy();
  });

  test.each([2, 30])('on buffers of the caller is one reduction and one update for each: %i', async (n) => {
    const on = await openNullDevice();
    const made = () =>
      Object.fromEntries(Array.from({ length: n }, (_, i) => [`w${i}`, buffer(array(1 + i, i), STORAGE, on)]));
    const options = make(on);
    const grads = made();
    for (const [name, , callers] of dispatches) {
      const optimizer = await adamw(made(), { device: on });
      for (let t = 0; t < 2; t++) optimizer.step(grads, options[name]);
      const counted = count(on, () => optimizer.step(grads, options[name]));
      expect([name, counted]).toEqual([name, { ...one, dispatches: callers(n) }]);
      optimizer.dispose();
    }
    await settled(on);
    on.destroy();
  });

  test('recorded is no submit, and no buffer except for a page of inputs every 16 steps', async () => {
    const on = await openNullDevice();
    const { all } = make(on);
    const w = buffer(array(64, 1), STORAGE, on);
    const optimizer = await adamw({ w }, { device: on });
    const grads = { w: buffer(array(64, 2), STORAGE, on) };
    const encoder = on.createCommandEncoder();
    const encode = () => optimizer.encode(encoder, grads, all);
    encode();
    const counted = Array.from({ length: 32 }, () => count(on, encode));
    expect(counted.filter(({ buffers }) => buffers > 0)).toHaveLength(2);
    expect(counted.map(({ submits, maps, passes, dispatches: each }) => [submits, maps, passes, each])).toEqual(
      // And one that counts submitted calls.
      counted.map(() => [0, 0, 1, 8]),
    );
    await settled(on);
    on.destroy();
  });

  test('takes 70,000 tensors', async () => {
    const on = await openNullDevice();
    const params = Object.fromEntries(Array.from({ length: 70_000 }, (_, i) => [`w${i}`, new Float32Array(1)]));
    const optimizer = await adamw(params, { device: on, backend: 'webgpu' });
    optimizer.step(params, { maxNorm: { perTensor: 1 }, maxValue: 1 });
    await settled(on);
    expect(await optimizer.read('w0')).toHaveLength(1);
    optimizer.dispose();
    on.destroy();
  });
});

describe('factors at the limits of f32', () => {
  const params = (): Tensors => ({ w: new Float32Array(2) });
  const both = async () => [await adamw(params()), await adamw(params(), { device, backend: 'webgpu' })] as const;

  test.each([
    [[2, 1], { gradScale: 1e38, maxNorm: 1 }],
    [[2, 1], { gradScale: 1e38, maxNorm: { perTensor: 1 }, maxValue: 1e38 }],
    [[1e30, 1e29], { maxNorm: 1 }],
    [[1e30, 1e29], { normalize: true }],
    [[3, 4], { maxNorm: 1e-30 }],
    [[1e-30, 1e-30], { normalize: true }],
    [[0, 0], { normalize: true }],
  ])('clips %o with %o as the CPU does', async (grad, options) => {
    const [cpu, gpu] = await both();
    for (const each of [cpu, gpu]) each.step({ w: Float32Array.from(grad) }, options);
    const [expected, actual] = await Promise.all([cpu.stateDict(), gpu.stateDict()]);
    const [ofCpu, ofGpu] = [expected, actual].map(({ state }) => state[0].exp_avg as Float32Array);
    for (const [i, value] of ofCpu.entries()) {
      expect(value > 0).toBe(grad[i] > 0);
      expect(Math.abs(ofGpu[i] - value)).toBeLessThanOrEqual(CLIPPED * ROUNDING * value);
    }
  });

  test.each([
    [[8e37, 4e37], { maxNorm: 1 }],
    [[8e37, 4e37], { maxNorm: { perTensor: 1 } }],
    [[3e38, 1.5e38], { normalize: true }],
  ])('skips %o with %o, since a GPU may flush the factor to 0', async (grad, options) => {
    const [cpu, gpu] = await both();
    const scaler = gradScaler({ initScale: 1 });
    for (const each of [cpu, gpu]) each.step({ w: Float32Array.from(grad) }, options);
    gpu.step({ w: Float32Array.from(grad) }, { ...options, scaler });
    expect(await cpu.skippedSteps()).toBe(0);
    expect(await gpu.skippedSteps()).toBe(2);
    expect((await gpu.gradNorm()) / (await cpu.gradNorm())).toBeCloseTo(1, 6);
    expect((await scaler.read()).scale).toBe(0.5);
    expect(await gpu.read('w')).toEqual(new Float32Array(2));
  });
});

describe('a device with small limits', () => {
  const own = { maxNorm: { perTensor: 1 }, maxValue: 0.5 };
  test.each([own, { maxNorm: 0.1 }, { normalize: true }])('takes tensors in segments, with %o', async (options) => {
    const opened = await openDevice();
    if (typeof opened === 'string') throw new Error(opened);
    const on = opened.device;
    const limits = new Proxy(on.limits, {
      get: (of, name) => (name === 'maxStorageBufferBindingSize' ? 2 ** 14 : Reflect.get(of, name, of)),
    });
    Object.defineProperty(on, 'limits', { value: limits });
    const made = (seed: number): Tensors => ({
      a: weights(10_000, seed),
      b: weights(0, seed),
      c: weights(4097, seed),
      d: weights(3, seed),
    });
    const cpu = await adam(made(1), { eps: 1 });
    cpu.step(made(2), options);
    for (const given of [made(1), uploaded(made(1), on)]) {
      const gpu = await adam(any(given), { device: on, backend: 'webgpu', eps: 1 });
      gpu.step(any(made(2)), options);
      for (const name of ['a', 'b', 'c', 'd']) close(await gpu.read(name as never), cpu.params[name], name);
      expect(Math.abs((await gpu.gradNorm()) / (await cpu.gradNorm()) - 1)).toBeLessThanOrEqual(SQUARES / 2);
      gpu.dispose();
    }
    on.destroy();
  });
});

async function settled(on: GPUDevice): Promise<void> {
  await on.queue.onSubmittedWorkDone();
}

describe('gradScale in a buffer', () => {
  test('is read when the step runs', async () => {
    const scale = buffer(Float32Array.of(100));
    const optimizer = await adam({ w: buffer(weights(64, 1)) }, { device, eps: 1 });
    const cpu = await adam({ w: weights(64, 1) }, { eps: 1 });
    const [g, zero] = [array(64, 2), new Float32Array(64)];
    const grads = { w: buffer(g) };
    const encoder = device.createCommandEncoder();
    optimizer.encode(encoder, grads, { gradScale: scale, maxNorm: 1e3 });
    device.queue.writeBuffer(scale, 0, Float32Array.of(0.5));
    device.queue.submit([encoder.finish()]);
    cpu.step({ w: g }, { gradScale: 0.5 });
    optimizer.step(grads, { gradScale: scale });
    cpu.step({ w: g }, { gradScale: 0.5 });
    device.queue.writeBuffer(scale, 0, Float32Array.of(0));
    optimizer.step(grads, { gradScale: { buffer: scale, offset: 0, size: 4 } });
    cpu.step({ w: zero });
    close(await optimizer.read('w'), cpu.params.w, 'w');
    optimizer.dispose();
  });

  test.each([Infinity, -Infinity, NaN])('of %f skips a step with ifFinite or a norm', async (value) => {
    const gradScale = buffer(Float32Array.of(value));
    const scaler = gradScaler({ device });
    for (const options of [
      { ifFinite: true },
      { maxNorm: 1 },
      { normalize: true },
      { scaler },
      { maxNorm: 1, maxValue: 1 },
    ]) {
      const optimizer = await adam({ w: array(9, 1) }, { device, backend: 'webgpu' });
      optimizer.step({ w: array(9, 2) }, { ...options, gradScale });
      expect([await optimizer.skippedSteps(), optimizer.stepOf('w')]).toEqual([1, 0]);
      expect(difference(await optimizer.read('w'), array(9, 1))).toBeUndefined();
      optimizer.dispose();
    }
    expect(await scaler.read()).toEqual({ scale: 32768, growthTracker: 0, skipped: 1 });
  });

  test('of less than 0 steps up the gradient, clipped alike', async () => {
    for (const options of [{ maxNorm: 1, maxValue: 0.5 }, { maxNorm: { perTensor: 1 } }]) {
      const optimizer = await adam({ w: weights(9, 1) }, { device, backend: 'webgpu', eps: 1 });
      const cpu = await adam({ w: weights(9, 1) }, { eps: 1, maximize: true });
      optimizer.step({ w: array(9, 2) }, { ...options, gradScale: buffer(Float32Array.of(-2)) });
      cpu.step({ w: array(9, 2) }, { ...options, gradScale: 2 });
      close(await optimizer.read('w'), cpu.params.w, 'w');
      expect(Math.abs((await optimizer.gradNorm()) / (await cpu.gradNorm()) - 1)).toBeLessThanOrEqual(SQUARES / 2);
      optimizer.dispose();
    }
  });

  test('that cannot be used is refused, and nothing changes', async () => {
    const optimizer = await adam({ w: array(64, 1) }, { device, backend: 'webgpu' });
    const four = Float32Array.of(1, 1, 1, 1);
    const plain = buffer(new Float32Array(128));
    const other = await openDevice();
    if (typeof other === 'string') throw new Error(other);
    const destroyed = buffer(four);
    destroyed.destroy();
    const cases: [unknown, string][] = [
      [buffer(four, COPY_SRC), 'to have STORAGE usage, got usage'],
      [{ buffer: plain, offset: 4 }, 'offset'],
      [{ buffer: plain, offset: 512 }, 'gradScale'],
      [device.createBuffer({ size: 0, usage: STORAGE }), 'gradScale'],
      [optimizer.grads.w, 'Expected gradScale to be in a buffer of yours'],
      [optimizer.params.w, 'Expected gradScale to be in a buffer of yours'],
      [Float32Array.of(1), 'gradScale'],
      [{}, 'gradScale'],
      ['1', 'gradScale'],
    ];
    for (const [gradScale, message] of cases) {
      expect(() => optimizer.step({ w: array(64, 2) }, any({ gradScale })), message).toThrow(message);
    }
    expect([optimizer.completedSteps, optimizer.stepOf('w')]).toEqual([0, 0]);
    expect(difference(await optimizer.read('w'), array(64, 1))).toBeUndefined();
    for (const late of [buffer(four, STORAGE, other.device), destroyed]) {
      const dict = await optimizer.stateDict();
      optimizer.step({ w: array(64, 2) }, { gradScale: late, ifFinite: true });
      await expect(optimizer.read('w')).rejects.toThrow('The GPU device refused a step, and did none of it');
      expect(() => optimizer.step({ w: array(64, 2) }, { ifFinite: true })).toThrow('refused');
      await expect(optimizer.skippedSteps()).rejects.toThrow('refused');
      await expect(optimizer.gradNorm()).rejects.toThrow('refused');
      await optimizer.loadStateDict(dict);
      expect(difference(await optimizer.read('w'), array(64, 1))).toBeUndefined();
    }
    const cpu = await adam({ w: array(64, 1) });
    for (const each of [cpu, optimizer]) each.step({ w: array(64, 2) }, { ifFinite: true });
    close(await optimizer.read('w'), cpu.params.w, 'w');
    expect(() => cpu.step({ w: array(64, 2) }, { gradScale: plain })).toThrow('gradScale');
    optimizer.dispose();
    other.device.destroy();
  });

  test('may be the scale of the scaler that the step has', async () => {
    const scaler = gradScaler({ device, initScale: 4 });
    const optimizer = await adam({ w: weights(9, 1) }, { device, backend: 'webgpu', eps: 1 });
    const cpu = await adam({ w: weights(9, 1) }, { eps: 1 });
    optimizer.step({ w: array(9, 2) }, { gradScale: scaler.buffer });
    cpu.step({ w: array(9, 2) }, { gradScale: 4 });
    close(await optimizer.read('w'), cpu.params.w, 'w');
    const both = () => optimizer.step({ w: array(9, 2) }, { gradScale: scaler.buffer, scaler });
    expect(both).toThrow('Expected gradScale to be in another buffer than the scaler of the step');
    expect(optimizer.completedSteps).toBe(1);
    optimizer.dispose();
  });
});

describe('a scaler on the GPU', () => {
  /** The scale and the growth tracker by PyTorch's rule, after each of the updates. */
  function sequence(founds: readonly boolean[], interval: number): number[][] {
    let [scale, tracker] = [1024, 0];
    return founds.map((found) => {
      tracker = found ? 0 : tracker + 1;
      if (found) scale *= 0.5;
      else if (tracker === interval) [scale, tracker] = [scale * 2, 0];
      return [scale, tracker];
    });
  }

  const next = random(5);
  const founds = Array.from({ length: 30 }, () => next() < 0.3);

  test.each([1, 2, 3])(
    'follows PyTorch’s rule, with %i optimizers of which one has the overflow',
    async (optimizers) => {
      const scaler = gradScaler({ device, initScale: 1024, growthInterval: 3, optimizers });
      const made = await Promise.all(
        Array.from({ length: optimizers }, (_, k) => adam({ w: buffer(weights(9, k)) }, { device, eps: 1 })),
      );
      const cpu = await Promise.all(made.map((_, k) => adam({ w: weights(9, k) }, { eps: 1 })));
      const results: number[][] = [];
      for (const [t, found] of founds.entries()) {
        const { scale } = await scaler.read();
        for (const [k, optimizer] of made.entries()) {
          const g = array(9, t * 10 + k);
          const scaled = g.map((x) => x * scale);
          const isSpoiled = found && k === t % optimizers;
          if (isSpoiled) scaled[t % 9] = t % 2 === 0 ? Infinity : NaN;
          else cpu[k].step({ w: g });
          const encoder = device.createCommandEncoder();
          if (t % 3 > 0) optimizer.step({ w: buffer(scaled) }, { scaler });
          else optimizer.encode(encoder, { w: buffer(scaled) }, { scaler });
          device.queue.submit([encoder.finish()]);
          if (k < optimizers - 1) expect((await scaler.read()).scale).toBe(scale);
        }
        const read = await scaler.read();
        results.push([read.scale, read.growthTracker]);
      }
      expect(results).toEqual(sequence(founds, 3));
      expect((await scaler.read()).skipped).toBe(founds.filter(Boolean).length);
      const skipped = await Promise.all(made.map((each) => each.skippedSteps()));
      expect(skipped.reduce((sum, count) => sum + count)).toBe(founds.filter(Boolean).length);
      for (const [k, optimizer] of made.entries()) {
        close(await optimizer.read('w'), cpu[k].params.w, `${k}`);
        optimizer.dispose();
      }
      scaler.dispose();
    },
  );

  test('has the scale in its buffer for a kernel in the same submit, and saves it', async () => {
    const scaler = gradScaler({ device, initScale: 1024, growthInterval: 1 });
    const code = `
      @group(0) @binding(0) var<uniform> scale: f32;
      @group(0) @binding(1) var<storage, read> grad: array<f32>;
      @group(0) @binding(2) var<storage, read_write> scaled: array<f32>;
      @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
        if (id.x < arrayLength(&grad)) { scaled[id.x] = scale * grad[id.x]; }
      }`;
    const pipeline = device.createComputePipeline({
      layout: 'auto',
      compute: { module: device.createShaderModule({ code }) },
    });
    const [grad, scaled] = [buffer(array(9, 2)), buffer(new Float32Array(9))];
    const resources = [scaler.buffer, { buffer: grad }, { buffer: scaled }];
    const entries = resources.map((resource, binding) => ({ binding, resource }));
    const group = device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
    const optimizer = await adam({ w: buffer(weights(9, 1)) }, { device, eps: 1 });
    const cpu = await adam({ w: weights(9, 1) }, { eps: 1 });
    const encoder = device.createCommandEncoder();
    for (let t = 0; t < 4; t++) {
      const pass = encoder.beginComputePass();
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, group);
      pass.dispatchWorkgroups(1);
      pass.end();
      optimizer.encode(encoder, { w: scaled }, { scaler, maxNorm: 1 });
      cpu.step({ w: array(9, 2) }, { maxNorm: 1 });
    }
    device.queue.submit([encoder.finish()]);
    close(await optimizer.read('w'), cpu.params.w, 'w');
    expect(await scaler.read()).toEqual({ scale: 2 ** 14, growthTracker: 0, skipped: 0 });
    expect((await contents(scaled))[0]).toBe(array(9, 2)[0] * 2 ** 13);
    const dict = await scaler.stateDict();
    expect(dict).toEqual({
      scale: 2 ** 14,
      growth_factor: 2,
      backoff_factor: 0.5,
      growth_interval: 1,
      _growth_tracker: 0,
    });
    const other = gradScaler();
    await other.loadStateDict(dict);
    expect(other.scale).toBe(2 ** 14);
    await scaler.loadStateDict({ ...dict, scale: 8 });
    expect((await scaler.read()).scale).toBe(8);
    optimizer.dispose();
  });
});

describe('algorithms that cannot skip steps on the GPU', () => {
  const skipping: [string, object][] = [
    ['maxNorm', { maxNorm: 1 }],
    ['maxNorm', { maxNorm: { perTensor: 1 } }],
    ['normalize', { normalize: true }],
    ['ifFinite', { ifFinite: true }],
    ['scaler', { scaler: gradScaler() }],
  ];
  const created = { nadam, radam, adamwScheduleFree, radamScheduleFree, sgdScheduleFree };

  test.each(Object.entries(created))(
    '%s refuses options that may skip, by name, and changes nothing',
    async (name, create) => {
      const optimizer = await create({ w: weights(9, 1) }, { device, backend: 'webgpu' });
      optimizer.step({ w: array(9, 2) });
      const [dict, params] = [await optimizer.stateDict(), await optimizer.read('w')];
      const grads = { w: buffer(array(9, 3)) };
      for (const [option, given] of skipping) {
        const message = `${option} may skip a step; ${name} cannot skip steps on the GPU`;
        expect(() => optimizer.step(grads, given)).toThrow(message);
        expect(() => optimizer.encode(device.createCommandEncoder(), grads, given)).toThrow(message);
      }
      expect(await optimizer.stateDict()).toEqual(dict);
      expect(difference(await optimizer.read('w'), params)).toBeUndefined();
      // These need no decision.
      const cpu = await create({ w: params }, { backend: 'wasm' });
      await cpu.loadStateDict(dict);
      optimizer.step({ w: array(9, 4) }, { maxValue: 0.5, gradScale: buffer(Float32Array.of(3)) });
      cpu.step({ w: array(9, 4) }, { maxValue: 0.5, gradScale: 3 });
      close(await optimizer.read('w'), cpu.params.w, 'w');
      expect(await optimizer.skippedSteps()).toBe(0);
      expect(optimizer.stepOf('w')).toBe(2);
      optimizer.dispose();
    },
  );

  test('Lookahead and averages refuse them, too', async () => {
    const optimizer = await adam({ w: weights(9, 1) }, { device, backend: 'webgpu' });
    const average = await ema(optimizer);
    const ahead = await lookahead(optimizer, { k: 2 });
    for (const [option, given] of skipping) {
      expect(() => ahead.step({ w: array(9, 2) }, given)).toThrow(`${option} may skip a step; Lookahead cannot skip`);
      expect(() => average.step(any(optimizer.params), given)).toThrow(`takes no ${option}: its gradients are weights`);
    }
    expect([optimizer.completedSteps, average.completedSteps]).toEqual([0, 0]);
    const onCpu = await adam({ w: weights(9, 1) });
    const cpu = await lookahead(onCpu, { k: 2 });
    for (let t = 0; t < 4; t++) {
      ahead.step({ w: array(9, t) }, { maxValue: 0.5, gradScale: buffer(Float32Array.of(3)) });
      cpu.step({ w: array(9, t) }, { maxValue: 0.5, gradScale: 3 });
    }
    close(await optimizer.read('w'), onCpu.params.w, 'w');
    const scale = buffer(Float32Array.of(0.5));
    expect(() => average.step(any(optimizer.params), { gradScale: scale })).toThrow('takes no gradScale');
    expect(() => average.step(any(optimizer.params), { maxValue: 1 })).toThrow('takes no maxValue');
    expect(() => average.step(any(optimizer.params), { gradScale: 0.5 })).toThrow('takes no gradScale');
    for (const each of [average, ahead]) each.dispose();
  });
});

describe('counters that only the GPU knows', () => {
  test('say so until they were read', async () => {
    const optimizer = await adam({ w: weights(9, 1), v: weights(5, 2) }, { device, backend: 'webgpu' });
    await expect(optimizer.gradNorm()).rejects.toThrow('There is no norm');
    expect(await optimizer.skippedSteps()).toBe(0);
    optimizer.step({ w: array(9, 1), v: array(5, 2) });
    expect([optimizer.stepOf('w'), optimizer.lazyStateDict().dict.state[0].step]).toEqual([1, 1]);
    optimizer.step({ w: array(9, 1).fill(NaN, 0, 1), v: null }, { maxNorm: 1 });
    const late = 'Only the GPU knows the steps of "w", since it may have skipped some: await skippedSteps() first.';
    expect(() => optimizer.stepOf('w')).toThrow(late);
    expect(() => optimizer.lazyStateDict()).toThrow(late);
    expect(() => checkpointStream(optimizer)).toThrow(late);
    expect((await optimizer.stateDict()).state[0].step).toBe(1);
    expect(await optimizer.skippedSteps()).toBe(1);
    expect(await optimizer.gradNorm()).toBeNaN();
    expect([optimizer.stepOf('w'), optimizer.stepOf('v')]).toEqual([1, 1]);
    expect(optimizer.lazyStateDict().dict.state[0].step).toBe(1);
    checkpointStream(optimizer);
    optimizer.step({ w: array(9, 1), v: array(5, 2) });
    expect(() => optimizer.stepOf('w')).toThrow(late);
    const reading = optimizer.skippedSteps();
    optimizer.step({ w: array(9, 1).fill(Infinity, 0, 1), v: array(5, 2) }, { ifFinite: true });
    expect(await reading).toBe(1);
    // It was read before the latest step.
    expect(() => optimizer.stepOf('w')).toThrow(late);
    expect(await optimizer.skippedSteps()).toBe(2);
    expect([optimizer.stepOf('w'), optimizer.stepOf('v'), optimizer.completedSteps]).toEqual([2, 2, 4]);
    optimizer.dispose();
  });

  test('wait for the submit of recorded steps', async () => {
    const optimizer = await adam({ w: buffer(weights(9, 1)) }, { device });
    optimizer.step({ w: array(9, 2) }, { maxNorm: Infinity });
    const norm = await optimizer.gradNorm();
    const encoder = device.createCommandEncoder();
    optimizer.encode(encoder, { w: buffer(new Float32Array(9).fill(NaN)) }, { maxNorm: 1 });
    const late = 'The encoders of recorded calls were not submitted (calls: 1)';
    await expect(optimizer.skippedSteps()).rejects.toThrow(late);
    await expect(optimizer.addParams(0, { v: buffer(weights(5, 3)) })).rejects.toThrow(late);
    await expect(optimizer.addParamGroup({ params: { v: buffer(weights(5, 3)) } })).rejects.toThrow(late);
    expect(await optimizer.gradNorm()).toBe(norm);
    expect(() => optimizer.stepOf('w')).toThrow('await skippedSteps() first');
    device.queue.submit([encoder.finish()]);
    expect(() => optimizer.stepOf('w')).toThrow('await skippedSteps() first');
    await optimizer.addParams(0, { v: buffer(weights(5, 3)) });
    expect(await optimizer.skippedSteps()).toBe(1);
    expect([optimizer.stepOf('w'), optimizer.stepOf(any('v'))]).toEqual([1, 0]);
    optimizer.dispose();
  });

  test('reject after dispose() and after the loss of the device', async () => {
    const other = await openDevice();
    if (typeof other === 'string') throw new Error(other);
    const on = other.device;
    const scaler = gradScaler({ device: on });
    const optimizer = await adam({ w: weights(9, 1) }, { device: on, backend: 'webgpu' });
    const all = { maxNorm: 1, maxValue: 1, ifFinite: true, scaler, gradScale: buffer(Float32Array.of(1), STORAGE, on) };
    optimizer.step({ w: array(9, 1) }, all);
    on.destroy();
    await on.lost;
    const lost = 'The GPU device was lost';
    await expect(optimizer.skippedSteps()).rejects.toThrow(lost);
    await expect(optimizer.gradNorm()).rejects.toThrow(lost);
    await expect(optimizer.stateDict()).rejects.toThrow(lost);
    expect(() => optimizer.step({ w: array(9, 1) }, all)).toThrow(lost);
    optimizer.dispose();
    await expect(optimizer.skippedSteps()).rejects.toThrow('disposed');
    await expect(optimizer.gradNorm()).rejects.toThrow('disposed');
    expect(() => optimizer.step({ w: array(9, 1) }, all)).toThrow('disposed');
  });

  test('a step that throws leaves scaler, counters and values', async () => {
    const scaler = gradScaler({ device });
    const optimizer = await adam({ w: weights(9, 1) }, { device, backend: 'webgpu' });
    const all = { maxNorm: 1, maxValue: 1, ifFinite: true, scaler };
    optimizer.step({ w: array(9, 1) }, all);
    const before = [await optimizer.stateDict(), await scaler.read(), await optimizer.gradNorm()];
    expect(() => optimizer.step({ w: array(8, 1) }, any(all))).toThrow('"w"');
    expect(() => optimizer.step({ w: array(9, 1) }, { ...all, more: true })).toThrow('without `more`');
    const submit = vi.spyOn(device.queue, 'submit').mockImplementation(() => {
      throw new Error('no submit');
    });
    expect(() => optimizer.step({ w: array(9, 1) }, all)).toThrow('no submit');
    submit.mockRestore();
    expect([await optimizer.stateDict(), await scaler.read(), await optimizer.gradNorm()]).toEqual(before);
    optimizer.step({ w: array(9, 2) }, all);
    const cpu = await adam({ w: weights(9, 1) });
    for (const seed of [1, 2]) cpu.step({ w: array(9, seed).map((x) => x / 65536) }, { maxNorm: 1 });
    close(await optimizer.read('w'), cpu.params.w, 'w');
    optimizer.dispose();
  });

  test('dispose() destroys all buffers of the optimizer', async () => {
    const { alive, spy } = watchBuffers();
    const optimizer = await adam({ w: weights(9, 1), v: weights(5, 2) }, { device, backend: 'webgpu' });
    const options = [{ maxNorm: 1, maxValue: 1 }, { normalize: true }, { ifFinite: true }, {}];
    for (const each of options) optimizer.step({ w: array(9, 1), v: array(5, 2) }, each);
    await optimizer.skippedSteps();
    const grads = Object.fromEntries(Object.entries(optimizer.grads));
    optimizer.encode(device.createCommandEncoder(), grads, { maxNorm: 1 });
    optimizer.dispose();
    const left = [...alive].map(({ label }) => label);
    spy.mockRestore();
    expect(left).toEqual([]);
  });
});
