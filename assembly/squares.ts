// The sum of squares of an array. It is not a rule: its reference is in src/backends/sums.ts, and has the same bits.
//
//   lane k = sum of min(x*x, limit*limit) over the elements x with the indices k, k + 8, k + 16, ...; k = 0, ..., 7
//   squares = ((lane 0 + lane 2) + (lane 4 + lane 6)) + ((lane 1 + lane 3) + (lane 5 + lane 7))
//
// All in f64, in which the square of an f32 is exact. min(x*x, limit*limit) is the square of x clamped to +-limit.

import { Full, Plain, TURN, any, load, load_next, sub } from './simd';

/** The squares of two elements. Plain loops assume that `most` is infinite. NaN stays NaN. */
@inline function squared<Known>(two: v128, most: v128): v128 {
  const x = f64x2.promote_low_f32x4(two);
  const square = f64x2.mul(x, x);
  return isBoolean<Known>() ? square : f64x2.pmin(square, most);
}

/** The sums of the even and of the odd lanes. In Full loops NaN if `is_strict` and an element is infinite or NaN. */
// prettier-ignore
@inline function sums<Known>(grad: usize, bytes: usize, limit: f64, is_strict: bool): v128 {
  const most = f64x2.splat(limit * limit);
  let s0 = f64x2.splat(0), s1 = s0, s2 = s0, s3 = s0, found = s0;

  let i: usize = 0;
  do {
    const at = grad + i;
    s0 = f64x2.add(s0, squared<Known>(v128.load64_zero(at), most));
    s1 = f64x2.add(s1, squared<Known>(v128.load64_zero(at, 8), most));
    s2 = f64x2.add(s2, squared<Known>(v128.load64_zero(at, 16), most));
    s3 = f64x2.add(s3, squared<Known>(v128.load64_zero(at, 24), most));
    if (!isBoolean<Known>()) {
      const a = load(at), b = load_next(at);
      // x - x is 0 unless x is infinite or NaN.
      found = v128.or(found, v128.or(sub(a, a), sub(b, b)));
    }
    i += TURN;
  } while (i < bytes);

  if (!isBoolean<Known>() && is_strict && any(found)) return f64x2.splat(NaN);
  return f64x2.add(f64x2.add(s0, s1), f64x2.add(s2, s3));
}

/**
 * Returns the sum of the squares of x clamped to +-limit, of all elements x. If `is_strict`, it is NaN if an element is
 * infinite or NaN. `bytes` is a multiple of TURN; there are zeros after the last element.
 */
export function squares(grad: usize, bytes: usize, limit: f64, is_strict: bool): f64 {
  if (bytes == 0) return 0;
  const both =
    limit == Infinity ? sums<Plain>(grad, bytes, limit, is_strict) : sums<Full>(grad, bytes, limit, is_strict);
  const sum = f64x2.extract_lane(both, 0) + f64x2.extract_lane(both, 1);
  // Finite elements have a finite sum.
  return is_strict && sum == Infinity ? NaN : sum;
}
