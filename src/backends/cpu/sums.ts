// What the CPU does with whole arrays beside the step. wgsl/accumulate.wgsl and wgsl/norm.wgsl do it on the GPU.

import { total } from '../../math/f32.js';

/** Adds each value to the sum of those before. */
export function accumulate(sum: Float32Array, values: Float32Array): void {
  for (let i = 0; i < sum.length; i++) sum[i] = total(sum[i], values[i]);
}

/** The L2 norm, in f64: no square of an f32 leaves its range. */
export function norm(values: Float32Array): number {
  let squares = 0;
  for (let i = 0; i < values.length; i++) squares += values[i] * values[i];
  return Math.sqrt(squares);
}
