// AdamW as a plain JavaScript loop over typed arrays, three times: with the textbook formula; with everything that
// depends only on the step folded into scalars; and folded with each operation rounded to f32, which gives the same
// bits as our kernels.

import type { System } from '../contender.js';
import { hyper } from '../truth.js';

const { lr, betas, eps, weightDecay } = hyper;
const [beta1, beta2] = betas;

interface Arrays {
  readonly w: Float32Array;
  readonly grad: Float32Array;
  readonly m: Float32Array;
  readonly v: Float32Array;
}

export function textbook({ w, grad, m, v }: Arrays, t: number): void {
  const correction1 = 1 - beta1 ** t;
  const correction2 = 1 - beta2 ** t;
  for (let i = 0; i < w.length; i++) {
    const g = grad[i];
    const mi = (m[i] = beta1 * m[i] + (1 - beta1) * g);
    const vi = (v[i] = beta2 * v[i] + (1 - beta2) * g * g);
    w[i] = w[i] - lr * weightDecay * w[i] - (lr * (mi / correction1)) / (Math.sqrt(vi / correction2) + eps);
  }
}

function folded(t: number): { stepSize: number; epsHat: number } {
  const root = Math.sqrt(1 - beta2 ** t);
  return { stepSize: (lr * root) / (1 - beta1 ** t), epsHat: eps * root };
}

/** Computes in f64; rounds to f32 only in stores. */
export function foldedInF64({ w, grad, m, v }: Arrays, t: number): void {
  const { stepSize, epsHat } = folded(t);
  const [gradWeight, squareWeight, decay] = [1 - beta1, 1 - beta2, lr * weightDecay];
  for (let i = 0; i < w.length; i++) {
    const g = grad[i];
    const mi = m[i] + gradWeight * (g - m[i]);
    const vi = v[i] + squareWeight * (g * g - v[i]);
    m[i] = mi;
    v[i] = vi;
    w[i] -= (stepSize * mi) / (Math.sqrt(vi) + epsHat) + decay * w[i];
  }
}

export function foldedInF32({ w, grad, m, v }: Arrays, t: number): void {
  const { fround } = Math;
  const { stepSize, epsHat } = folded(t);
  const [size, epsilon, decay] = [stepSize, epsHat, lr * weightDecay].map(fround);
  const [gradWeight, squareWeight] = [1 - beta1, 1 - beta2].map(fround);
  for (let i = 0; i < w.length; i++) {
    const g = grad[i];
    const p = w[i];
    let mi = fround(m[i] + fround(gradWeight * fround(g - m[i])));
    if (Math.abs(mi) < 2 ** -126) mi = 0;
    const vi = fround(v[i] + fround(squareWeight * fround(fround(g * g) - v[i])));
    m[i] = mi;
    v[i] = vi;
    const step = fround(fround(size * mi) / fround(fround(Math.sqrt(vi)) + epsilon));
    w[i] = fround(p - fround(step + fround(decay * p)));
  }
}

export const loop = (update: (arrays: Arrays, t: number) => void) => (): Promise<System> =>
  Promise.resolve({
    version: '',
    open({ length, param, grad }) {
      const arrays = {
        w: param(new Float32Array(length)),
        grad: grad(new Float32Array(length)),
        m: new Float32Array(length),
        v: new Float32Array(length),
      };
      let t = 0;
      return { step: () => update(arrays, (t += 1)), read: () => arrays.w, close: () => {} };
    },
  });
