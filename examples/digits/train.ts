// A training run: the loop that a user would write, with the optimizer's step timed.

import { adam, adamw, adamwScheduleFree } from 'twinstep';
import { images, initialWeights, labels, pytorch } from './data.js';
import { accuracy, lossAndGradients } from './model.js';

export const optimizers = { adam, adamw, adamwScheduleFree };
export type Backend = 'reference' | 'wasm' | 'webgpu';

export interface Result {
  readonly backend: Backend;
  readonly optimizer: string;
  /** The loss of each batch, before its step; for Schedule-Free at y. */
  readonly losses: readonly number[];
  /** The accuracy of the trained weights; for Schedule-Free of the average x. */
  readonly testAccuracy: number;
  /** The median time of a step, including the GPU's work. */
  readonly microseconds: number;
}

const { batch, steps, train: trainCount } = pytorch;
const testIndices = Array.from({ length: labels.length - trainCount }, (_, i) => trainCount + i);

/** Trains from the initial weights, in PyTorch's batch order. The backend webgpu needs `device`. */
export async function train(
  optimizerName: keyof typeof optimizers,
  backend: Backend,
  device: GPUDevice | undefined,
  onStep: () => void,
): Promise<Result> {
  const { decay, ...options } = pytorch.runs[optimizerName].options;
  const decayMask = decay === 'weights only' ? (name: string) => name.endsWith('.weight') : undefined;
  const create = optimizers[optimizerName] as typeof adam;
  const optimizer = await create(initialWeights(), { ...options, decayMask, backend, device });
  const losses: number[] = [];
  const times: number[] = [];
  const weights = initialWeights();
  const grads = initialWeights();
  for (let t = 0; t < steps; t++) {
    const indices = Array.from({ length: batch }, (_, i) => (t * batch + i) % trainCount);
    losses.push(lossAndGradients(weights, grads, images, labels, indices));

    const start = performance.now();
    optimizer.step(grads);
    await device?.queue.onSubmittedWorkDone();
    times.push(performance.now() - start);

    for (const name in weights) weights[name].set(await optimizer.read(name));
    onStep();
  }
  optimizer.eval();
  for (const name in weights) weights[name].set(await optimizer.read(name));
  optimizer.dispose();
  return {
    backend,
    optimizer: optimizerName,
    losses,
    testAccuracy: accuracy(weights, images, labels, testIndices),
    microseconds: 1000 * times.toSorted((a, b) => a - b)[steps >> 1],
  };
}
