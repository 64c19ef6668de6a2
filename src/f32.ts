// The vocabulary of the plain reference, one number at a time: each operation is done in f64 and rounded once,
// which for + - * / and the root is the correctly rounded f32 result. assembly/simd.ts says the same words
// four at a time and must give the same bits; wgsl/prelude.wgsl says them for WGSL.

const { fround } = Math;

const SMALLEST_NORMAL = 2 ** -126;

export const add = (a: number, b: number): number => fround(a + b);
export const sub = (a: number, b: number): number => fround(a - b);
export const mul = (a: number, b: number): number => fround(a * b);
export const div = (a: number, b: number): number => fround(a / b);
export const sqrt = (a: number): number => fround(Math.sqrt(a));

/** The larger one; NaN if either is. */
export const largest = (a: number, b: number): number => (b < a || Number.isNaN(a) ? a : b);

/**
 * torch.lerp's two branches. weight > 0: a + weight*(b - a), as fast as (1 - weight)*a + weight*b at half its error.
 * weight <= 0 stands for 1 + weight: b + weight*(b - a), so that a large `a` that mostly cancels leaves no error.
 */
export const lerp = (a: number, b: number, weight: number): number => add(weight > 0 ? a : b, mul(weight, sub(b, a)));

/** `b` if the flag is not 0, else `a`. */
export const either = (a: number, b: number, flag: number): number => (flag === 0 ? a : b);

/** a + scale*b, and of a scale of zero `a` alone, whatever b is. */
export const plus = (a: number, scale: number, b: number): number => (scale === 0 ? a : add(a, mul(scale, b)));

/** Subnormal to zero, NaN kept: a moment that decays would else stick at a subnormal, and slow every later step. */
export const flush = (a: number): number => (Math.abs(a) < SMALLEST_NORMAL ? 0 : a);
