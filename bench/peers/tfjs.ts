// TensorFlow.js: its Adam. The gradients exist before the clock starts.

import type { System } from '../contender.js';
import { hyper } from '../truth.js';
import { load, versionOf } from './installed.js';

interface Tensor {
  dispose(): void;
  dataSync(): Float32Array;
}

/** The part that is used. */
interface TensorFlow {
  setBackend(name: string): Promise<boolean>;
  tensor1d(values: Float32Array): Tensor;
  variable(initial: Tensor, trainable: boolean, name: string): Tensor;
  tidy(run: () => void): void;
  readonly train: {
    adam(
      lr: number,
      beta1: number,
      beta2: number,
      eps: number,
    ): {
      applyGradients(grads: Readonly<Record<string, Tensor>>): void;
      dispose(): void;
    };
  };
}

export const tfjs = (backend: 'wasm' | 'cpu') => async (): Promise<System> => {
  const tf = load('@tensorflow/tfjs-core') as TensorFlow;
  const name = `@tensorflow/tfjs-backend-${backend}`;
  load(name);
  if (!(await tf.setBackend(backend))) throw new Error(`${name} does not start.`);
  return {
    version: versionOf(name),
    open({ length, param, grad }) {
      const initial = tf.tensor1d(param(new Float32Array(length)));
      const w = tf.variable(initial, true, 'w');
      initial.dispose();
      const grads = { w: tf.tensor1d(grad(new Float32Array(length))) };
      const adam = tf.train.adam(hyper.lr, ...hyper.betas, hyper.eps);
      return {
        step: () => tf.tidy(() => adam.applyGradients(grads)),
        read: () => w.dataSync(),
        close: () => [adam, w, grads.w].forEach((each) => each.dispose()),
      };
    },
  };
};
