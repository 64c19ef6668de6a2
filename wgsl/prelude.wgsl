// The vocabulary of the WGSL kernels. Before it stands one line of wgsl/vec4.wgsl or wgsl/scalar.wgsl,
// which says what a Real is: four numbers, or one where an array does not divide by four.

override WORKGROUP: u32 = 64;

// The element of this invocation; a dispatch of more than 65,535 workgroups is folded into rows.
fn element(id: vec3u, workgroups: vec3u) -> u32 {
  return id.y * workgroups.x * WORKGROUP + id.x;
}

// torch.lerp: from a towards b by a positive weight, half the rounding error of (1 - weight)*a + weight*b at the same
// speed; from b back towards a by one that is not, or the part of a large a that cancels would leave its rounding.
fn lerp(a: Real, b: Real, weight: f32) -> Real {
  return select(b, a, weight > 0.0) + weight * (b - a);
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

// The larger one of two squares; NaN if either is: as bits, which order numbers without sign, it is the largest of all.
// A zero may have come with a sign.
fn largest(a: Real, b: Real) -> Real {
  let signless = Bits(0x7fffffffu);
  return bitcast<Real>(max(bitcast<Bits>(a) & signless, bitcast<Bits>(b) & signless));
}
