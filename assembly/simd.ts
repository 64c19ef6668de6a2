// The functions that kernels are made of, on four numbers at a time. A function that src/math/f32.ts has too gives the
// same bits there, on one number. `<Known>` is the type of the loop that calls it: see Plain, Full and Unknown below.
// wgsl/prelude.wgsl has the functions in WGSL.

/**
 * The bytes that one iteration of a kernel's loop updates: two vectors. `load` reads the first and `load_next` the
 * second; `store` writes both. Loops test at the end (`do ... while`): in a loop that tests at the start, V8 computes
 * every splat again in each iteration.
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

/** The larger number; NaN if either is NaN. Takes three instructions on x64, where f32x4.max takes ten. */
@inline export function largest(a: v128, b: v128): v128 {
  return v128.or(f32x4.pmax(b, a), f32x4.ne(a, a));
}

/** The larger number; `a` if b is NaN. Finds a loop's largest square, which is infinite if any square overflowed. */
@inline export function larger(a: v128, b: v128): v128 {
  return f32x4.pmax(a, b);
}

/** Stores the elements of `to` whose flag is set. */
@inline export function change(at: usize, to: v128, flags: v128): void {
  v128.store(at, v128.bitselect(to, v128.load(at), flags));
}

/** The largest f32, and the largest number whose square is an f32. */
export const LARGEST: f32 = 3.4028234663852886e38;
export const LARGEST_ROOT: f32 = 1.8446742974197924e19;

/** Flags infinite squares. NaN does not count. */
@inline export function overflows(a: v128): v128 {
  return f32x4.gt(a, splat(LARGEST));
}


@inline export function any(flags: v128): bool {
  return v128.any_true(flags);
}

/** Clamps `a` to the numbers whose square is an f32. NaN stays NaN. */
@inline export function bounded(a: v128): v128 {
  return f32x4.pmax(f32x4.pmin(a, splat(LARGEST_ROOT)), splat(-LARGEST_ROOT));
}

/**
 * What a compiled loop assumes about its scalars; the kernel must test it. Plain and Full assume: weights passed to
 * `lerp` are above 0; factors of what is passed to `limited` are at most 1 in magnitude, of a sum all together;
 * flush_below and max_value are 0; root_scale is 1; eps_root is 0. Plain also assumes that flags passed to `either` and
 * scales passed to `plus` are 0, Full that these scales are not. Unknown assumes nothing, and is slower. These are
 * types: AssemblyScript treats a flag as a variable, and binaryen merges loops that differ only in variables into one
 * loop that tests them.
 */
export type Plain = bool;
export type Full = f32;
export type Unknown = i32;


@inline function is_known<Known>(): bool {
  return isBoolean<Known>() || isFloat<Known>();
}

/**
 * torch.lerp's two branches. weight > 0: a + weight*(b - a), as fast as (1 - weight)*a + weight*b, with half the error.
 * weight <= 0 means a weight of 1 + weight: b + weight*(b - a), which loses nothing if a large `a` mostly cancels. Both
 * are infinite if b is infinite.
 */
@inline export function lerp<Known>(a: v128, b: v128, weight: v128): v128 {
  if (is_known<Known>()) return add(a, mul(weight, sub(b, a)));
  const has_weight = f32x4.gt(weight, splat(0));
  const finite = v128.bitselect(b, f32x4.pmin(b, splat(LARGEST)), has_weight);
  return add(v128.bitselect(a, b, has_weight), mul(weight, sub(finite, a)));
}

/** Half of b - a. The difference itself may overflow. */
@inline export function half_difference(a: v128, b: v128): v128 {
  return sub(mul(splat(0.5), b), mul(splat(0.5), a));
}

/**
 * Clamps `a`, computed from `source`, to the largest f32 if `source` is finite; an infinite `source` stays visible.
 * Only Unknown loops need it: in the others, scales are too small to overflow. A true lane is -1, and the bits of
 * Infinity less 1 are those of the largest f32.
 */
@inline export function limited<Known>(a: v128, source: v128): v128 {
  if (is_known<Known>()) return a;
  const infinity = splat(Infinity);
  return i32x4.add(a, v128.and(f32x4.eq(f32x4.abs(a), infinity), f32x4.ne(f32x4.abs(source), infinity)));
}

/** `b` if the flag is not 0, else `a`. Plain loops assume a flag of 0. */
@inline export function either<Known>(a: v128, b: v128, flag: v128): v128 {
  return isBoolean<Known>() ? a : v128.bitselect(a, b, f32x4.eq(flag, splat(0)));
}

/** a + scale*b. If `scale` is 0 it is `a`, even if b is infinite or NaN. */
@inline export function plus<Known>(a: v128, scale: v128, b: v128): v128 {
  if (isBoolean<Known>()) return a;
  const sum = add(a, limited<Known>(mul(scale, b), b));
  return isFloat<Known>() ? sum : v128.bitselect(a, sum, f32x4.eq(scale, splat(0)));
}

/** scale*root. An infinite root stays infinite. All loops except Unknown assume a scale of 1. */
@inline export function scaled<Known>(scale: v128, root: v128): v128 {
  return is_known<Known>() ? root : v128.bitselect(root, mul(scale, root), overflows(root));
}

/** a + more. All loops except Unknown assume that `more` is 0. */
@inline export function raised<Known>(a: v128, more: v128): v128 {
  return is_known<Known>() ? a : add(a, more);
}

/**
 * 0 if |a| < below, else a. Without it, a decaying moment stays at a subnormal number and slows down every later step.
 * All loops except Unknown assume that `below` is 0.
 */
@inline export function flush<Known>(a: v128, below: v128): v128 {
  return is_known<Known>() ? a : v128.andnot(a, f32x4.lt(f32x4.abs(a), below));
}

/** The limit that `clip` takes: `most`, or Infinity if `most` is 0. */
@inline export function limit_of(most: f32): v128 {
  return splat(most == 0 ? <f32>Infinity : most);
}

/**
 * Clamps `a` to `limit` in magnitude, also if it is infinite. NaN stays NaN. clip(a, limit_of(most)) has the bits of
 * clip(a, most) in f32.ts. All loops except Unknown assume a limit of Infinity.
 */
@inline export function clip<Known>(a: v128, limit: v128): v128 {
  return is_known<Known>() ? a : f32x4.pmax(f32x4.pmin(a, limit), f32x4.neg(limit));
}

/** Clamps `a` to the largest f32. NaN stays NaN. All loops except Unknown call `are_finite` instead. */
@inline export function clamped<Known>(a: v128): v128 {
  return is_known<Known>() ? a : f32x4.pmax(f32x4.pmin(a, splat(LARGEST)), splat(-LARGEST));
}

/** NaN if `source` is infinite or NaN, else `a`. All loops except Unknown call `are_finite` instead. */
@inline export function shown<Known>(a: v128, source: v128): v128 {
  return is_known<Known>() ? a : sub(a, sub(source, source));
}

/**
 * Whether no number in the four vectors is infinite or NaN: then the difference of all four minus itself is 0,
 * otherwise NaN. May return false for large finite numbers, and is always true in Unknown loops, which clamp instead.
 */
@inline export function are_finite<Known>(a: v128, b: v128, c: v128, d: v128): bool {
  if (!is_known<Known>()) return true;
  const difference = sub(sub(a, b), sub(c, d));
  return !v128.any_true(sub(difference, difference));
}
