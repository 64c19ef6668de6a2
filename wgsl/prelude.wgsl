// The vocabulary of the WGSL kernels. Before it stands one line of wgsl/vec4.wgsl or wgsl/scalar.wgsl,
// which says what a Real is: four numbers, or one where an array does not divide by four.

override WORKGROUP: u32 = 64;

// The element of this invocation; a dispatch of more than 65,535 workgroups is folded into rows.
fn element(id: vec3u, workgroups: vec3u) -> u32 {
  return id.y * workgroups.x * WORKGROUP + id.x;
}

// torch.lerp's two branches. weight > 0: a + weight*(b - a), as fast as (1 - weight)*a + weight*b at half its error.
// weight <= 0 stands for 1 + weight: b + weight*(b - a), so that a large a that mostly cancels leaves no error.
fn lerp(a: Real, b: Real, weight: f32) -> Real {
  return select(b, a, weight > 0.0) + weight * (b - a);
}

// b if the flag is not 0, else a.
fn either(a: Real, b: Real, flag: f32) -> Real {
  return select(b, a, flag == 0.0);
}

// a + scale*b, and of a scale of zero a alone, whatever b is.
fn plus(a: Real, scale: f32, b: Real) -> Real {
  return select(a + times(scale, b), a, scale == 0.0);
}

// Half of b - a, which itself may be beyond f32.
fn half_difference(a: Real, b: Real) -> Real {
  return 0.5 * b - 0.5 * a;
}

// WGSL may assume that no number is infinite or NaN, and flush subnormal ones: all are told by their bits. Those of
// numbers without a sign are in order, with infinity above all numbers, and NaN above all.
const INFINITE = Bits(0x7f800000u);
// Written out: Deno and Firefox (naga) evaluate no bitcast in a constant.
const LARGEST = 0x1.fffffep+127f;
// The largest number whose square is an f32, and its bits.
const LARGEST_ROOT = 0x1.fffffep+63f;
const LARGEST_ROOT_BITS = 0x5f7fffffu;

fn magnitude(a: Real) -> Bits {
  return bitcast<Bits>(a) & Bits(0x7fffffffu);
}

// a, or if it is infinite and should be finite, the largest f32 of its sign.
fn limited(a: Real, is_finite: Flags) -> Real {
  let largest = bitcast<Real>((bitcast<Bits>(a) & Bits(0x80000000u)) | Bits(0x7f7fffffu));
  return select(a, largest, (magnitude(a) == INFINITE) & is_finite);
}

// The nearest number that is finite; NaN stays NaN.
fn clamped(a: Real) -> Real {
  return limited(a, Flags(true));
}

// scale*a, at most the largest f32 if a is finite: only what was infinite shows as such.
fn times(scale: f32, a: Real) -> Real {
  return limited(scale * a, magnitude(a) < INFINITE);
}

// a + b, at most the largest f32 if both are finite.
fn total(a: Real, b: Real) -> Real {
  return limited(a + b, (magnitude(a) < INFINITE) & (magnitude(b) < INFINITE));
}

// Whether a*a is beyond f32; not for NaN, whose square is NaN.
fn overflows(a: Real) -> Flags {
  return (magnitude(a) > Bits(LARGEST_ROOT_BITS)) & (magnitude(a) <= INFINITE);
}

// a, or if the square of g is beyond f32, the nearest number whose own is not.
fn bounded(a: Real, g: Real) -> Real {
  return select(a, clamp(a, Real(-LARGEST_ROOT), Real(LARGEST_ROOT)), overflows(g));
}

// a, or NaN if g is infinite or NaN.
fn shown(a: Real, g: Real) -> Real {
  return select(a, bitcast<Real>(bitcast<Bits>(g) | Bits(0x7fc00000u)), magnitude(g) >= INFINITE);
}

// 0 if |a| < below. A moment that decays would else stick at a subnormal, and slow every later step.
fn flush(a: Real, below: f32) -> Real {
  return select(a, Real(), bitcast<Ints>(magnitude(a)) < Ints(bitcast<i32>(below)));
}

// The larger of two squares, NaN if either is NaN.
fn largest(a: Real, b: Real) -> Real {
  return bitcast<Real>(max(magnitude(a), magnitude(b)));
}
