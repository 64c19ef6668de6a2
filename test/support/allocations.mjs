// Prints the heap bytes that a step allocates, by backend and way of passing gradients, and the limit below which only
// numbers and no other objects are allocated. Runs in its own process, because the engine does not optimize code
// compiled by vitest as it does the package. Run it with
// `node --expose-gc --min-semi-space-size=512 --max-semi-space-size=512 allocations.mjs`: a collection during the
// measurement would make the numbers too small, so the new space must hold everything.

import { adamw } from 'twinstep';

const STEPS = 500_000;
/** Allocations of the engine itself, per step. They shrink with the number of steps. */
const ENGINE = 8;
const names = Array.from({ length: 4 }, (_, i) => `w${i}`);
/**
 * A fractional number becomes a heap object of 16 bytes when it is passed to a call that the engine does not inline.
 * What it inlines differs from run to run: mostly a whole step, and in some runs two calls less for each of the 32
 * values in the reference's loop. A number given by the caller passes three calls that it never inlines. A sum of
 * squares passes one, and a tensor's coefficient two. A closure, or the iterator of a loop over two groups, takes more.
 */
const FRACTION = 16;
const FEW = 3;
const measured = { checked: names.length + FEW, 'each clipped': 2 * names.length + FEW };
const fractions = { scaled: 3 + FEW, ...measured, 'one by one': 4 * FEW, reference: 64 };
const grads = Object.fromEntries(names.map((name) => [name, new Float32Array(8).fill(0.1)]));
const single = names.map((name) => ({ [name]: grads[name] }));
const [scaled, more] = [{ gradScale: 0.5 }, { more: true }];
const [clipped, each, checked] = [{ maxNorm: 1 }, { maxNorm: { perTensor: 1 } }, { ifFinite: true }];

const given = (optimizer) => optimizer.step(grads);
const own = (optimizer) => optimizer.step();
const ways = {
  given,
  own,
  scaled: (optimizer) => optimizer.step(grads, scaled),
  clipped: (optimizer) => optimizer.step(grads, clipped),
  'each clipped': (optimizer) => optimizer.step(grads, each),
  checked: (optimizer) => optimizer.step(grads, checked),
  'one by one': (optimizer) => {
    for (let i = 0; i < single.length; i++) optimizer.step(single[i], i < 3 ? more : undefined);
  },
  passing: given,
};

const cases = [...Object.keys(ways).map((way) => ['wasm', way]), ['reference', 'given']];

const allocated = {};
for (const [backend, way] of cases) {
  const keepGrads = way !== 'passing';
  const optimizer = await adamw(grads, { backend, keepGrads, decayMask: (name) => name < 'w2' });
  const step = ways[way];
  const steps = (count) => {
    for (let t = 0; t < count; t++) step(optimizer);
  };
  const measure = () => {
    globalThis.gc();
    const before = process.memoryUsage().heapUsed;
    steps(STEPS);
    return (process.memoryUsage().heapUsed - before) / STEPS;
  };
  steps(300_000);
  // Measure twice: the engine may still be compiling the first time.
  const bytes = Math.min(measure(), measure());
  allocated[`${backend}, ${way}`] = { bytes, below: ENGINE + FRACTION * (fractions[backend] ?? fractions[way] ?? FEW) };
}
console.log(JSON.stringify(allocated));
