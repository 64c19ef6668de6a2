// Tests that for every algorithm WASM gives the bits of the reference, and WebGPU the reference within the tolerance.

import * as twinstep from 'twinstep';
import { coefficients, kernels, type AlgorithmName } from 'twinstep/kernels';
import { describe, expect, test } from 'vitest';
import { backends, webgpu, type Options } from './support/backends.js';
import { array, difference, ordinary, special, tensors, wide, type Draw } from './support/numbers.js';
import type { Tensors } from './support/tensors.js';
import { ROUNDING, webgpuRoundings } from './support/tolerances.js';

const { adam, adamw } = twinstep;
type Name = Exclude<AlgorithmName, 'ema'>;
/** Returns the function that makes an algorithm, with the type of Adam's. */
const makerOf = (name: Name): typeof adam => twinstep[name] as unknown as typeof adam;

const STEPS = 20;
const every = Array.from({ length: 67 }, (_, i) => i + 1);

/** Options that together give any two scalars of every rule different values. */
const variants: [string, Name, Options][] = [
  ['adam', 'adam', {}],
  ['adam with L2', 'adam', { lr: 0.02, weightDecay: 0.1 }],
  ['adam, maximize, gradScale', 'adam', { maximize: true, gradScale: 0.37, weightDecay: 0.03 }],
  ['adam, betas, epsHat', 'adam', { betas: [0.5, 0.9], eps: 1e-3, epsHat: true }],
  ['adam, beta1 = 0, eps = 0', 'adam', { betas: [0, 0.99], eps: 0 }],
  ['adamw', 'adamw', { lr: 0.01, weightDecay: 0.3 }],
  ['adamw uncoupled', 'adamw', { lr: 0.01, weightDecay: 0.02, couple: false }],
  [
    'adamw, schedule, mask',
    'adamw',
    { schedule: (t: number) => 1 / (1 + t), decayMask: (name: string) => name < 'w3' },
  ],
  ['adamw, nesterov', 'adamw', { lr: 0.01, weightDecay: 0.1, nesterov: true }],
  ['adam, epsRoot', 'adam', { lr: 0.01, epsRoot: 1e-4, weightDecay: 0.1 }],
  ['nadam', 'nadam', { weightDecay: 0.1 }],
  ['radam', 'radam', { lr: 0.01, weightDecay: 0.1, decoupledWeightDecay: true }],
  ['adamwScheduleFree', 'adamwScheduleFree', { lr: 0.01, weightDecay: 0.1, warmupSteps: 5 }],
  ['adamwScheduleFree, inner momentum', 'adamwScheduleFree', { innerMomentum: 0.9, decayAt: 'z', weightDecay: 0.1 }],
  [
    'adamwScheduleFree, inner momentum, decay at y, gradScale',
    'adamwScheduleFree',
    { innerMomentum: 0.9, weightDecay: 0.1, gradScale: 0.37 },
  ],
  ['radamScheduleFree', 'radamScheduleFree', { lr: 0.01, silentSgdPhase: false }],
  ['radamScheduleFree, decay at z', 'radamScheduleFree', { lr: 0.01, weightDecay: 0.1, decayAt: 'z' }],
  ['sgdScheduleFree', 'sgdScheduleFree', { lr: 0.1, weightDecay: 0.01, momentum: 0.95, maximize: true }],
  ['sgdScheduleFree, decay at z', 'sgdScheduleFree', { lr: 0.1, weightDecay: 0.01, decayAt: 'z' }],
  ['adam, amsgrad', 'adam', { amsgrad: true, lr: 0.01 }],
  ['adam, amsgrad with L2', 'adam', { amsgrad: true, lr: 0.01, weightDecay: 0.1 }],
  ['adamw, amsgrad', 'adamw', { amsgrad: true, lr: 0.01, weightDecay: 0.1, maximize: true }],
];

test('variants have every rule that takes steps, and tell its scalars apart', () => {
  const wrong: string[] = [];
  for (const [rule, { scalars }] of Object.entries(kernels)) {
    if (rule === 'ema' || rule === 'extrapolate') continue;
    const blocks = variants.flatMap(([, name, options]) => {
      const steps = coefficients(name, { ...options, decayMask: undefined });
      if (steps.kernel !== rule) return [];
      // At step 64, flush_below is not 0.
      return Array.from({ length: 64 }, () => {
        steps.next();
        return steps.scalars();
      });
    });
    if (blocks.length === 0) wrong.push(`no variant chooses the rule ${rule}`);
    for (const [i, one] of scalars.entries()) {
      for (const [k, two] of scalars.entries()) {
        if (k > i && blocks.length > 0 && blocks.every((block) => block[i] === block[k])) {
          wrong.push(`no variant gives ${one} and ${two} of ${rule} different values`);
        }
      }
    }
  }
  expect(wrong).toEqual([]);
});

/** Returns the gradients of step t. Every third step has none for every second tensor. */
function gradients(lengths: readonly number[], t: number, draw: Draw): Tensors {
  const grads = tensors(lengths, 1 + t, draw);
  if (t % 3 === 0) for (const length of lengths.filter((_, i) => i % 2 === 0)) delete grads[`w${length}`];
  return grads;
}

/** Returns the parameters after `steps` steps. */
async function train(
  make: typeof adam,
  options: Options,
  lengths: readonly number[],
  draw: Draw,
  steps: number,
): Promise<Tensors> {
  const params = tensors(lengths, 1, draw === special ? wide : draw);
  const optimizer = await make(params, options);
  for (let t = 1; t <= steps; t++) optimizer.step(gradients(lengths, t, draw));
  const read = await Promise.all(lengths.map(async (n) => [`w${n}`, await optimizer.read(`w${n}`)] as const));
  optimizer.dispose();
  return Object.fromEntries(read);
}

const draws: [string, Draw][] = [
  ['ordinary numbers', ordinary],
  ['mixed magnitudes', wide],
  ['zeros, subnormals, infinities and NaN', special],
];

/**
 * Whether two numbers have the same bits, or with `roundings` are that close. The scale of a number is its value plus
 * its steps; each step is less than 1.
 */
function isClose(actual: number, expected: number, roundings?: number): boolean {
  if (roundings === undefined) return Object.is(actual, expected);
  if (!Number.isFinite(expected)) return !Number.isFinite(actual);
  return Math.abs(actual - expected) <= roundings * ROUNDING * (Math.abs(expected) + STEPS);
}

/** Expects the parameters of the reference. If one differs, finds a step that makes it differ. */
async function expectAgreement(
  make: typeof adam,
  options: Options,
  backend: Options,
  { lengths, draw, steps }: { lengths: readonly number[]; draw: Draw; steps: number },
): Promise<void> {
  const roundings = 'device' in backend ? webgpuRoundings(webgpu!.adapter, steps) : undefined;
  const differenceAfter = async (completed: number): Promise<string | undefined> => {
    const reference = await train(make, { ...options, backend: 'reference' }, lengths, draw, completed);
    const stepped = await train(make, { ...options, ...backend }, lengths, draw, completed);
    for (const [name, expected] of Object.entries(reference)) {
      expect(stepped[name]).toHaveLength(expected.length);
      const i = expected.findIndex((value, k) => !isClose(stepped[name][k], value, roundings));
      if (i < 0) continue;
      const bound = `within ${roundings} roundings, the bound for ${webgpu?.adapter}`;
      const how = roundings === undefined ? 'with the same bits' : bound;
      const grad = gradients(lengths, completed, draw)[name]?.[i];
      return `${name}[${i}] is ${stepped[name][i]}, not ${expected[i]} ${how}, after step ${completed} with the gradient ${grad}`;
    }
    return undefined;
  };
  let found = await differenceAfter(steps);
  if (found === undefined) return;
  for (let [equal, different] = [0, steps]; different - equal > 1;) {
    const middle = Math.floor((equal + different) / 2);
    const earlier = await differenceAfter(middle);
    if (earlier === undefined) equal = middle;
    else [different, found] = [middle, earlier];
  }
  expect.fail(found);
}

describe.each(variants)('%s', (...[, algorithm, options]) => {
  describe.each(draws)('%s', (...[, draw]) => {
    const work = { lengths: every, draw, steps: STEPS };
    test('WASM gives the bits of the reference for every length from 1 to 67', () =>
      expectAgreement(makerOf(algorithm), options, { backend: 'wasm' }, work));

    // With eps = 0 the denominator may be a subnormal second moment, which WGSL may flush to 0: no bound holds.
    const gpu = options.eps === 0 && draw === special ? [] : backends.slice(2);
    test.each(gpu)('%s gives the reference within the tolerance for every length from 1 to 67', (...[, backend]) =>
      expectAgreement(makerOf(algorithm), options, backend, work),
    );
  });
});

test.each(every)('WASM gives the bits of the reference for a single tensor of length %i', (length) =>
  expectAgreement(adamw, { amsgrad: true }, { backend: 'wasm' }, { lengths: [length], draw: wide, steps: 3 }),
);

const large = [0, 1, 4097, 1_000_003];

test('WASM gives the bits of the reference for large tensors, an empty one and one element', () =>
  expectAgreement(adamw, {}, { backend: 'wasm' }, { lengths: large, draw: wide, steps: 4 }));

test.each(backends.slice(2))('%s gives the reference within the tolerance for large tensors', (...[, backend]) =>
  expectAgreement(adamw, {}, backend, { lengths: large, draw: ordinary, steps: 4 }),
);

test('WASM gives the bits of the reference over 2000 steps', () =>
  expectAgreement(adamw, {}, { backend: 'wasm' }, { lengths: [7, 64, 200], draw: ordinary, steps: 2000 }));

describe.each([
  ['adamw', adamw, {}],
  ['adam, amsgrad', adam, { amsgrad: true }],
  ['nadam', makerOf('nadam'), {}],
  ['radam', makerOf('radam'), {}],
  ['adamwScheduleFree, inner momentum', makerOf('adamwScheduleFree'), { innerMomentum: 0.9 }],
] as [string, typeof adam, Options][])('%s, over 200 steps with mostly zero gradients,', (...[, make, options]) => {
  test('gives the same bits on WASM and the reference, including subnormal moments and flushes', async () => {
    const moments = async (backend: 'wasm' | 'reference'): Promise<Float32Array[]> => {
      const optimizer = await make({ w: array(67, 1) }, { ...options, betas: [0.7, 0.999], backend });
      const seen: Float32Array[] = [];
      for (let t = 0; t < 200; t++) {
        const size = t % 90 === 0 ? 1e-36 : 0;
        optimizer.step({ w: array(67, t).map((x) => x * size) });
        const { state } = await optimizer.stateDict();
        seen.push(optimizer.params.w.slice(), state[0].exp_avg as Float32Array, state[0].exp_avg_sq as Float32Array);
      }
      return seen;
    };
    const [wasm, reference] = [await moments('wasm'), await moments('reference')];
    const isSubnormal = (x: number): boolean => x !== 0 && Math.abs(x) < 2 ** -126;
    expect(reference.some((values) => values.some(isSubnormal))).toBe(true);
    for (const [i, values] of reference.entries()) {
      const what = ['w', 'exp_avg', 'exp_avg_sq'][i % 3];
      expect(difference(wasm[i], values), `${what} after step ${Math.floor(i / 3) + 1}`).toBeUndefined();
    }
  });
});
