// Prints how many bytes of heap a step takes, by backend and the way of its gradients, and below how many it takes none.
// In a process of its own: what vitest compiles the tests into, the engine does not optimize as it does the package.
// `node --expose-gc --min-semi-space-size=512 --max-semi-space-size=512 allocations.mjs`: room for all that is allocated,
// since what is collected meanwhile would not be counted.

import { adamw } from 'twinstep';

const STEPS = 500_000;
/** No object is that small: what is left is the engine's own, and falls with the number of steps. */
const NOTHING = 8;
/** A fraction that is handed over is an object of 16 bytes to the engine, wherever a function is called with it. */
const FRACTION = 64;
const names = Array.from({ length: 4 }, (_, i) => `w${i}`);
const grads = Object.fromEntries(names.map((name) => [name, new Float32Array(8).fill(0.1)]));
const single = names.map((name) => ({ [name]: grads[name] }));
const [clipped, more] = [{ gradScale: 0.5 }, { more: true }];

const ways = {
  given: (optimizer) => optimizer.step(grads),
  own: (optimizer) => optimizer.step(),
  clipped: (optimizer) => optimizer.step(grads, clipped),
  'one by one': (optimizer) => {
    for (let i = 0; i < single.length; i++) optimizer.step(single[i], i < 3 ? more : undefined);
  },
  passing: (optimizer) => optimizer.step(grads),
};

const taken = {};
for (const [backend, way] of [...Object.keys(ways).map((each) => ['wasm', each]), ['reference', 'given']]) {
  const keepGrads = way !== 'passing';
  const optimizer = await adamw(grads, { backend, keepGrads, decayMask: (name) => name < 'w2' });
  const step = ways[way];
  const steps = (count) => {
    for (let t = 0; t < count; t++) step(optimizer);
  };
  steps(50_000);
  globalThis.gc();
  const before = process.memoryUsage().heapUsed;
  steps(STEPS);
  const bytes = (process.memoryUsage().heapUsed - before) / STEPS;
  taken[`${backend}, ${way}`] = { bytes, below: way === 'clipped' ? FRACTION : NOTHING };
}
console.log(JSON.stringify(taken));
