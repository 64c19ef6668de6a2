// The functions that WGSL kernels are made of. The line of wgsl/vec4.wgsl or wgsl/scalar.wgsl comes before this file
// and defines Real: four numbers, or one number for arrays whose length is not a multiple of four. Functions that
// src/math/f32.ts has too mean the same here. limited_if and bounded_if take a flag that says whether to clamp.

override WORKGROUP: u32 = 64;

// The index of this invocation's element. A dispatch of more than 65,535 workgroups has several rows.
fn element(id: vec3u, workgroups: vec3u) -> u32 {
  return id.y * workgroups.x * WORKGROUP + id.x;
}

// torch.lerp's two branches. weight > 0: a + weight*(b - a), as fast as (1 - weight)*a + weight*b, with half the error.
// weight <= 0 means a weight of 1 + weight: b + weight*(b - a), which loses nothing if a large a mostly cancels.
fn lerp(a: Real, b: Real, weight: f32) -> Real {
  return select(b, a, weight > 0.0) + weight * (b - a);
}

// b if the flag is not 0, else a.
fn either(a: Real, b: Real, flag: f32) -> Real {
  return select(b, a, flag == 0.0);
}

// a + scale*b. If scale is 0 it is a, even if b is infinite or NaN.
fn plus(a: Real, scale: f32, b: Real) -> Real {
  return select(a + times(scale, b), a, scale == 0.0);
}

// Half of b - a. The difference itself may overflow.
fn half_difference(a: Real, b: Real) -> Real {
  return 0.5 * b - 0.5 * a;
}

// WGSL implementations may assume that no number is infinite or NaN, and may flush subnormal numbers, so these are
// tested by their bits. Without the sign, bits are ordered like the numbers: infinity above all finite numbers, NaN
// above that.
const INFINITE = Bits(0x7f800000u);
// The largest f32. Not a bitcast: Deno and Firefox (naga) do not evaluate one in a constant.
const LARGEST = 0x1.fffffep+127f;
// The largest number whose square is an f32, and its bits.
const LARGEST_ROOT = 0x1.fffffep+63f;
const LARGEST_ROOT_BITS = 0x5f7fffffu;

fn magnitude(a: Real) -> Bits {
  return bitcast<Bits>(a) & Bits(0x7fffffffu);
}

// Clamps a to the largest f32 if is_finite says that a should be finite, as limited(a, source) of f32.ts does for a
// finite source. NaN stays NaN.
fn limited_if(a: Real, is_finite: Flags) -> Real {
  let largest = bitcast<Real>((bitcast<Bits>(a) & Bits(0x80000000u)) | Bits(0x7f7fffffu));
  return select(a, largest, (magnitude(a) == INFINITE) & is_finite);
}

// Clamps a to most in magnitude, also if it is infinite. If most is 0, it is a. NaN stays NaN.
fn clip(a: Real, most: f32) -> Real {
  let limit = bitcast<u32>(most);
  let clipped = bitcast<Real>((bitcast<Bits>(a) & Bits(0x80000000u)) | Bits(limit));
  let is_beyond = (magnitude(a) > Bits(limit)) & (magnitude(a) <= INFINITE);
  return select(a, clipped, is_beyond & Flags(limit != 0u));
}

// Clamps a to the largest f32. NaN stays NaN.
fn clamped(a: Real) -> Real {
  return limited_if(a, Flags(true));
}

// scale*a, clamped to the largest f32 if a is finite, as limited(mul(scale, a), a) of f32.ts. An infinite a stays
// visible.
fn times(scale: f32, a: Real) -> Real {
  return limited_if(scale * a, magnitude(a) < INFINITE);
}

// a + b, clamped to the largest f32 if both are finite.
fn total(a: Real, b: Real) -> Real {
  return limited_if(a + b, (magnitude(a) < INFINITE) & (magnitude(b) < INFINITE));
}

// Whether a*a overflows. False for NaN.
fn square_overflows(a: Real) -> Flags {
  return (magnitude(a) > Bits(LARGEST_ROOT_BITS)) & (magnitude(a) <= INFINITE);
}

// Clamps a to the numbers whose square is an f32 if is_huge is set, else a.
fn bounded_if(a: Real, is_huge: Flags) -> Real {
  return select(a, clamp(a, Real(-LARGEST_ROOT), Real(LARGEST_ROOT)), is_huge);
}

// NaN if source is infinite or NaN, else a.
fn shown(a: Real, source: Real) -> Real {
  return select(a, bitcast<Real>(bitcast<Bits>(source) | Bits(0x7fc00000u)), magnitude(source) >= INFINITE);
}

// 0 if |a| < below, else a. Without it, a decaying moment stays at a subnormal number and slows down every later step.
fn flush(a: Real, below: f32) -> Real {
  return select(a, Real(), bitcast<Ints>(magnitude(a)) < Ints(bitcast<i32>(below)));
}

// The larger of two squares. NaN if either is NaN.
fn largest(a: Real, b: Real) -> Real {
  return bitcast<Real>(max(magnitude(a), magnitude(b)));
}
