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
  return select(a + scale * b, a, scale == 0.0);
}

// WGSL may assume that no number is infinite or NaN, and flush subnormal ones: all are told by their bits.
const EXPONENT = Bits(0x7f800000u);

// Subnormal to zero, NaN kept: a moment that decays would else stick at a subnormal, and slow every later step.
fn flush(a: Real) -> Real {
  return select(a, Real(), (bitcast<Bits>(a) & EXPONENT) == Bits());
}

// The larger of two squares, NaN if either is NaN: compared as bits, which order numbers without a sign, and NaN above
// all. The mask is for -0.
fn largest(a: Real, b: Real) -> Real {
  let signless = Bits(0x7fffffffu);
  return bitcast<Real>(max(bitcast<Bits>(a) & signless, bitcast<Bits>(b) & signless));
}
