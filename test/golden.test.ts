// Our error against the float64 trajectory of each reference must not exceed the reference's own float32 error.

import { afterAll, describe, expect, test } from 'vitest';
import { backends } from './support/backends.js';
import { cases, namesOf, run } from './support/golden.js';
import { largest } from './support/numbers.js';
import { GOLDEN, GOLDEN_RMS, ROUNDING } from './support/tolerances.js';

test('there are golden cases of every family', () => {
  const families = new Set(cases.map(({ name }) => name.split('-')[0]));
  expect([...families].toSorted()).toEqual(['adam', 'adamw', 'keras', 'optax', 'optimisers', 'paper']);
});

describe.each(backends)('%s', (backend, options) => {
  const squares = { ours: 0, reference: 0 };

  test.each(cases)('$name', async (golden) => {
    const trajectory = await run(golden, options);
    for (const name of namesOf(golden)) {
      let scale = largest(golden.arrays.get(`init/${name}`)!.data);
      for (const t of golden.record) {
        const exact = golden.arrays.get(`param64/${t}/${name}`)!.data;
        const reference = golden.arrays.get(`param/${t}/${name}`)!.data;
        const ours = trajectory.get(`${t}/${name}`)!;
        scale = Math.max(scale, largest(exact));
        const error = errors(ours, exact);
        const referenceError = errors(reference, exact);
        squares.ours += sumOfSquares(error, scale);
        squares.reference += sumOfSquares(referenceError, scale);
        const bound = Math.max(GOLDEN.ofReference * largest(referenceError), GOLDEN.roundings * ROUNDING * scale);
        expect(largest(error), `${name} at step ${t}`).toBeLessThanOrEqual(bound);
      }
    }
  });

  test('over all cases the root mean square of our error is below that of the references', () => {
    const ratio = Math.sqrt(squares.ours / squares.reference);
    expect(ratio).toBeGreaterThan(0);
    expect(ratio).toBeLessThanOrEqual(GOLDEN_RMS);
    ratios[backend] = ratio;
  });
});

const ratios: Record<string, number> = {};
afterAll(() => console.info('Root mean square error, as a part of the references’:', ratios));

const errors = (values: ArrayLike<number>, exact: ArrayLike<number>): number[] =>
  Array.from(values, (value, i) => value - exact[i]);

const sumOfSquares = (values: number[], scale: number): number =>
  values.reduce((sum, value) => sum + (value / scale) ** 2, 0);
