// The vocabulary, four numbers at a time: every word is one f32x4 instruction or a line of such words.
// src/f32.ts says the same words one number at a time, to the same bits; wgsl/prelude.wgsl says them for WGSL.

/**
 * Kernels take two vectors a turn: `load` and `load_next` are its halves, `store` writes both at once. The end of a turn
 * asks whether there is another, since V8 would compute what does not change, each splat, anew in a loop that begins by
 * asking: a tenth of Adam's time.
 */
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

/** The larger one; NaN if either is. In three instructions, of which f32x4.max, on x64, has ten. */
@inline export function largest(a: v128, b: v128): v128 {
  return v128.or(f32x4.pmax(b, a), f32x4.ne(a, a));
}

/**
 * What a loop is compiled to assume of its scalars. Plain and Full: weights > 0, the root unscaled and not raised, and
 * scales in `plus` zero (Plain) or not (Full). Unknown: nothing, which costs a third of Adam's time. These are types,
 * since flags are variables to AssemblyScript, and binaryen merges loops that differ in variables into one that tests.
 */
export type Plain = bool;
export type Full = f32;
export type Unknown = i32;


@inline function is_known<Known>(): bool {
  return isBoolean<Known>() || isFloat<Known>();
}

/**
 * torch.lerp's two branches. weight > 0: a + weight*(b - a), as fast as (1 - weight)*a + weight*b at half its error.
 * weight <= 0 stands for 1 + weight: b + weight*(b - a), so that a large `a` that mostly cancels leaves no error.
 */
@inline export function lerp<Known>(a: v128, b: v128, weight: v128): v128 {
  const base = is_known<Known>() ? a : v128.bitselect(a, b, f32x4.gt(weight, splat(0)));
  return add(base, mul(weight, sub(b, a)));
}

/** `b` if the flag is not 0, else `a`; Plain loops take it to be 0. */
@inline export function either<Known>(a: v128, b: v128, flag: v128): v128 {
  return isBoolean<Known>() ? a : v128.bitselect(a, b, f32x4.eq(flag, splat(0)));
}

/** a + scale*b, and of a scale of zero `a` alone, whatever b is. */
@inline export function plus<Known>(a: v128, scale: v128, b: v128): v128 {
  if (isBoolean<Known>()) return a;
  const sum = add(a, mul(scale, b));
  return isFloat<Known>() ? sum : v128.bitselect(a, sum, f32x4.eq(scale, splat(0)));
}

/** scale*a; all loops but Unknown take the scale to be 1. */
@inline export function scaled<Known>(scale: v128, a: v128): v128 {
  return is_known<Known>() ? a : mul(scale, a);
}

/** a + more; all loops but Unknown take `more` to be 0. */
@inline export function raised<Known>(a: v128, more: v128): v128 {
  return is_known<Known>() ? a : add(a, more);
}

/**
 * 2^-126, which `flush` compares with. V8 would rebuild a constant in every turn, a tenth of a wide kernel's time; so
 * this depends on `bytes`, and stays in a register. The last bit of `bytes`, a multiple of 4, is always 0.
 */
@inline export function smallest_normal(bytes: usize): v128 {
  return splat(reinterpret<f32>(0x00800000 | ((<i32>bytes) & 1)));
}

/** Subnormal to zero, NaN kept: a moment that decays would else stick at a subnormal, and slow every later step. */
@inline export function flush(a: v128, smallest: v128): v128 {
  return v128.andnot(a, f32x4.lt(f32x4.abs(a), smallest));
}
