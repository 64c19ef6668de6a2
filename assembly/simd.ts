// The vocabulary, four numbers at a time: every word is one f32x4 instruction or a line of such words.
// src/f32.ts says the same words one number at a time, to the same bits; wgsl/prelude.wgsl says them for WGSL.

const SMALLEST_NORMAL: f32 = 1.1754943508222875e-38; // 2^-126

/** Kernels take two vectors a turn: `load` and `load_next` are its halves, `store` writes both at once. */
@inline export const TURN: usize = 32;


@inline export function load(at: usize): v128 {
  return v128.load(at);
}


@inline export function load_next(at: usize): v128 {
  return v128.load(at, 16);
}


@inline export function store(at: usize, first: v128, next: v128): void {
  v128.store(at, first);
  v128.store(at, next, 16);
}


@inline export function splat(x: f32): v128 {
  return f32x4.splat(x);
}


@inline export function add(a: v128, b: v128): v128 {
  return f32x4.add(a, b);
}


@inline export function sub(a: v128, b: v128): v128 {
  return f32x4.sub(a, b);
}


@inline export function mul(a: v128, b: v128): v128 {
  return f32x4.mul(a, b);
}


@inline export function div(a: v128, b: v128): v128 {
  return f32x4.div(a, b);
}


@inline export function sqrt(a: v128): v128 {
  return f32x4.sqrt(a);
}

/** The larger one; NaN if either is. */
@inline export function max(a: v128, b: v128): v128 {
  return f32x4.max(a, b);
}

/**
 * torch.lerp: from `a` towards `b` by a positive weight, half the rounding error of (1 - weight)*a + weight*b at the same
 * speed; from `b` back towards `a` by one that is not, or the part of a large `a` that cancels would leave its rounding.
 * The choice costs a fifth of Adam's time: a kernel whose weights are all positive says so by `from_a`, at compile time.
 */
@inline export function lerp(a: v128, b: v128, weight: v128, from_a: bool): v128 {
  const base = from_a ? a : v128.bitselect(a, b, f32x4.gt(weight, splat(0)));
  return add(base, mul(weight, sub(b, a)));
}

/** Subnormal to zero, NaN kept: a moment that decays would else stick at a subnormal, and slow every later step. */
@inline export function flush(a: v128): v128 {
  return v128.andnot(a, f32x4.lt(f32x4.abs(a), splat(SMALLEST_NORMAL)));
}
