// Initial parameters and gradients: for measuring speed, memory, and the error of one update.

import type { Model } from './contender.js';

/**
 * Numbers far enough from zero that none becomes subnormal in a billion steps. Gradients are so large that an L2 decay
 * does not cancel them. bench/peers/pytorch.py has the same numbers.
 */
const steady =
  (scale: number) =>
  (into: Float32Array, from = 0): Float32Array => {
    for (let i = 0; i < into.length; i++) into[i] = scale * (0.1 + (((from + i) * 7919) % 1009) / 1009);
    return into;
  };
const [param, grad] = [steady(1), steady(1e5)];

export const speedModel = (length: number): Model => ({ length, param, grad });

/** Leaves the parameters unwritten, so that the initial model takes no physical memory and is not counted. */
export const memoryModel = (length: number): Model => ({ length, param: (into) => into, grad });

/** Starts at zero, so that a parameter equals its first update. */
export const updateModel = (grads: ArrayLike<number>): Model => ({
  length: grads.length,
  param: (into) => into,
  grad(into, from = 0) {
    for (let i = 0; i < into.length; i++) into[i] = grads[from + i];
    return into;
  },
});

/** Returns gradients of both signs, with magnitudes over eight decades, the same in every run. */
export function updateGrads(length: number): Float32Array {
  let state = 1;
  const uniform = (): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
  return Float32Array.from({ length }, () => (uniform() < 0.5 ? -1 : 1) * 10 ** (8 * uniform() - 6));
}
