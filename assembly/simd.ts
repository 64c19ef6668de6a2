// The vocabulary, four numbers at a time: every word is one f32x4 instruction or a line of such words.
// src/math/f32.ts says the same words one number at a time, to the same bits; wgsl/prelude.wgsl says them for WGSL.

/**
 * Kernels take two vectors a turn: `load` and `load_next` are its halves, `store` writes both at once. The end of a
 * turn asks whether there is another: in a loop that begins by asking, V8 computes each splat again in every turn.
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

/** The larger one; `a` if b is NaN. It finds the largest square of a loop, which is infinite if any overflowed. */
@inline export function larger(a: v128, b: v128): v128 {
  return f32x4.pmax(a, b);
}

/** Stores `to` where flags are set. */
@inline export function change(at: usize, to: v128, flags: v128): void {
  v128.store(at, v128.bitselect(to, v128.load(at), flags));
}

/** The largest f32, and the largest whose square is one: its root. */
export const LARGEST: f32 = 3.4028234663852886e38;
export const LARGEST_ROOT: f32 = 1.8446742974197924e19;

/** Whether squares are infinite: not if NaN. */
@inline export function overflows(a: v128): v128 {
  return f32x4.gt(a, splat(LARGEST));
}


@inline export function any(flags: v128): bool {
  return v128.any_true(flags);
}

/** The nearest number whose square is an f32; NaN stays NaN. */
@inline export function bounded(a: v128): v128 {
  return f32x4.pmax(f32x4.pmin(a, splat(LARGEST_ROOT)), splat(-LARGEST_ROOT));
}

/**
 * What a loop is compiled to assume of its scalars. Plain and Full: weights > 0, no scale or step above 1, nothing to
 * flush, the root unscaled and not raised, and scales in `plus` zero (Plain) or not (Full). Unknown: nothing, and it is
 * slower. These are types, since flags are variables to AssemblyScript, and binaryen merges loops that differ in
 * variables into one that tests.
 */
export type Plain = bool;
export type Full = f32;
export type Unknown = i32;


@inline function is_known<Known>(): bool {
  return isBoolean<Known>() || isFloat<Known>();
}

/**
 * torch.lerp's two branches. weight > 0: a + weight*(b - a), as fast as (1 - weight)*a + weight*b at half its error.
 * weight <= 0 stands for 1 + weight: b + weight*(b - a), so that a large `a` that mostly cancels leaves no error. Both
 * are infinite if b is.
 */
@inline export function lerp<Known>(a: v128, b: v128, weight: v128): v128 {
  if (is_known<Known>()) return add(a, mul(weight, sub(b, a)));
  const has_weight = f32x4.gt(weight, splat(0));
  const finite = v128.bitselect(b, f32x4.pmin(b, splat(LARGEST)), has_weight);
  return add(v128.bitselect(a, b, has_weight), mul(weight, sub(finite, a)));
}

/** Half of b - a, which itself may be beyond f32. */
@inline export function half_difference(a: v128, b: v128): v128 {
  return sub(mul(splat(0.5), b), mul(splat(0.5), a));
}

/**
 * a, computed from `source`: if `source` is finite, a is bounded to the largest f32. Only Unknown loops need it: in the
 * others scales are too small to overflow. Adding true, which is -1, to the bits of Infinity gives the largest f32.
 */
@inline export function limited<Known>(a: v128, source: v128): v128 {
  if (is_known<Known>()) return a;
  const infinity = splat(Infinity);
  return i32x4.add(a, v128.and(f32x4.eq(f32x4.abs(a), infinity), f32x4.ne(f32x4.abs(source), infinity)));
}

/** `b` if the flag is not 0, else `a`; Plain loops take it to be 0. */
@inline export function either<Known>(a: v128, b: v128, flag: v128): v128 {
  return isBoolean<Known>() ? a : v128.bitselect(a, b, f32x4.eq(flag, splat(0)));
}

/** a + scale*b, and of a scale of zero `a` alone, whatever b is. */
@inline export function plus<Known>(a: v128, scale: v128, b: v128): v128 {
  if (isBoolean<Known>()) return a;
  const sum = add(a, limited<Known>(mul(scale, b), b));
  return isFloat<Known>() ? sum : v128.bitselect(a, sum, f32x4.eq(scale, splat(0)));
}

/** scale*root, and an infinite root as it is; all loops but Unknown take the scale to be 1. */
@inline export function scaled<Known>(scale: v128, root: v128): v128 {
  return is_known<Known>() ? root : v128.bitselect(root, mul(scale, root), overflows(root));
}

/** a + more; all loops but Unknown take `more` to be 0. */
@inline export function raised<Known>(a: v128, more: v128): v128 {
  return is_known<Known>() ? a : add(a, more);
}

/**
 * 0 if |a| < below, which all loops but Unknown take to be 0. A moment that decays would else stick at a subnormal, and
 * slow every later step.
 */
@inline export function flush<Known>(a: v128, below: v128): v128 {
  return is_known<Known>() ? a : v128.andnot(a, f32x4.lt(f32x4.abs(a), below));
}

/** The nearest f32 that is finite; NaN stays NaN. Loops other than Unknown ask `are_finite` instead. */
@inline export function clamped<Known>(a: v128): v128 {
  return is_known<Known>() ? a : f32x4.pmax(f32x4.pmin(a, splat(LARGEST)), splat(-LARGEST));
}

/** a, or NaN if `source` is infinite or NaN. */
@inline export function shown<Known>(a: v128, source: v128): v128 {
  return is_known<Known>() ? a : sub(a, sub(source, source));
}

/**
 * Whether none of four is infinite or NaN: if one is, so is their difference, and that less itself is NaN, else 0. May
 * return false for large finite numbers. Unknown loops do not ask.
 */
@inline export function are_finite<Known>(a: v128, b: v128, c: v128, d: v128): bool {
  if (!is_known<Known>()) return true;
  const difference = sub(sub(a, b), sub(c, d));
  return !v128.any_true(sub(difference, difference));
}
