// Tests that for every algorithm WASM gives the bits of the reference, and WebGPU the reference within the tolerance.

import * as twinstep from 'twinstep';
import { describe, expect, test } from 'vitest';
import { backends, webgpu, type Options } from './support/backends.js';
import { array, difference, ordinary, special, tensors, wide, type Draw } from './support/numbers.js';
import { ROUNDING, webgpuRoundings } from './support/tolerances.js';

const { adam, adamw } = twinstep;
/** Returns another algorithm with the type of Adam. */
const other = (name: 'nadam' | 'radam' | 'adamwScheduleFree' | 'radamScheduleFree' | 'sgdScheduleFree'): typeof adam =>
  twinstep[name] as unknown as typeof adam;

const STEPS = 20;
const every = Array.from({ length: 67 }, (_, i) => i + 1);

/** Options that together give every scalar of every rule a distinct value. */
const variants: [string, typeof adam, Options][] = [
  ['adam', adam, {}],
  ['adam with L2', adam, { lr: 0.02, weightDecay: 0.1 }],
  ['adam, maximize, gradScale', adam, { maximize: true, gradScale: 0.37, weightDecay: 0.03 }],
  ['adam, betas, epsHat', adam, { betas: [0.5, 0.9], eps: 1e-3, epsHat: true }],
  ['adam, beta1 = 0, eps = 0', adam, { betas: [0, 0.99], eps: 0 }],
  ['adamw', adamw, { lr: 0.01, weightDecay: 0.3 }],
  ['adamw uncoupled', adamw, { lr: 0.01, weightDecay: 0.02, couple: false }],
  ['adamw, schedule, mask', adamw, { schedule: (t: number) => 1 / (1 + t), decayMask: (name: string) => name < 'w3' }],
  ['adamw, nesterov', adamw, { lr: 0.01, weightDecay: 0.1, nesterov: true }],
  ['adam, epsRoot', adam, { lr: 0.01, epsRoot: 1e-4, weightDecay: 0.1 }],
  ['nadam', other('nadam'), { weightDecay: 0.1 }],
  ['radam', other('radam'), { lr: 0.01, weightDecay: 0.1, decoupledWeightDecay: true }],
  ['adamwScheduleFree', other('adamwScheduleFree'), { lr: 0.01, weightDecay: 0.1, warmupSteps: 5 }],
  [
    'adamwScheduleFree, inner momentum',
    other('adamwScheduleFree'),
    { innerMomentum: 0.9, decayAt: 'z', weightDecay: 0.1 },
  ],
  ['radamScheduleFree', other('radamScheduleFree'), { lr: 0.01, silentSgdPhase: false }],
  ['sgdScheduleFree', other('sgdScheduleFree'), { lr: 0.1, weightDecay: 0.01, momentum: 0.95, maximize: true }],
  ['adam, amsgrad', adam, { amsgrad: true, lr: 0.01 }],
  ['adamw, amsgrad', adamw, { amsgrad: true, lr: 0.01, weightDecay: 0.1, maximize: true }],
];

/** Returns the parameters after `steps` steps. Every third step has no gradient for every second tensor. */
async function train(
  make: typeof adam,
  options: Options,
  lengths: readonly number[],
  draw: Draw,
  steps: number,
): Promise<Record<string, Float32Array>> {
  const params = tensors(lengths, 1, draw === special ? wide : draw);
  const optimizer = await make(params, options);
  for (let t = 1; t <= steps; t++) {
    const grads = tensors(lengths, 1 + t, draw);
    if (t % 3 === 0) for (const length of lengths.filter((_, i) => i % 2 === 0)) delete grads[`w${length}`];
    optimizer.step(grads);
  }
  const read = await Promise.all(lengths.map(async (n) => [`w${n}`, await optimizer.read(`w${n}`)] as const));
  optimizer.dispose();
  return Object.fromEntries(read);
}

const draws: [string, Draw][] = [
  ['ordinary numbers', ordinary],
  ['mixed magnitudes', wide],
  ['zeros, subnormals, infinities and NaN', special],
];

describe.each(variants)('%s', (...[, make, options]) => {
  describe.each(draws)('%s', (...[, draw]) => {
    test('WASM gives the bits of the reference for every length from 1 to 67', async () => {
      const reference = await train(make, { ...options, backend: 'reference' }, every, draw, STEPS);
      const wasm = await train(make, { ...options, backend: 'wasm' }, every, draw, STEPS);
      for (const name in reference) expect(difference(wasm[name], reference[name]), name).toBeUndefined();
    });

    // With eps = 0 the denominator may be a subnormal second moment, which WGSL may flush to 0: no bound holds.
    const gpu = options.eps === 0 && draw === special ? [] : backends.slice(2);
    test.each(gpu)(
      '%s gives the reference within the tolerance for every length from 1 to 67',
      async (...[, backend]) => {
        const reference = await train(make, { ...options, backend: 'reference' }, every, draw, STEPS);
        const stepped = await train(make, { ...options, ...backend }, every, draw, STEPS);
        const roundings = webgpuRoundings(webgpu!.adapter, STEPS);
        for (const name in reference) expectClose(stepped[name], reference[name], roundings, name);
      },
    );
  });
});

test.each(every)('WASM gives the bits of the reference for a single tensor of length %i', async (length) => {
  const reference = await train(adamw, { backend: 'reference', amsgrad: true }, [length], wide, 3);
  const wasm = await train(adamw, { backend: 'wasm', amsgrad: true }, [length], wide, 3);
  expect(difference(wasm[`w${length}`], reference[`w${length}`])).toBeUndefined();
});

const large = [0, 1, 4097, 1_000_003];

test('WASM gives the bits of the reference for large tensors, an empty one and one element', async () => {
  const reference = await train(adamw, { backend: 'reference' }, large, wide, 4);
  const wasm = await train(adamw, { backend: 'wasm' }, large, wide, 4);
  for (const name in reference) expect(difference(wasm[name], reference[name]), name).toBeUndefined();
});

test.each(backends.slice(2))(
  '%s gives the reference within the tolerance for large tensors',
  async (...[, backend]) => {
    const reference = await train(adamw, { backend: 'reference' }, large, ordinary, 4);
    const gpu = await train(adamw, backend, large, ordinary, 4);
    for (const name in reference) expectClose(gpu[name], reference[name], webgpuRoundings(webgpu!.adapter, 4), name);
  },
);

test('WASM gives the bits of the reference over 2000 steps', async () => {
  const reference = await train(adamw, { backend: 'reference' }, [7, 64, 200], ordinary, 2000);
  const wasm = await train(adamw, { backend: 'wasm' }, [7, 64, 200], ordinary, 2000);
  for (const name in reference) expect(difference(wasm[name], reference[name]), name).toBeUndefined();
});

describe.each([
  ['adamw', adamw, {}],
  ['adam, amsgrad', adam, { amsgrad: true }],
  ['nadam', other('nadam'), {}],
  ['radam', other('radam'), {}],
  ['adamwScheduleFree, inner momentum', other('adamwScheduleFree'), { innerMomentum: 0.9 }],
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
    for (const [i, values] of reference.entries()) expect(difference(wasm[i], values), `${i}`).toBeUndefined();
  });
});

/** Checks each element against its own scale: its value, plus its steps, each of which is less than 1. */
function expectClose(actual: Float32Array, expected: Float32Array, roundings: number, name: string): void {
  for (let i = 0; i < expected.length; i++) {
    if (Number.isFinite(expected[i])) {
      const bound = roundings * ROUNDING * (Math.abs(expected[i]) + STEPS);
      const error = Math.abs(actual[i] - expected[i]);
      if (!(error <= bound)) expect.fail(`${name}[${i}] is ${actual[i]}, not ${expected[i]} within ${bound}`);
    } else if (Number.isFinite(actual[i])) {
      expect.fail(`${name}[${i}] is ${actual[i]}, not ${expected[i]}`);
    }
  }
}
