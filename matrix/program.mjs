// The training that every row of the matrix runs with the installed package: two optimizers, 200 steps each, on tensors
// of odd lengths, with a schedule, and saved and loaded halfway. The bits of the result are the same everywhere:
// besides steps there are only integer arithmetic, sums and products, which are the same on every engine.

import { adamw, adamwScheduleFree } from 'twinstep';
import { loadCheckpoint, saveCheckpoint } from 'twinstep/checkpoint';
import { coefficients } from 'twinstep/kernels';
import { cosineDecay, linearWarmup } from 'twinstep/schedules';

// The last one is long enough for threads to share it.
const LENGTHS = { scalar: 1, bias: 7, norm: 33, 'fc.bias': 129, 'fc.weight': 1001, embedding: 20_001 };
const STEPS = 200;

/** Returns a generator of numbers from -1/2 to 1/2, in steps of 2^-24 (linear congruential). */
function noise(seed) {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state >>> 8) / 2 ** 24 - 0.5;
  };
}

/** Returns a record of tensors, with elements by `value`. */
const tensors = (value) =>
  Object.fromEntries(
    Object.entries(LENGTHS).map(([name, length]) => [name, Float32Array.from({ length }, () => value(name))]),
  );

/** Returns copies of the parameters. */
async function readAll(optimizer) {
  const names = Object.keys(LENGTHS);
  const arrays = await Promise.all(names.map((name) => optimizer.read(name)));
  return Object.fromEntries(names.map((name, i) => [name, arrays[i]]));
}

const schedule = linearWarmup({ totalIters: 20 }, cosineDecay({ decaySteps: 200 }));

/**
 * Trains towards a target on noisy gradients. Continues halfway with another optimizer. Calls `stepped` after each
 * step.
 */
async function run(create, options, steps, stepped) {
  const [target, jitter] = [tensors(noise(1)), noise(2)];
  const make = () => create(tensors(noise(3)), { lr: 1 / 128, weightDecay: 1 / 64, schedule, ...options });
  let optimizer = await make();
  const gradients = tensors(() => 0);
  for (let t = 0; t < steps; t++) {
    if (t === STEPS / 2) {
      const checkpoint = await saveCheckpoint(optimizer);
      optimizer.dispose();
      optimizer = await make();
      await loadCheckpoint(optimizer, checkpoint);
    }
    const params = optimizer.backend.name === 'webgpu' ? await readAll(optimizer) : optimizer.params;
    for (const [name, gradient] of Object.entries(gradients)) {
      for (let i = 0; i < gradient.length; i++) gradient[i] = params[name][i] - target[name][i] + jitter();
    }
    optimizer.step(gradients);
    await stepped?.(optimizer);
  }
  return optimizer;
}

/** Does the first step only: in a runtime whose clock stops, the time is measured from outside. */
export const firstStep = async (options = {}) => (await run(adamw, options, 1)).backend;

/**
 * Returns the report: the backend and its reason, the bits of all parameters after the training, and the milliseconds
 * from `started` to the end of the first step.
 */
export async function train(options = {}, started = performance.now()) {
  let coldStart;
  const trained = await run(adamw, options, STEPS, async (optimizer) => {
    if (coldStart !== undefined) return;
    // Wait for the GPU.
    await optimizer.read('scalar');
    coldStart = performance.now() - started;
  });
  const averaged = await run(adamwScheduleFree, options, STEPS);
  averaged.eval();
  const arrays = [trained, averaged].map(async (optimizer) => Object.values(await readAll(optimizer)));
  const arithmetic = coefficients('adamw', { schedule });
  for (let t = 0; t < STEPS; t++) arithmetic.next();
  const all = [...(await Promise.all(arrays)).flat(), arithmetic.scalars()];
  const bits = all.flatMap((array) => [...new Uint32Array(array.buffer)]);
  const { name, reason } = trained.backend;
  for (const optimizer of [trained, averaged]) optimizer.dispose();
  return {
    name,
    reason,
    bits,
    coldStart,
    adapter: name === 'webgpu' ? await adapterName() : undefined,
  };
}

async function adapterName() {
  const { vendor, architecture, description } = (await navigator.gpu.requestAdapter()).info;
  return [vendor, architecture, description].filter(Boolean).join(' ');
}
