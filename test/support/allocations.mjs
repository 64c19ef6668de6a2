// Prints how many bytes of heap a step takes, by algorithm, backend and the way of its gradients, and below how many it
// is no object. In a process of its own: what vitest compiles the tests into, the engine does not optimize as it does the
// package. `node --expose-gc --min-semi-space-size=512 --max-semi-space-size=512 allocations.mjs`: room for all that is
// allocated, since what is collected meanwhile would not be counted.

import * as twinstep from 'twinstep';

const STEPS = 1_000_000;
/** What is left is the engine's own, and falls with the number of steps. */
const NOTHING = 8;
/** A fraction that is handed over passes three calls which are not inlined: it is an object of 16 bytes for each. */
const FRACTION = 3 * 16;
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

const cases = [
  ...Object.keys(ways).map((way) => ['adamw', 'wasm', way]),
  ['adamw', 'reference', 'given'],
  // NAdam and Schedule-Free have such fractions of their own, and how many depends on what the engine has inlined.
  ['radam', 'wasm', 'given'],
];

const taken = {};
for (const [algorithm, backend, way] of cases) {
  const keepGrads = way !== 'passing';
  const optimizer = await twinstep[algorithm](grads, { backend, keepGrads, decayMask: (name) => name < 'w2' });
  const step = ways[way];
  const steps = (count) => {
    for (let t = 0; t < count; t++) step(optimizer);
  };
  steps(300_000);
  globalThis.gc();
  const before = process.memoryUsage().heapUsed;
  steps(STEPS);
  const bytes = (process.memoryUsage().heapUsed - before) / STEPS;
  taken[`${algorithm}, ${backend}, ${way}`] = { bytes, below: (way === 'clipped' ? FRACTION : 0) + NOTHING };
}
console.log(JSON.stringify(taken));
