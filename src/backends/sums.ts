// Sums over arrays in CPU memory. In GPU memory: wgsl/accumulate.wgsl and wgsl/norm.wgsl.

/** Also in math/f32.ts, which a step on the CPU does not load. */
const LARGEST = (2 - 2 ** -23) * 2 ** 127;

/** Adds `values` to `sum`. Finite numbers whose sum would overflow give the largest f32. */
export function accumulate(sum: Float32Array, values: Float32Array): void {
  for (let i = 0; i < sum.length; i++) {
    const total = sum[i] + values[i];
    sum[i] = Math.abs(total) < Infinity ? Math.max(-LARGEST, Math.min(total, LARGEST)) : total;
  }
}

/** Returns the L2 norm. Computed in f64, in which the square of an f32 cannot overflow. */
export function norm(values: Float32Array): number {
  let squares = 0;
  for (let i = 0; i < values.length; i++) squares += values[i] * values[i];
  return Math.sqrt(squares);
}
