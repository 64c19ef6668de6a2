// The numbers that contenders are given: for their speed, for their memory, and for the error of one update.

import type { Model } from './contender.js';

/**
 * Away from zero, so that no number becomes subnormal in a billion steps, and gradients by so much that an L2 decay does
 * not cancel them. bench/peers/pytorch.py has the same.
 */
const steady =
  (scale: number) =>
  (into: Float32Array, from = 0): Float32Array => {
    for (let i = 0; i < into.length; i++) into[i] = scale * (0.1 + (((from + i) * 7919) % 1009) / 1009);
    return into;
  };
const [param, grad] = [steady(1), steady(1e5)];

export const speedModel = (length: number): Model => ({ length, param, grad });

/** Not a byte of the parameters is in memory before it is written: the model to start from is left out of the count. */
export const memoryModel = (length: number): Model => ({ length, param: (into) => into, grad });

/** From zero, so that a parameter is its first update. */
export const updateModel = (grads: ArrayLike<number>): Model => ({
  length: grads.length,
  param: (into) => into,
  grad(into, from = 0) {
    for (let i = 0; i < into.length; i++) into[i] = grads[from + i];
    return into;
  },
});

/** Of either sign, their magnitudes over eight decades; the same in every run. */
export function updateGrads(length: number): Float32Array {
  let state = 1;
  const uniform = (): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
  return Float32Array.from({ length }, () => (uniform() < 0.5 ? -1 : 1) * 10 ** (8 * uniform() - 6));
}
