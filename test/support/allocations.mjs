// Prints how many bytes of heap a step takes, by backend and the way of its gradients, and below how many these are no
// objects but numbers. In a process of its own: what vitest compiles the tests into, the engine does not optimize as it
// does the package. `node --expose-gc --min-semi-space-size=512 --max-semi-space-size=512 allocations.mjs`: room for all
// that is allocated, since what is collected meanwhile would not be counted.

import { adamw } from 'twinstep';

const STEPS = 500_000;
/** What is left is the engine's own, and falls with the number of steps. */
const NOTHING = 8;
/**
 * A fraction is an object of 16 bytes where it passes a call that the engine does not inline, and what it inlines differs
 * from run to run: mostly all of a step, and of the reference's less. One that is handed over passes three calls that it
 * never does. A closure, or the iterator of a loop over two groups, is more than these.
 */
const FRACTION = 16;
const FEW = 3;
const fractions = { clipped: 3 + FEW, 'one by one': 4 * FEW, reference: 32 };
const names = Array.from({ length: 4 }, (_, i) => `w${i}`);
const grads = Object.fromEntries(names.map((name) => [name, new Float32Array(8).fill(0.1)]));
const single = names.map((name) => ({ [name]: grads[name] }));
const [clipped, more] = [{ gradScale: 0.5 }, { more: true }];

const given = (optimizer) => optimizer.step(grads);
const own = (optimizer) => optimizer.step();
const ways = {
  given,
  own,
  clipped: (optimizer) => optimizer.step(grads, clipped),
  'one by one': (optimizer) => {
    for (let i = 0; i < single.length; i++) optimizer.step(single[i], i < 3 ? more : undefined);
  },
  passing: given,
};

const cases = [...Object.keys(ways).map((way) => ['wasm', way]), ['reference', 'given']];

const taken = {};
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
  // Twice, since an engine may still be compiling.
  const bytes = Math.min(measure(), measure());
  taken[`${backend}, ${way}`] = { bytes, below: NOTHING + FRACTION * (fractions[backend] ?? fractions[way] ?? FEW) };
}
console.log(JSON.stringify(taken));
