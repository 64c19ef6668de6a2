// The training that every row of the matrix runs, from the installed package: two optimizers, 200 steps each, on
// tensors of odd lengths, under a schedule and through a checkpoint. What it gives is the same bits wherever the steps
// are, for it has nothing else but integer arithmetic, sums and products, which every engine does alike.

import { adamw, adamwScheduleFree, enableWideSimd } from 'twinstep';
import { loadCheckpoint, saveCheckpoint } from 'twinstep/checkpoint';
import { coefficients } from 'twinstep/kernels';
import { cosineDecay, linearWarmup } from 'twinstep/schedules';

// The last one so long that threads share it.
const LENGTHS = { scalar: 1, bias: 7, norm: 33, 'fc.bias': 129, 'fc.weight': 1001, embedding: 20_001 };
const STEPS = 200;

/** Numbers from -1/2 to 1/2, in steps of 2^-24: a linear congruential generator. */
function noise(seed) {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state >>> 8) / 2 ** 24 - 0.5;
  };
}

/** A record of tensors, each element what `value` says. */
const tensors = (value) =>
  Object.fromEntries(
    Object.entries(LENGTHS).map(([name, length]) => [name, Float32Array.from({ length }, () => value(name))]),
  );

/** The parameters, wherever they are. */
async function readAll(optimizer) {
  const names = Object.keys(LENGTHS);
  const arrays = await Promise.all(names.map((name) => optimizer.read(name)));
  return Object.fromEntries(names.map((name, i) => [name, arrays[i]]));
}

const schedule = linearWarmup({ totalIters: 20 }, cosineDecay({ decaySteps: 200 }));

/** Draws parameters to a target, on noisy gradients; in the middle another optimizer goes on. Tells `stepped` of each. */
async function run(create, options, steps, stepped) {
  const [target, disturb] = [tensors(noise(1)), noise(2)];
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
      for (let i = 0; i < gradient.length; i++) gradient[i] = params[name][i] - target[name][i] + disturb();
    }
    optimizer.step(gradients);
    await stepped?.(optimizer);
  }
  return optimizer;
}

/** The first step alone: for runtimes whose clock stands still, so that it is taken from outside. */
export const firstStep = async (options = {}) => (await run(adamw, options, 1)).backend;

/**
 * What a row reports: the backend and its reason, the bits of all parameters after the training, and how many
 * milliseconds after `started` the first step was done. With `wide`, the bytes of core.wasm, by the kernels of enableWideSimd().
 */
export async function train({ wide, ...given } = {}, started = performance.now()) {
  let coldStart;
  const widened = wide && enableWideSimd(wide);
  const options = { ...given, wasm: widened?.wasm };
  const trained = await run(adamw, options, STEPS, async (optimizer) => {
    if (coldStart !== undefined) return;
    // A GPU has only been asked so far.
    await optimizer.read('scalar');
    coldStart = performance.now() - started;
  });
  const averaged = await run(adamwScheduleFree, options, STEPS);
  averaged.eval();
  const arrays = [trained, averaged].map(async (optimizer) => Object.values(await readAll(optimizer)));
  const told = coefficients('adamw', { schedule });
  for (let t = 0; t < STEPS; t++) told.next();
  const all = [...(await Promise.all(arrays)).flat(), told.scalars()];
  const bits = all.flatMap((array) => [...new Uint32Array(array.buffer)]);
  const { name, reason } = trained.backend;
  for (const optimizer of [trained, averaged]) optimizer.dispose();
  return {
    name,
    reason: [reason, widened?.reason].join(' ').trimEnd(),
    bits,
    coldStart,
    adapter: name === 'webgpu' ? await adapterName() : undefined,
  };
}

async function adapterName() {
  const { vendor, architecture, description } = (await navigator.gpu.requestAdapter()).info;
  return [vendor, architecture, description].filter(Boolean).join(' ');
}
