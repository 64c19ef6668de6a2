// What the CPU does with whole arrays beside the step. wgsl/accumulate.wgsl and wgsl/norm.wgsl do it on the GPU.

const LARGEST = (2 - 2 ** -23) * 2 ** 127;

/** Adds each value to the sum of those before: at most the largest f32 where both are finite. */
export function accumulate(sum: Float32Array, values: Float32Array): void {
  for (let i = 0; i < sum.length; i++) {
    const total = sum[i] + values[i];
    sum[i] = Math.abs(total) < Infinity ? Math.max(-LARGEST, Math.min(total, LARGEST)) : total;
  }
}

/** The L2 norm, in f64: no square of an f32 leaves its range. */
export function norm(values: Float32Array): number {
  let squares = 0;
  for (let i = 0; i < values.length; i++) squares += values[i] * values[i];
  return Math.sqrt(squares);
}
