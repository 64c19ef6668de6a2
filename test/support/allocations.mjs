// Prints how many bytes of heap a step takes, by backend and the way of its gradients, and below how many it takes no
// object. In a process of its own: what vitest compiles the tests into, the engine does not optimize as it does the
// package. `node --expose-gc --min-semi-space-size=512 --max-semi-space-size=512 allocations.mjs`: room for all that is
// allocated, since what is collected meanwhile would not be counted.

import { adamw } from 'twinstep';

const STEPS = 500_000;
/** What is left is the engine's own, and falls with the number of steps. */
const NOTHING = 8;
/**
 * A fraction that passes a call which is not inlined is an object of 16 bytes. One that is handed over passes three. The
 * reference reads the scalars of two runs, which is inlined or not as the engine likes, and so is what NAdam and
 * Schedule-Free compute, which are not measured here.
 */
const FRACTION = 16;
const fractions = { 'adamw, wasm, clipped': 3, 'adamw, reference, given': 32 };
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
  const name = `adamw, ${backend}, ${way}`;
  // Twice, since an engine may still be compiling.
  taken[name] = { bytes: Math.min(measure(), measure()), below: NOTHING + FRACTION * (fractions[name] ?? 0) };
}
console.log(JSON.stringify(taken));
