// Tests that our error against the float64 trajectory of each reference is at most the bound in tolerances.ts.

import { readFileSync } from 'node:fs';
import { afterAll, describe, expect, test } from 'vitest';
import { backends } from './support/backends.js';
import { cases, namesOf, run, type Case } from './support/golden.js';
import { largest } from './support/numbers.js';
import { GOLDEN, GOLDEN_RMS, GOLDEN_STATE, ROUNDING } from './support/tolerances.js';

test('every family has golden cases', () => {
  const families = new Set(cases.map(({ name }) => name.split('-')[0]));
  expect([...families].toSorted()).toEqual([
    'adam',
    'adamw',
    'clip',
    'keras',
    'nadam',
    'nadamw',
    'optax',
    'optimisers',
    'paper',
    'radam',
    'radamw',
    'scaler',
    'sf',
  ]);
});

describe.each(backends)('%s', (backend, options) => {
  const squares = { ours: 0, reference: 0 };

  test.each(cases)('follows $name', async (golden) => {
    const trajectory = await run(golden, options);
    expect(trajectory.size).toBeGreaterThanOrEqual(golden.record.length * namesOf(golden).length);
    for (const [key, { data }] of golden.arrays) {
      if (!key.startsWith('scale/')) continue;
      expect(trajectory.get(key)?.[0], key).toBe(data[0]);
      trajectory.delete(key);
    }
    // Take the reference's largest error at a step over all tensors: a single number may happen to be exact.
    const largestError = new Map<string, number>();
    for (const key of trajectory.keys()) {
      const { reference, exact, step } = expected(golden, key);
      const error = largest(errors(reference, exact));
      largestError.set(step, Math.max(error, largestError.get(step) ?? 0));
    }
    const scales = new Map<string, number>();
    for (const [key, ours] of trajectory) {
      const { reference, exact, step, name } = expected(golden, key);
      const isState = step.startsWith('state');
      const before = isState ? 0 : (scales.get(name) ?? largest(golden.arrays.get(`init/${name}`)!.data));
      const scale = Math.max(before, largest(exact));
      if (!isState) scales.set(name, scale);
      const error = errors(ours, exact);
      if (!isState) {
        squares.ours += sumOfSquares(error, scale);
        squares.reference += sumOfSquares(errors(reference, exact), scale);
      }
      const { ofReference, roundings } = isState ? GOLDEN_STATE : GOLDEN;
      const bound = Math.max(ofReference * largestError.get(step)!, roundings * ROUNDING * scale);
      expect(largest(error), key).toBeLessThanOrEqual(bound);
    }
  });

  test('the root mean square of our error over all cases is at most that of the references', () => {
    const ratio = Math.sqrt(squares.ours / squares.reference);
    expect(ratio).toBeGreaterThan(0);
    expect(ratio).toBeLessThanOrEqual(GOLDEN_RMS);
    ratios[backend] = ratio;
    // The README quotes this ratio.
    const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
    if (backend === 'wasm')
      expect(readme.replace(/\s+/g, ' ')).toContain(`error is ${ratio.toFixed(2)} of the references' own`);
  });
});

const ratios: Record<string, number> = {};
afterAll(() => console.info('Root mean square error, divided by that of the references:', ratios));

/** Returns the reference's values for a key such as `param/<t>/<name>`, in f32 and in f64. */
const expected = ({ arrays }: Case, key: string) => {
  const name = key.slice(key.lastIndexOf('/') + 1);
  const step = key.slice(0, -name.length - 1);
  const reference = arrays.get(key)!.data;
  // Counters have no separate f64 value.
  const exact = arrays.get(key.replace(/^(param|eval|state)/, '$164'))?.data ?? reference;
  return { exact, reference, step, name };
};

const errors = (values: ArrayLike<number>, exact: ArrayLike<number>): number[] =>
  Array.from(values, (value, i) => value - exact[i]);

const sumOfSquares = (values: number[], scale: number): number =>
  values.reduce((sum, value) => sum + (value / scale) ** 2, 0);
