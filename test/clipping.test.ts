// Tests the options of a step that depend on the values of gradients, on the CPU: clipping, and steps that are skipped.

import * as twinstep from 'twinstep';
import { adam, adamw, adamwScheduleFree, ema, lookahead, sgdScheduleFree, type StateDict } from 'twinstep';
import { loadCheckpoint, saveCheckpoint } from 'twinstep/checkpoint';
import * as sync from 'twinstep/sync';
import { describe, expect, test } from 'vitest';
import { algorithms, type Create } from './support/algorithms.js';
import { backends as all, type Options } from './support/backends.js';
import { expectSnapshot, snapshot } from './support/checkpoints.js';
import { array, ordinary, random, special, tensors, wide, type Draw } from './support/numbers.js';
import { map, readAll, same, type Tensors } from './support/tensors.js';

// Passes values that the types refuse.
const any = (value: unknown): never => value as never;

type Optimizer = Awaited<ReturnType<Create>>;
type StepOptions = NonNullable<Parameters<Optimizer['step']>[1]>;

const backends = all.filter(([name]) => name !== 'webgpu');
/** Ways of holding the memory: all must give the same bits. */
const ways: [string, Options][] = [
  ...backends,
  ['wasm on two threads', { backend: 'wasm', threads: 2 }],
  ['wasm without own gradients', { backend: 'wasm', keepGrads: false }],
  ['wasm on two threads without own gradients', { backend: 'wasm', threads: 2, keepGrads: false }],
  ['reference without own gradients', { backend: 'reference', keepGrads: false }],
];

const lengths = [1, 3, 64, 250];
const params = (): Tensors => tensors(lengths, 1);
const gradients = (t: number): Tensors => tensors(lengths, 100 + t);
const sumOfSquares = (values: Float32Array, scale = 1): number =>
  values.reduce((sum, value) => sum + (value * scale) ** 2, 0);
const normOf = (grads: Tensors): number =>
  Math.sqrt(Object.values(grads).reduce((sum, values) => sum + sumOfSquares(values), 0));
/** PyTorch's coefficient. */
const coefficient = (most: number, norm: number): number => Math.min(1, most / (norm + 1e-6));
const clamp = (grads: Tensors, most: number): Tensors => map(grads, (x) => Math.max(-most, Math.min(x, most)));
/** Returns the gradients with one value replaced by the f32 of these bits, which may be a NaN of any kind. */
function withBits(grads: Tensors, name: string, at: number, bits: number): Tensors {
  const copy = grads[name].slice();
  new Uint32Array(copy.buffer)[at] = bits;
  return { ...grads, [name]: copy };
}
const INFINITY = 0x7f80_0000;
const NAN = 0x7fc0_0000;

/** Expects the same parameters, slots, counters and options. */
async function sameState(actual: Optimizer, expected: Optimizer): Promise<void> {
  await expectSnapshot(actual, await snapshot(expected));
}
const changed = (dict: StateDict, change: (group: StateDict['param_groups'][0]) => object): StateDict => ({
  ...dict,
  param_groups: dict.param_groups.map((group) => ({ ...group, ...change(group) }) as typeof group),
});

describe.each(ways)('%s', (...[, backend]) => {
  const make = (own: Options = {}): Promise<Optimizer> => adam(params(), { weightDecay: 0.1, ...own, ...backend });

  test('maxNorm multiplies all gradients by min(1, maxNorm/(norm + 1e-6)), and Infinity only measures', async () => {
    for (const maxNorm of [1e-3, 1, 17, 1e3, Infinity]) {
      const [clipped, scaled] = await Promise.all([make(), make()]);
      for (let t = 0; t < 3; t++) {
        const grads = gradients(t);
        const norm = normOf(grads);
        clipped.step(grads, { maxNorm });
        scaled.step(grads, { gradScale: coefficient(maxNorm, norm) });
        expect(Math.abs((await clipped.gradNorm()) - norm)).toBeLessThanOrEqual(1e-14 * norm);
      }
      await sameState(clipped, scaled);
    }
  });

  test.each<[string, StepOptions, (norm: number) => number]>([
    [
      'maxNorm.perTensor clips each tensor by its own norm',
      { maxNorm: { perTensor: 5 } },
      (norm) => coefficient(5, norm),
    ],
    ['normalize divides each tensor by its norm', { normalize: true }, (norm) => 1 / norm],
    ['maxNorm.perTensor of Infinity only measures', { maxNorm: { perTensor: Infinity } }, () => 1],
  ])('%s', async (_, options, factor) => {
    const [clipped, scaled] = await Promise.all([make(), make()]);
    for (let t = 0; t < 3; t++) {
      const grads = gradients(t);
      clipped.step(grads, options);
      for (const [name, values] of Object.entries(grads)) {
        const gradScale = factor(Math.sqrt(sumOfSquares(values)));
        scaled.step({ [name]: values }, { gradScale, more: name !== 'w250' });
      }
      const norm = normOf(grads);
      expect(Math.abs((await clipped.gradNorm()) - norm)).toBeLessThanOrEqual(1e-14 * norm);
    }
    await sameState(clipped, scaled);
  });

  test('maxValue clamps the scaled gradients', async () => {
    const [clipped, clamped] = await Promise.all([make(), make()]);
    for (let t = 0; t < 3; t++) {
      const grads = withBits(gradients(t), 'w64', 63, INFINITY);
      clipped.step(grads, { maxValue: 0.25, gradScale: 0.5 });
      clamped.step(clamp(grads, 0.5), { gradScale: 0.5 });
    }
    await sameState(clipped, clamped);
  });

  test('a coefficient lasts one step', async () => {
    const [clipped, plain] = await Promise.all([make(), make()]);
    const bad = withBits(gradients(0), 'w64', 63, INFINITY);
    const normalized = { normalize: true, maxValue: 1 };
    for (const options of [{ maxNorm: { perTensor: 1e-3 } }, normalized, { maxNorm: 1e-3 }]) {
      clipped.step(bad, { ...options, maxValue: undefined });
      clipped.step(gradients(0), options);
      await plain.loadStateDict(await clipped.stateDict(), { params: await readAll(clipped, params()) });
      for (const next of [undefined, { maxValue: 0.5 }, { ifFinite: true }, { maxNorm: 3 }]) {
        for (const each of [clipped, plain]) each.step(gradients(1), next);
      }
      await sameState(clipped, plain);
    }
  });

  test('frozen tensors and tensors without gradient do not count', async () => {
    const [clipped, few] = await Promise.all([make(), make()]);
    for (const each of [clipped, few]) each.freeze('w3');
    for (const options of [{ maxNorm: 2 }, { maxNorm: { perTensor: 2 } }, { ifFinite: true }]) {
      const { w1, w64 } = gradients(1);
      clipped.step({ w1, w3: Float32Array.of(NaN, 1e30, 1), w64, w250: null }, options);
      few.step({ w1, w64 }, options);
    }
    expect(await clipped.gradNorm()).toBe(await few.gradNorm());
    await sameState(clipped, few);
    // Own gradients of frozen tensors, too.
    if (backend.keepGrads === false) return;
    for (const each of [clipped, few]) {
      each.zeroGrad();
      (each.grads.w64 as Float32Array).fill(3);
    }
    (clipped.grads.w3 as Float32Array).fill(NaN);
    for (const each of [clipped, few]) each.step(each.grads, { maxNorm: 2 });
    expect(await clipped.gradNorm()).toBe(24);
    await sameState(clipped, few);
  });

  test('without any gradient the norm is 0 and the step is taken', async () => {
    const [clipped, plain] = await Promise.all([make(), make()]);
    for (const each of [clipped, plain]) each.freeze('w3');
    for (const options of [{ maxNorm: 1 }, { normalize: true }, { ifFinite: true }, { maxNorm: { perTensor: 1 } }]) {
      clipped.step({}, options);
      clipped.step({ w3: Float32Array.of(NaN, 0, 0) }, options);
      for (let i = 0; i < 2; i++) plain.step({});
    }
    expect([await clipped.gradNorm(), await clipped.skippedSteps()]).toEqual([0, 0]);
    for (const each of [clipped, plain]) each.freeze(0);
    clipped.step(withBits(gradients(1), 'w64', 0, NAN), { maxNorm: 1, ifFinite: true });
    plain.step(gradients(1));
    expect([await clipped.gradNorm(), await clipped.skippedSteps()]).toEqual([0, 0]);
    await sameState(clipped, plain);
  });

  test('empty tensors and gradients of zeros are clipped and normalized', async () => {
    const some = () => ({ none: new Float32Array(0), zero: array(5, 1), w: array(5, 2) });
    const [clipped, plain] = await Promise.all([adam(some(), { ...backend }), adam(some(), { ...backend })]);
    const grads = { none: new Float32Array(0), zero: Float32Array.of(0, -0, 0, -0, 0), w: array(5, 3) };
    clipped.step(grads, { normalize: true });
    const { w, ...others } = grads;
    plain.step(others, { more: true });
    plain.step({ w }, { gradScale: 1 / Math.sqrt(sumOfSquares(w)) });
    for (const options of [{ maxNorm: 1 }, { maxNorm: { perTensor: 1 } }, { ifFinite: true }]) {
      clipped.step(others, options);
      plain.step(others);
    }
    expect([await clipped.gradNorm(), await clipped.skippedSteps()]).toEqual([0, 0]);
    await sameState(clipped, plain);
  });

  test('only what is not finite skips a step: NaN of any kind, and both infinities, at any place', async () => {
    const optimizer = await adamw(tensors([1, 3, 4, 5, 8, 9, 63, 64, 65], 1), { ...backend });
    const grads = tensors([1, 3, 4, 5, 8, 9, 63, 64, 65], 2);
    const before = await snapshot(optimizer);
    let skipped = 0;
    const bad = [INFINITY, 0xff80_0000, NAN, 0xffc0_0000, 0x7f80_0001, 0xff80_0001, 0x7fbf_ffff, 0xffff_ffff];
    const clipping: StepOptions[] = [{ maxNorm: 1 }, { normalize: true }];
    const [ifFinite, clampedIfFinite] = [{ ifFinite: true }, { ifFinite: true, maxValue: 1, maxNorm: 1 }];
    for (const [name, { length }] of Object.entries(grads)) {
      for (let at = 0; at < length; at++) {
        for (const [i, bits] of bad.entries()) {
          const given = withBits(grads, name, at, bits);
          const options = [ifFinite, clampedIfFinite, clipping[at % 2]];
          // What maxValue cannot make finite.
          if (i > 1) options.push({ maxValue: 1, ...clipping[at % 2] });
          for (const each of options) {
            optimizer.step(given, each);
            skipped += 1;
          }
        }
      }
    }
    expect([await optimizer.skippedSteps(), optimizer.completedSteps]).toEqual([skipped, skipped]);
    const after = await snapshot(optimizer);
    expect(after.dict).toEqual(changed(any(before.dict), () => ({ completed_steps: skipped })));
    same(after.params, before.params);
    // Numbers beside those: the largest and the smallest.
    for (const bits of [0x7f7f_ffff, 0xff7f_ffff, 1, 0x8000_0001, 0x8000_0000]) {
      optimizer.step(withBits(grads, 'w65', 64, bits), ifFinite);
      optimizer.step(
        map(grads, () => new Float32Array(Uint32Array.of(bits).buffer)[0]),
        { ...ifFinite, maxNorm: 1 },
      );
    }
    expect([await optimizer.skippedSteps(), optimizer.stepOf('w65')]).toEqual([skipped, 10]);
  });

  test('maxValue makes an infinity finite for maxNorm, and with ifFinite it skips all the same', async () => {
    const [clipped, clamped] = await Promise.all([make(), make()]);
    const grads = withBits(withBits(gradients(1), 'w250', 249, INFINITY), 'w1', 0, 0xff80_0000);
    for (const options of [{ maxNorm: 2 }, { maxNorm: { perTensor: 2 } }, { normalize: true }]) {
      clipped.step(grads, { maxValue: 0.5, ...options });
      clamped.step(clamp(grads, 0.5), options);
      // The clamped values are exact, but an element of them times the coefficient rounds once, not twice.
      expect(await clipped.gradNorm()).toBe(await clamped.gradNorm());
      const before = await snapshot(clipped);
      clipped.step(grads, { maxValue: 0.5, ifFinite: true, ...options });
      const after = await snapshot(clipped);
      same(after.params, before.params);
      await clamped.loadStateDict(any(after.dict));
    }
    expect(await clipped.skippedSteps()).toBe(3);
    for (const values of Object.values(await readAll(clipped, params()))) {
      expect(values.every(Number.isFinite)).toBe(true);
    }
  });

  test('order: unscale, look for what is not finite, clamp, clip the norm, then L2 and maximize', async () => {
    const groups = () => [
      { params: { a: array(70, 1) } as Tensors, gradScale: 0.5, weightDecay: 0.3 },
      { params: { b: array(9, 2), idle: array(4, 3), cold: array(4, 3) } as Tensors, maximize: true },
      { params: { c: array(5, 4) } as Tensors, gradScale: 4, lr: 0.02 },
    ];
    const [clipped, scaled] = await Promise.all([adam(groups(), { ...backend }), adam(groups(), { ...backend })]);
    for (const each of [clipped, scaled]) each.freeze('cold');
    const scales = { a: 0.5, b: 1, c: 4 };
    for (let t = 0; t < 4; t++) {
      const grads: Tensors = { a: array(70, 10 + t), b: array(9, 20 + t), c: array(5, 30 + t) };
      const [gradScale, most] = [0.25, 0.125];
      const clamped = Object.fromEntries(
        Object.entries(scales).map(([name, scale]) => {
          return [name, clamp({ [name]: grads[name] }, most / (scale * gradScale))[name]];
        }),
      );
      const norm = Math.sqrt(
        Object.entries(scales).reduce((sum, [name, scale]) => sum + sumOfSquares(clamped[name], scale * gradScale), 0),
      );
      const cold = Float32Array.of(NaN, 1, 2, 3);
      clipped.step({ ...grads, cold }, { gradScale, maxValue: most, maxNorm: 0.5, ifFinite: true });
      scaled.step({ ...clamped, cold }, { gradScale: gradScale * coefficient(0.5, norm) });
      expect(Math.abs((await clipped.gradNorm()) - norm)).toBeLessThanOrEqual(1e-14 * norm);
      expect(norm).toBeGreaterThan(0.5);
    }
    await sameState(clipped, scaled);
  });

  test('scales and limits of any size give finite parameters', async () => {
    const extremes: [StepOptions, number[]][] = [
      [{ gradScale: 3e38, maxNorm: 1 }, [3e38, 1]],
      [{ gradScale: 3e38, normalize: true }, [3e38, -3e38]],
      [{ gradScale: 3e38, maxNorm: { perTensor: 1e-44 } }, [3e38, -3e38]],
      [{ gradScale: 1e-44, normalize: true }, [1e-44, 1e-44]],
      [{ normalize: true }, [1e-44, -1e-44]],
      [{ normalize: true, maxValue: 3e38 }, [1e-20, 1e-20]],
      [{ normalize: true, maxValue: 3e38 }, [1e-20, Infinity]],
      [{ normalize: true, maxValue: 1e-45 }, [3e38, Infinity]],
      [{ maxNorm: 1e-37, maxValue: 1e20 }, [Infinity, 1]],
      [{ maxNorm: 1e-45, maxValue: 3e38 }, [-Infinity, 1]],
      [{ maxNorm: { perTensor: 1e-45 }, maxValue: 3e38 }, [-Infinity, 1]],
      [{ gradScale: 1e-50, maxNorm: 1, maxValue: 1 }, [Infinity, 1]],
      [{ gradScale: 1e-300, maxNorm: 1, maxValue: 3e38 }, [Infinity, 1]],
      [{ gradScale: 0, maxNorm: 1 }, [3e38, 1]],
      [{ gradScale: 0, maxNorm: 1, maxValue: 1 }, [Infinity, 1]],
      [{ gradScale: -0, normalize: true, maxValue: 1 }, [3e38, 1]],
      [{ maxNorm: 1, maxValue: 1e-45 }, [3e38, -0]],
    ];
    for (const [options, values] of extremes) {
      const create = (where: Options) => adamw({ w: Float32Array.of(1, 2), b: Float32Array.of(3) }, where);
      const [clipped, reference] = await Promise.all([create({ ...backend }), create({ backend: 'reference' })]);
      for (const each of [clipped, reference]) {
        each.step({ w: Float32Array.from(values), b: Float32Array.of(0) }, options);
        each.step({ w: Float32Array.from(values) }, options);
      }
      const what = JSON.stringify(options);
      const { w } = await readAll(clipped, { w: 0 });
      expect(w.every(Number.isFinite), what).toBe(true);
      expect(await clipped.gradNorm(), what).toBe(await reference.gradNorm());
      await sameState(clipped, reference);
    }
  });

  test('gradNorm() is of the latest step that needed a norm, also if it was skipped, and of no step that threw', async () => {
    const optimizer = await make();
    const none = 'There is no norm yet: no step has had maxNorm or normalize.';
    await expect(optimizer.gradNorm()).rejects.toThrow(none);
    optimizer.step(gradients(0), { ifFinite: true, maxValue: 1 });
    await expect(optimizer.gradNorm()).rejects.toThrow(none);
    optimizer.groups[0].gradScale = 3e38;
    expect(() => optimizer.step(gradients(0), { gradScale: 3e38, maxNorm: Infinity })).toThrow(
      'Expected grad_scale at step 2 to be finite, got Infinity.',
    );
    await expect(optimizer.gradNorm()).rejects.toThrow(none);
    optimizer.groups[0].gradScale = 1;
    optimizer.step({ w3: Float32Array.of(0, 3, -4) }, { maxNorm: { perTensor: 1 } });
    expect(await optimizer.gradNorm()).toBe(5);
    optimizer.step(gradients(0));
    optimizer.step(withBits(gradients(0), 'w1', 0, NAN), { ifFinite: true });
    expect(await optimizer.gradNorm()).toBe(5);
    optimizer.groups[0].gradScale = 3e38;
    expect(() => optimizer.step(gradients(0), { gradScale: 3e38, maxNorm: Infinity })).toThrow('grad_scale at step');
    optimizer.groups[0].gradScale = 1;
    expect(await optimizer.gradNorm()).toBe(5);
    optimizer.step({ w3: Float32Array.of(0, 0, Infinity) }, { maxNorm: 1 });
    expect(await optimizer.gradNorm()).toBe(Infinity);
    optimizer.step({ w3: Float32Array.of(NaN, 0, Infinity) }, { normalize: true });
    expect(await optimizer.gradNorm()).toBeNaN();
    optimizer.step({ w3: Float32Array.of(0, 12, 5) }, { normalize: true, gradScale: 2 });
    expect(await optimizer.gradNorm()).toBe(26);
    expect([await optimizer.skippedSteps(), optimizer.completedSteps, optimizer.stepOf('w3')]).toEqual([3, 7, 4]);
    const dict = await optimizer.stateDict();
    await optimizer.loadStateDict(dict);
    expect([await optimizer.skippedSteps(), optimizer.completedSteps, optimizer.stepOf('w3')]).toEqual([0, 7, 4]);
    await expect(optimizer.gradNorm()).rejects.toThrow(none);
    optimizer.step({ w3: Float32Array.of(0, NaN, 5) }, { ifFinite: true });
    expect(await optimizer.skippedSteps()).toBe(1);
    optimizer.dispose();
    const tooMany = [1] as unknown as [];
    await expect(optimizer.gradNorm()).rejects.toThrow('disposed of');
    await expect(optimizer.skippedSteps()).rejects.toThrow('disposed of');
    await expect(optimizer.gradNorm(...tooMany)).rejects.toThrow('at most 0, got 1');
    await expect(optimizer.skippedSteps(...tooMany)).rejects.toThrow('at most 0, got 1');
  });

  test('the options refuse to complete an unfinished step, which a step without them completes', async () => {
    const [optimizer, plain] = await Promise.all([make(), make()]);
    const { w1, ...others } = gradients(0);
    for (const each of [optimizer, plain]) each.step({ w1 }, { more: true });
    for (const options of [{ maxNorm: 1 }, { normalize: true }, { ifFinite: true }, { maxValue: 1 }]) {
      expect(() => optimizer.step(others, options)).toThrow(
        `${Object.keys(options)[0]} needs all gradients of a step in one call, without \`more\`.`,
      );
    }
    for (const each of [optimizer, plain]) each.step(others);
    await sameState(optimizer, plain);
  });

  test('each option is read once, own properties only, also from a Proxy', async () => {
    const [optimizer, plain] = await Promise.all([make(), make()]);
    const reads: string[] = [];
    const counting = (of: object, path = ''): never =>
      any(
        new Proxy(of, {
          get(target, name) {
            if (typeof name === 'string') reads.push(path + name);
            const value: unknown = Reflect.get(target, name);
            return typeof value === 'object' && value !== null ? counting(value, `${path}${String(name)}.`) : value;
          },
        }),
      );
    const options = { maxNorm: { perTensor: 0.5 }, gradScale: 2, maxValue: 1, ifFinite: true, normalize: false };
    optimizer.step(gradients(0), counting(options));
    plain.step(gradients(0), options);
    expect(reads.toSorted()).toEqual([...Object.keys(options), 'maxNorm.perTensor'].toSorted());
    const inherited = Object.create({ maxNorm: 0.1, ifFinite: true, unknown: 1 }) as object;
    for (const name of ['maxNorm', 'maxValue', 'normalize', 'ifFinite', 'gradScale', 'scaler', 'perTensor']) {
      Reflect.defineProperty(Object.prototype, name, {
        value: 1,
        configurable: true,
        enumerable: true,
        writable: true,
      });
    }
    try {
      optimizer.step(gradients(1), any({}));
      optimizer.step(gradients(1), any(inherited));
      expect(() => optimizer.step(gradients(1), any({ maxNorm: {} }))).toThrow('maxNorm.perTensor');
    } finally {
      for (const name of ['maxNorm', 'maxValue', 'normalize', 'ifFinite', 'gradScale', 'scaler', 'perTensor']) {
        Reflect.deleteProperty(Object.prototype, name);
      }
    }
    for (let i = 0; i < 2; i++) plain.step(gradients(1));
    await sameState(optimizer, plain);
  });

  test('refuses them for an average of weights', async () => {
    const average = await ema(await make(), { decay: 0.9 });
    for (const options of [{ maxNorm: 1 }, { normalize: true }, { ifFinite: true }, { maxValue: 1 }]) {
      expect(() => average.step(gradients(0), options)).toThrow(
        `ema takes no ${Object.keys(options)[0]}: its gradients are weights.`,
      );
    }
    expect(average.completedSteps).toBe(0);
  });
});

/** What `show` of src/errors.ts makes of these values. */
function shown(value: unknown): string {
  if (typeof value === 'string') return `"${value}"`;
  if (typeof value === 'bigint') return `${value}n`;
  if (Array.isArray(value)) return `[${value.join(', ')}]`;
  if (value instanceof Float32Array) return `Float32Array(${value.length})`;
  return typeof value === 'object' && value !== null ? 'an Object' : String(value);
}

describe.each(backends)('%s', (...[, backend]) => {
  describe('refuses, and changes nothing:', () => {
    const sentences: [string, unknown, string][] = [
      ...[0, -1, NaN, 1e-46, 4e38, '1', true, null, 1n, Symbol('one')].map((value): [string, unknown, string] => [
        `maxNorm ${String(value)}`,
        { maxNorm: value },
        `Expected maxNorm to be a finite number of more than 0, or Infinity, got ${shown(value)}.`,
      ]),
      ...[0, -1, NaN, '1', null, undefined, { valueOf: () => 1 }].map((value): [string, unknown, string] => [
        `maxNorm.perTensor ${String(value)}`,
        { maxNorm: { perTensor: value } },
        `Expected maxNorm.perTensor to be a finite number of more than 0, or Infinity, got ${shown(value)}.`,
      ]),
      ['maxNorm without perTensor', { maxNorm: {} }, 'Expected maxNorm.perTensor to be a finite number of more than 0'],
      [
        'an unknown name in maxNorm',
        { maxNorm: { perTensors: 1 } },
        'Unknown option "perTensors"; maxNorm has "perTensor". Did you mean perTensor?',
      ],
      [
        'maxNorm as an array',
        { maxNorm: [1] },
        'Expected maxNorm to be a finite number of more than 0, or Infinity, got [1].',
      ],
      ...[0, -1, NaN, Infinity, 1e-46, 4e38, '1', null, { valueOf: () => 1 }].map(
        (value): [string, unknown, string] => [
          `maxValue ${String(value)}`,
          { maxValue: value },
          `Expected maxValue to be a finite number of more than 0, got ${shown(value)}.`,
        ],
      ),
      ...['normalize', 'ifFinite', 'more'].flatMap((name) =>
        [1, 'true', null, {}].map((value): [string, unknown, string] => [
          `${name} ${String(value)}`,
          { [name]: value },
          `Expected ${name} to be true or false, got ${shown(value)}.`,
        ]),
      ),
      ...[-1, NaN, Infinity, 4e38, '2', true, [3], { valueOf: () => 1 }, {}, new Float32Array(1), null, 2n].map(
        (value): [string, unknown, string] => [
          `gradScale ${String(value)}`,
          { gradScale: value },
          `Expected gradScale to be a finite number of at least 0 (maximize steps up the gradient), got ${shown(value)}.`,
        ],
      ),
      ['scaler null', { scaler: null }, 'Expected scaler to be one that gradScaler() made, got null.'],
      ['a symbol as gradScale', { gradScale: Symbol('one') }, 'got Symbol(one).'],
      [
        'an unknown option',
        { maxnorm: 1 },
        'Unknown option "maxnorm"; a step has "more", "gradScale", "maxNorm", "maxValue", "normalize", "ifFinite"',
      ],
      [
        'normalize with maxNorm',
        { normalize: true, maxNorm: 2 },
        'Cannot combine normalize and maxNorm, got maxNorm 2: normalize sets each norm to 1.',
      ],
      [
        'normalize with maxNorm.perTensor',
        { normalize: true, maxNorm: { perTensor: 2 } },
        'Cannot combine normalize and maxNorm, got maxNorm',
      ],
      ...[{ maxNorm: 1 }, { normalize: true }, { ifFinite: true }, { maxValue: 1 }, { maxNorm: { perTensor: 1 } }].map(
        (options): [string, unknown, string] => [
          `${Object.keys(options)[0]} with more`,
          { ...options, more: true },
          `${Object.keys(options)[0]} needs all gradients of a step in one call, without \`more\`.`,
        ],
      ),
      [
        'a getter that throws',
        {
          get maxNorm() {
            throw new Error('thrown by a getter');
          },
        },
        'thrown by a getter',
      ],
      [
        'a getter of perTensor that throws',
        {
          maxNorm: {
            get perTensor() {
              throw new Error('thrown below');
            },
          },
        },
        'thrown below',
      ],
      [
        'a Proxy that throws',
        new Proxy(
          { maxNorm: 1 },
          {
            get(_, name) {
              if (name === 'maxNorm') throw new Error('thrown by a Proxy');
            },
          },
        ),
        'thrown by a Proxy',
      ],
      ['an array', [1], 'Expected the options of a step to be a record, got [1].'],
    ];
    test.each(sentences)('%s', async (_, options, sentence) => {
      const [optimizer, plain] = await Promise.all([adam(params(), backend), adam(params(), backend)]);
      for (const each of [optimizer, plain]) each.step(gradients(0), { maxNorm: 1 });
      const norm = await optimizer.gradNorm();
      expect(() => optimizer.step(gradients(1), any(options))).toThrow(sentence);
      expect([await optimizer.gradNorm(), await optimizer.skippedSteps()]).toEqual([norm, 0]);
      same(optimizer.grads, gradients(0));
      await sameState(optimizer, plain);
      for (const each of [optimizer, plain]) each.step(gradients(2));
      await sameState(optimizer, plain);
    });
  });

  test.each([
    ['maxNorm', { maxNorm: 1.5, maxValue: 1 }],
    ['perTensor', { maxNorm: { perTensor: 1.5 }, maxValue: 1 }],
    ['normalize', { normalize: true, maxValue: 1 }],
    ['maxValue', { maxValue: 1 }],
    ['ifFinite', { ifFinite: true }],
  ] as [string, StepOptions][])('accumulated gradients are divided by their number first: %s', async (_, options) => {
    const [accumulated, scaled] = await Promise.all([adam(params(), backend), adam(params(), backend)]);
    for (let t = 0; t < 3; t++) {
      const batches = [gradients(t), gradients(t + 3), gradients(t + 6)];
      for (const batch of batches) accumulated.accumulate(batch);
      scaled.step(
        map(accumulated.grads, (x) => x),
        { gradScale: 1 / 3, ...options },
      );
      accumulated.step(accumulated.grads, options);
    }
    await sameState(accumulated, scaled);
  });

  test('accumulated gradients of a skipped step are dropped', async () => {
    const [skipping, plain] = await Promise.all([adam(params(), backend), adam(params(), backend)]);
    skipping.accumulate(gradients(0));
    skipping.accumulate(withBits(gradients(1), 'w250', 249, INFINITY));
    skipping.step(skipping.grads, { maxNorm: 1 });
    expect(await skipping.skippedSteps()).toBe(1);
    for (const each of [skipping, plain]) {
      each.accumulate(gradients(2));
      each.step(each.grads, { maxNorm: 1 });
    }
    same(await readAll(skipping, params()), await readAll(plain, params()));
  });
});

/** Calls of a training run: in those that are true a gradient is not finite. */
const calls = [
  true,
  false,
  true,
  true,
  false,
  false,
  true,
  false,
  false,
  false,
  false,
  true,
  false,
  false,
  true,
  false,
];
/** The numbers of the calls whose gradients are finite. */
const finite = calls.flatMap((isBad, t) => (isBad ? [] : [t]));
const skips: StepOptions[] = [{ ifFinite: true }, { maxNorm: 1 }, { maxNorm: { perTensor: 1 } }, { normalize: true }];
/** Gradients of call t. w1 takes part in some calls only. */
const given = (t: number): Tensors => {
  const { w1, ...others } = gradients(t);
  const grads: Tensors = t % 3 === 0 ? others : { w1, ...others };
  if (!calls[t]) return grads;
  const name = ['w3', 'w64', 'w250'][t % 3];
  return withBits(grads, name, grads[name].length - 1, t % 2 === 0 ? NAN : INFINITY);
};
const eta = (t: number): number => 1 / (1 + t / 3);
const decay = (t: number): number => 0.1 / (1 + t);
const uncounted = (dict: StateDict): StateDict =>
  changed(dict, () => ({ completed_steps: undefined, skipped_steps: undefined, weight_decay: undefined }));

describe.each(algorithms)('%s', (...[, create, own]) => {
  const schedules = { schedule: eta, weightDecay: decay };
  /** The same schedules for an optimizer that does not see the skipped steps. */
  const ofTaken = { schedule: (k: number) => eta(finite[k]), weightDecay: (k: number) => decay(finite[k] ?? 0) };

  describe.each(backends)('%s', (...[, backend]) => {
    test.each(skips.map((options): [string, StepOptions] => [JSON.stringify(options), options]))(
      'a skipped step changes nothing but the count of schedules: %s',
      async (_, options) => {
        const make = (more: Options): Promise<Optimizer> =>
          create([{ params: params() }, { params: { b: array(7, 3) } }] as never, { ...own, ...backend, ...more });
        const [skipping, plain] = await Promise.all([make(schedules), make(ofTaken)]);
        let loaded = await make(schedules);
        const b = array(7, 5);
        let skipped = 0;
        for (const [t, isBad] of calls.entries()) {
          const grads = { ...given(t), b };
          const before = await snapshot(skipping);
          skipping.step(grads, options);
          loaded.step(grads, options);
          if (isBad) {
            skipped += 1;
            const after = await snapshot(skipping);
            same(after.params, before.params);
            expect(uncounted(any(after.dict))).toEqual(uncounted(any(before.dict)));
          } else {
            plain.step(grads, options);
          }
          const [mine, theirs] = [await snapshot(skipping), await snapshot(plain)];
          same(mine.params, theirs.params);
          expect(uncounted(any(mine.dict))).toEqual(uncounted(any(theirs.dict)));
          expect([await skipping.skippedSteps(), skipping.completedSteps]).toEqual([skipped, t + 1]);
          for (const name of ['w1', 'w250', 'b']) expect(skipping.stepOf(name)).toBe(plain.stepOf(name));
          const group = Object.hasOwn(skipping.groups[0], 'k') ? (any(skipping.groups[0]) as { k: number }) : undefined;
          if (group !== undefined) {
            expect(group.k).toBe(t + 1 - skipped);
            expect((any(mine.dict) as StateDict).param_groups[0].skipped_steps).toBe(skipped || undefined);
          }
          // What was loaded in the middle goes on in the same way.
          await expectSnapshot(loaded, mine);
          if (t % 4 !== 3) continue;
          const into = await make(schedules);
          if (t % 8 === 3) {
            await into.loadStateDict(any(mine.dict), { params: mine.params });
          } else {
            await loadCheckpoint(into, await saveCheckpoint(loaded));
          }
          loaded = into;
          if (Object.hasOwn(skipping.groups[0], 'trainMode')) {
            for (const each of [skipping, plain, loaded]) {
              each.eval();
              each.train();
            }
          }
        }
      },
    );

    test('if all gradients so far were skipped, there is no state', async () => {
      const [skipping, plain] = await Promise.all([
        create(params(), { ...own, ...backend }),
        create(params(), { ...own, ...backend }),
      ]);
      skipping.step(given(0), { ifFinite: true });
      skipping.step(given(2), { maxNorm: 1 });
      expect((await skipping.stateDict()).state).toEqual({});
      expect(skipping.lazyStateDict().arrays).toHaveLength(0);
      const into = await create(params(), { ...own, ...backend });
      await into.loadStateDict(await skipping.stateDict());
      for (const each of [skipping, plain, into]) each.step(given(1), { maxNorm: 1 });
      for (const each of [skipping, into]) {
        same(await readAll(each, params()), await readAll(plain, params()));
        expect(each.completedSteps).toBe(3);
      }
    });
  });

  test('WebAssembly and the reference have the same bits for any options and gradients', async () => {
    const draws: Draw[] = [
      ordinary,
      wide,
      special,
      (next) => (next() - 0.5) * 10 ** (next() * 40 - 44),
      (next) => (next() < 0.5 ? -3e38 : 3e38) * next(),
      (next) => (next() < 0.01 ? Infinity : ordinary(next)),
      (next) => (next() < 0.005 ? NaN : wide(next)),
    ];
    const outcomes = { taken: 0, skipped: 0, refused: 0 };
    for (let seed = 0; seed < 40; seed++) {
      const next = random(seed);
      const pick = <Value>(...values: Value[]): Value => values[Math.floor(next() * values.length)];
      const size = (): number => Math.fround(10 ** (next() * 76 - 38)) || 1;
      const groups = () => [
        { params: tensors(lengths, seed) },
        { params: { none: new Float32Array(0), b: array(9, 5) }, gradScale: [1, 1e-3, 1e30, 0][seed % 4] },
      ];
      const keepGrads = seed % 3 > 0;
      const [wasm, reference] = await Promise.all(
        ['wasm', 'reference'].map((backend) => {
          const maximize = seed % 2 === 0;
          return create(groups() as never, { maximize, ...own, backend: backend as 'wasm', keepGrads });
        }),
      );
      for (let t = 0; t < 5; t++) {
        const draw = pick(...draws);
        const grads: Tensors = { ...tensors(lengths, 7 * seed + t, draw), b: array(9, seed, draw) };
        if (next() < 0.5) grads.none = new Float32Array(0);
        if (next() < 0.3) delete grads[pick('w1', 'w64', 'b')];
        const options: StepOptions = {
          maxNorm: pick<StepOptions['maxNorm']>(
            undefined,
            size(),
            1,
            Infinity,
            { perTensor: size() },
            { perTensor: 1 },
          ),
          maxValue: pick(undefined, undefined, size(), 1),
          ifFinite: pick(false, false, true),
          gradScale: pick(1, 1, size(), 0.5, 0, 1e-50),
        };
        options.normalize = options.maxNorm === undefined && next() < 0.5;
        const [mine, theirs] = [wasm, reference].map((each) => {
          try {
            each.step(grads, options);
            return '';
          } catch (error) {
            return (error as Error).message;
          }
        });
        const what = `${seed} ${t} ${JSON.stringify(options)}`;
        expect(mine, what).toBe(theirs);
        const needsNorm = options.normalize || options.maxNorm !== undefined;
        if (needsNorm && mine === '') expect(await wasm.gradNorm(), what).toBe(await reference.gradNorm());
        await expectSnapshot(wasm, await snapshot(reference)).catch((error: unknown) => {
          throw new Error(what, { cause: error });
        });
        if (mine !== '') outcomes.refused += 1;
      }
      expect(await wasm.skippedSteps()).toBe(await reference.skippedSteps());
      outcomes.skipped += await wasm.skippedSteps();
      outcomes.taken += wasm.completedSteps - (await wasm.skippedSteps());
    }
    expect(Math.min(outcomes.taken, outcomes.skipped)).toBeGreaterThan(40);
    expect(outcomes.taken + outcomes.skipped + outcomes.refused).toBe(200);
  });

  test('in a synchronous function twinstep/sync does the same', async () => {
    for (const options of [...skips, { maxValue: 0.5 }, { maxValue: 0.5, maxNorm: 1, gradScale: 0.5 }]) {
      for (const backend of ['wasm', 'reference'] as const) {
        const name = Object.entries(twinstep).find(([, value]) => (value as unknown) === create)![0] as 'adam';
        const optimizer = await create(params(), { ...own, backend });
        const train = (): Tensors => {
          const now = sync[name](params(), { ...own, backend });
          for (const t of calls.keys()) now.step(given(t), options);
          return Object.fromEntries(Object.entries(now.params).map(([each, values]) => [each, values.slice()]));
        };
        for (const t of calls.keys()) optimizer.step(given(t), options);
        same(train(), await readAll(optimizer, params()));
      }
    }
  });
});

test('threads and memory without own gradients give the same bits for long tensors', async () => {
  const long = (seed: number): Tensors => ({ a: array(200_003, seed), b: array(5, seed), c: array(70_001, seed) });
  for (const options of [{ maxNorm: 1 }, { maxNorm: { perTensor: 1 } }, { maxValue: 0.5, normalize: true }]) {
    const optimizers = await Promise.all(ways.map(([, way]) => adamw(long(1), { ...way })));
    const bad = withBits(long(3), 'a', 200_002, NAN);
    for (const each of optimizers) for (const grads of [long(2), bad, long(4)]) each.step(grads, options);
    const arraysOf = (each: Optimizer): Tensors[] => [each.params, each.slots('a'), each.slots('c')] as Tensors[];
    for (const each of optimizers) {
      for (const [i, arrays] of arraysOf(each).entries()) same(arrays, arraysOf(optimizers[0])[i]);
      expect(await each.gradNorm()).toBe(await optimizers[0].gradNorm());
      expect(await each.skippedSteps()).toBe(1);
    }
  }
});

describe.each(backends)('%s', (...[, backend]) => {
  describe('Lookahead', () => {
    const make = async (k = 3) => lookahead(await adamw(params(), backend), { k });
    const state = async (ahead: Awaited<ReturnType<typeof make>>) => {
      const { state: ofTensors, param_groups: groups } = await ahead.stateDict();
      return { ofTensors, steps: groups[0].lookahead_step };
    };

    test.each(skips.map((options): [string, StepOptions] => [JSON.stringify(options), options]))(
      'counts the steps that were taken, also after a load: %s',
      async (_, options) => {
        const plain = await make();
        let skipping = await make();
        for (const [t, isBad] of calls.entries()) {
          const before = { ...(await readAll(skipping.optimizer, params())) };
          skipping.step(given(t), options);
          if (isBad) same(await readAll(skipping.optimizer, params()), before);
          else plain.step(given(t), options);
          same(await readAll(skipping.optimizer, params()), await readAll(plain.optimizer, params()));
          expect(await state(skipping)).toEqual(await state(plain));
          expect(skipping.slow.completedSteps).toBe(Math.floor(plain.optimizer.completedSteps / 3));
          expect(skipping.optimizer.completedSteps).toBe(t + 1);
          if (t % 2 === 0) continue;
          const into = await make();
          // Steps before the load have no effect on the count.
          if (t % 4 === 1) for (let i = 0; i < 2; i++) into.step(given(i), options);
          const loaded = await readAll(skipping.optimizer, params());
          if (t % 8 < 4) await into.loadStateDict(await skipping.stateDict(), { params: loaded });
          else await loadCheckpoint(into, await saveCheckpoint(skipping));
          await into.slow.loadStateDict(await skipping.slow.stateDict());
          skipping = into;
        }
      },
    );

    test('counts from its creation, when the optimizer had skipped steps before', async () => {
      const optimizer = await adamw(params(), backend);
      for (const t of [0, 1, 2]) optimizer.step(given(t), { ifFinite: true });
      const ahead = await lookahead(optimizer, { k: 2 });
      for (const t of [3, 4]) ahead.step(given(t), { ifFinite: true });
      expect(ahead.slow.completedSteps).toBe(0);
      ahead.step(given(5), { ifFinite: true });
      expect([ahead.slow.completedSteps, (await state(ahead)).steps]).toEqual([1, 2]);
    });
  });

  test('Schedule-Free saves its skipped steps, and loads older dicts without them', async () => {
    const seen: number[] = [];
    const schedule = (t: number): number => (seen.push(t), 1);
    const make = () => sgdScheduleFree(params(), { ...backend, schedule, warmupSteps: 4 });
    const optimizer = await make();
    for (const t of [0, 1, 2, 3, 4]) optimizer.step(given(t), { ifFinite: true });
    const dict = await optimizer.stateDict();
    expect(dict.param_groups[0]).toMatchObject({ k: 2, completed_steps: 5, skipped_steps: 3 });
    const [{ skipped_steps: _, ...older }] = dict.param_groups;
    const loaded = await make();
    for (const [group, next] of [
      [dict.param_groups[0], 5],
      [older, 2],
      [{ ...older, skipped_steps: 0 }, 2],
    ] as const) {
      await loaded.loadStateDict(any({ ...dict, param_groups: [group] }));
      seen.length = 0;
      loaded.step(given(5), { ifFinite: true });
      expect([...seen, loaded.groups[0].k, loaded.completedSteps]).toEqual([next, 3, 6]);
      const saved = (await loaded.stateDict()).param_groups[0];
      expect(saved.skipped_steps).toBe(next === 5 ? 3 : undefined);
    }
    const before = await snapshot(loaded);
    for (const bad of [-1, 1.5, '3', null, 2 ** 53, -0]) {
      const refused = { ...dict, param_groups: [{ ...older, skipped_steps: bad }] };
      await expect(loaded.loadStateDict(any(refused)), String(bad)).rejects.toThrow(
        'Expected skipped_steps in param_groups[0] to be a whole number of at least 0, less than 2^53 - 1, got ',
      );
    }
    await expectSnapshot(loaded, before);
  });

  test('groups of frozen tensors neither count a skipped step nor a taken one', async () => {
    const groups = () => [{ params: params() }, { params: { b: array(7, 3) } as Tensors }];
    const optimizer = await adamwScheduleFree(groups(), backend);
    optimizer.freeze(1);
    for (const t of [0, 1, 2]) optimizer.step({ ...given(t), b: array(7, 4) }, { ifFinite: true });
    const [first, second] = (await optimizer.stateDict()).param_groups;
    expect([first.k, first.skipped_steps, second.k, second.skipped_steps]).toEqual([1, 2, 0, undefined]);
  });

  test('a schedule counts skipped steps, and one that throws leaves them uncounted', async () => {
    const seen: number[] = [];
    let fails = false;
    const schedule = (t: number): number => {
      if (fails) throw new Error('no multiplier');
      seen.push(t);
      return 1;
    };
    const optimizer = await adamw(params(), { ...backend, schedule });
    for (const t of [0, 1, 2, 3]) optimizer.step(given(t), { ifFinite: true });
    expect(seen).toEqual([0, 1, 2, 3]);
    fails = true;
    expect(() => optimizer.step(given(6), { maxNorm: 1 })).toThrow('no multiplier');
    expect([await optimizer.skippedSteps(), optimizer.completedSteps]).toEqual([3, 4]);
    await expect(optimizer.gradNorm()).rejects.toThrow('There is no norm yet');
  });
});
