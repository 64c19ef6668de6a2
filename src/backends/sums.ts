// Sums over arrays in CPU memory. In WebAssembly: assembly/squares.ts. In GPU memory: wgsl/accumulate.wgsl and
// wgsl/squares.wgsl.

/** Also in math/f32.ts, which a step on the CPU does not load. */
export const LARGEST = (2 - 2 ** -23) * 2 ** 127;

/** Adds `values` to `sum`. Finite numbers whose sum would overflow give the largest f32. */
export function accumulate(sum: Float32Array, values: Float32Array): void {
  for (let i = 0; i < sum.length; i++) {
    const total = sum[i] + values[i];
    sum[i] = Math.abs(total) < Infinity ? Math.max(-LARGEST, Math.min(total, LARGEST)) : total;
  }
}

const square = (x: number, most: number): number => Math.min(x * x, most);

/**
 * Returns the sum of the squares of x clamped to +-limit, of the elements x from `from` to before `to`. If `isStrict`,
 * it is NaN if an element is infinite or NaN. assembly/squares.ts has the formula and gives the same bits: the zeros that
 * it adds after the last element change none.
 */
export function squares(values: Float32Array, from: number, to: number, limit: number, isStrict: boolean): number {
  const most = limit * limit;
  // Variables: with an array of lanes this takes twice as long.
  let s0 = 0;
  let s1 = 0;
  let s2 = 0;
  let s3 = 0;
  let s4 = 0;
  let s5 = 0;
  let s6 = 0;
  let s7 = 0;
  let i = from;
  for (; i + 7 < to; i += 8) {
    s0 += square(values[i], most);
    s1 += square(values[i + 1], most);
    s2 += square(values[i + 2], most);
    s3 += square(values[i + 3], most);
    s4 += square(values[i + 4], most);
    s5 += square(values[i + 5], most);
    s6 += square(values[i + 6], most);
    s7 += square(values[i + 7], most);
  }
  if (i < to) s0 += square(values[i], most);
  if (i + 1 < to) s1 += square(values[i + 1], most);
  if (i + 2 < to) s2 += square(values[i + 2], most);
  if (i + 3 < to) s3 += square(values[i + 3], most);
  if (i + 4 < to) s4 += square(values[i + 4], most);
  if (i + 5 < to) s5 += square(values[i + 5], most);
  if (i + 6 < to) s6 += square(values[i + 6], most);
  const sum = s0 + s2 + (s4 + s6) + (s1 + s3 + (s5 + s7));
  if (!isStrict) return sum;
  // Without a limit, finite elements have a finite sum.
  const unlimited = limit === Infinity ? sum : squares(values, from, to, Infinity, false);
  return unlimited < Infinity ? sum : NaN;
}

/** Returns the L2 norm. */
export const norm = (values: Float32Array): number => Math.sqrt(squares(values, 0, values.length, Infinity, false));
