// Prints how many bytes of heap a step takes, by backend. In a process of its own: what vitest compiles the tests into,
// the engine does not optimize as it does the package. `node --expose-gc --max-semi-space-size=512 allocations.mjs`.

import { adamw } from 'twinstep';

const STEPS = 500_000;
const taken = {};
for (const backend of ['wasm', 'reference']) {
  const grads = Object.fromEntries(Array.from({ length: 4 }, (_, i) => [`w${i}`, new Float32Array(8).fill(0.1)]));
  const optimizer = await adamw(grads, { backend, decayMask: (name) => name < 'w2' });
  const steps = (count) => {
    for (let t = 0; t < count; t++) optimizer.step(grads);
  };
  steps(50_000);
  globalThis.gc();
  const before = process.memoryUsage().heapUsed;
  steps(STEPS);
  taken[backend] = (process.memoryUsage().heapUsed - before) / STEPS;
}
console.log(JSON.stringify(taken));
