// The vocabulary of the plain reference, one number at a time: each operation is done in f64 and rounded once,
// which for + - * / and the root is the correctly rounded f32 result. assembly/simd.ts says the same words
// four at a time and must give the same bits; wgsl/prelude.wgsl says them for WGSL.

const { fround } = Math;

/** The largest f32, and the largest whose square is one: its root. */
export const LARGEST = (2 - 2 ** -23) * 2 ** 127;
export const LARGEST_ROOT = (2 - 2 ** -23) * 2 ** 63;

export const add = (a: number, b: number): number => fround(a + b);
export const sub = (a: number, b: number): number => fround(a - b);
export const mul = (a: number, b: number): number => fround(a * b);
export const div = (a: number, b: number): number => fround(a / b);
export const sqrt = (a: number): number => fround(Math.sqrt(a));

/** The larger one; NaN if either is. */
export const largest = (a: number, b: number): number => (b < a || Number.isNaN(a) ? a : b);

/**
 * torch.lerp's two branches. weight > 0: a + weight*(b - a), as fast as (1 - weight)*a + weight*b at half its error.
 * weight <= 0 stands for 1 + weight: b + weight*(b - a), so that a large `a` that mostly cancels leaves no error. Both
 * are infinite if b is.
 */
export const lerp = (a: number, b: number, weight: number): number =>
  weight > 0 ? add(a, mul(weight, sub(b, a))) : add(b, mul(weight, sub(Math.min(b, LARGEST), a)));

/** Half of b - a, which itself may be beyond f32. */
export const half_difference = (a: number, b: number): number => sub(mul(0.5, b), mul(0.5, a));

/** `b` if the flag is not 0, else `a`. */
export const either = (a: number, b: number, flag: number): number => (flag === 0 ? a : b);

/** a + scale*b, and of a scale of zero `a` alone, whatever b is. */
export const plus = (a: number, scale: number, b: number): number =>
  scale === 0 ? a : add(a, limited(mul(scale, b), b));

/** a, computed from `source`: if `source` is finite, a is bounded to the largest f32. An infinite `source` still shows. */
export const limited = (a: number, source: number): number =>
  Math.abs(a) === Infinity && Math.abs(source) !== Infinity ? Math.sign(a) * LARGEST : a;

/** The nearest f32 that is finite; NaN stays NaN. */
export const clamped = (a: number): number => Math.max(-LARGEST, Math.min(a, LARGEST));

/** a, or NaN if `source` is infinite or NaN. */
export const shown = (a: number, source: number): number => sub(a, sub(source, source));

/** a + b, at most the largest f32 if both are finite. */
export function total(a: number, b: number): number {
  const sum = a + b;
  return Math.abs(sum) < Infinity ? clamped(sum) : sum;
}

/** scale*root; an infinite root stays infinite. */
export const scaled = (scale: number, root: number): number => (root === Infinity ? root : mul(scale, root));

/** The nearest number whose square is an f32; NaN stays NaN. */
export const bounded = (a: number): number => Math.max(-LARGEST_ROOT, Math.min(a, LARGEST_ROOT));

/** 0 if |a| < below. A moment that decays would else stick at a subnormal, and slow every later step. */
export const flush = (a: number, below: number): number => (Math.abs(a) < below ? 0 : a);
