// The functions that the reference is made of, on one number at a time. Each operation is done in f64 and rounded once;
// for + - * / and the square root that is the correctly rounded f32 result. assembly/simd.ts has the same functions on
// four numbers and must give the same bits; wgsl/prelude.wgsl has those that WGSL lacks.

const { fround } = Math;

/** The largest f32, and the largest number whose square is an f32. */
export const LARGEST = (2 - 2 ** -23) * 2 ** 127;
export const LARGEST_ROOT = (2 - 2 ** -23) * 2 ** 63;

export const add = (a: number, b: number): number => fround(a + b);
export const sub = (a: number, b: number): number => fround(a - b);
export const mul = (a: number, b: number): number => fround(a * b);
export const div = (a: number, b: number): number => fround(a / b);
export const sqrt = (a: number): number => fround(Math.sqrt(a));

/** The larger number; NaN if either is NaN. */
export const largest = (a: number, b: number): number => (b < a || Number.isNaN(a) ? a : b);

/**
 * torch.lerp's two branches. weight > 0: a + weight*(b - a), as fast as (1 - weight)*a + weight*b, with half the error.
 * weight <= 0 means a weight of 1 + weight: b + weight*(b - a), which loses nothing if a large `a` mostly cancels. Both
 * are infinite if b is infinite.
 */
export const lerp = (a: number, b: number, weight: number): number =>
  weight > 0 ? add(a, mul(weight, sub(b, a))) : add(b, mul(weight, sub(Math.min(b, LARGEST), a)));

/** Half of b - a. The difference itself may overflow. */
export const half_difference = (a: number, b: number): number => sub(mul(0.5, b), mul(0.5, a));

/** `b` if the flag is not 0, else `a`. */
export const either = (a: number, b: number, flag: number): number => (flag === 0 ? a : b);

/** a + scale*b. If `scale` is 0 it is `a`, even if b is infinite or NaN. */
export const plus = (a: number, scale: number, b: number): number =>
  scale === 0 ? a : add(a, limited(mul(scale, b), b));

/** Clamps `a`, computed from `source`, to the largest f32 if `source` is finite. An infinite `source` stays visible. */
export const limited = (a: number, source: number): number =>
  Math.abs(a) === Infinity && Math.abs(source) !== Infinity ? Math.sign(a) * LARGEST : a;

/** Clamps `a` to `most` in magnitude, also if it is infinite. If `most` is 0, it is `a`. NaN stays NaN. */
export const clip = (a: number, most: number): number => (most === 0 ? a : Math.max(-most, Math.min(a, most)));

/** Clamps `a` to the largest f32. NaN stays NaN. */
export const clamped = (a: number): number => Math.max(-LARGEST, Math.min(a, LARGEST));

/** NaN if `source` is infinite or NaN, else `a`. */
export const shown = (a: number, source: number): number => sub(a, sub(source, source));

/** scale*root. An infinite root stays infinite. */
export const scaled = (scale: number, root: number): number => (root === Infinity ? root : mul(scale, root));

/** Clamps `a` to the numbers whose square is an f32. NaN stays NaN. */
export const bounded = (a: number): number => Math.max(-LARGEST_ROOT, Math.min(a, LARGEST_ROOT));

/**
 * 0 if |a| < below, else a. Without it, a decaying moment stays at a subnormal number and slows down every later step.
 */
export const flush = (a: number, below: number): number => (Math.abs(a) < below ? 0 : a);
