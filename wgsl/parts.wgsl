// Parts of a sum of squares, and how to add them, for squares.wgsl and fold.wgsl. A part is relative to the square of a
// power of two, 2^(exponent - 127), so that no square overflows or underflows, and changing the power is exact. Here
// `most` is the limit of magnitudes, as bits.

struct Part {
  // The bits of the largest magnitude, before clamping. Infinity or NaN if there is one.
  largest: u32,
  // The sum of the squares of the clamped values, relative to the exponent of the largest one.
  squares: f32,
}

// The share of a workgroup of squares.wgsl and rescale.wgsl in a tensor.
struct Share {
  // The index of the tensor in `limits`. The host writes a share as 8 numbers.
  @align(32) tensor: u32,
  // Where the tensor begins in its arena, and its length, in elements.
  offset: u32,
  length: u32,
  // The first element of the first invocation, and the distance between elements of an invocation. 0: no share.
  first: u32,
  step: u32,
  // The index of the first part to write.
  part: u32,
}

const SMALLEST_NORMAL = 0x00800000u;

// A limit of 0 means none.
fn most_of(limit: u32) -> u32 {
  return select(limit, 0xffffffffu, limit == 0u);
}

// The biased exponents of clamped magnitudes. Subnormal numbers have the exponent of the smallest normal number.
fn exponents_of(magnitudes: vec4u, most: u32) -> vec4i {
  return max(vec4i(1), vec4i(min(magnitudes, vec4u(most)) >> vec4u(23)));
}

fn exponent_of(magnitude: u32, most: u32) -> i32 {
  return exponents_of(vec4u(magnitude), most).x;
}

fn largest_of(a: vec4u) -> u32 {
  return max(max(a.x, a.y), max(a.z, a.w));
}

// Magnitudes (bits) divided by 2^(exponent - 127). Subtracts exponents as integers, because a GPU may flush subnormal
// numbers to zero: their bits are multiples of 2^-149. Quotients below 2^-126 become 0.
fn relative(magnitudes: vec4u, exponent: i32) -> vec4f {
  let is_subnormal = magnitudes < vec4u(SMALLEST_NORMAL);
  let bits = select(magnitudes, bitcast<vec4u>(vec4f(magnitudes)), is_subnormal);
  let down = select(vec4i(exponent - 127), vec4i(exponent + 22), is_subnormal);
  let exponents = vec4i(bits >> vec4u(23)) - down;
  let quotients = (bits & vec4u(0x007fffffu)) | (vec4u(exponents) << vec4u(23));
  return bitcast<vec4f>(select(vec4u(), quotients, exponents > vec4i()));
}

// The square of 2^by. `by` is at most 0; below -60, a part is too small to count.
fn squares_of_powers(by: vec4i) -> vec4f {
  return bitcast<vec4f>(vec4u(127 + 2 * max(by, vec4i(-60))) << vec4u(23));
}

// A sum in blocks of 8 and 64 additions: less rounding error.
struct Sum {
  exponent: i32,
  additions: u32,
  few: f32,
  some: f32,
  many: f32,
}

// Makes the sum relative to `exponent`, if that is larger than its own.
fn raise(sum: ptr<function, Sum>, exponent: i32) {
  if (exponent <= (*sum).exponent) { return; }
  let square = squares_of_powers(vec4i((*sum).exponent - exponent)).x;
  (*sum).few *= square;
  (*sum).some *= square;
  (*sum).many *= square;
  (*sum).exponent = exponent;
}

fn add(sum: ptr<function, Sum>, squares: f32) {
  (*sum).few += squares;
  (*sum).additions += 1u;
  if ((*sum).additions % 8u == 0u) {
    (*sum).some += (*sum).few;
    (*sum).few = 0.0;
  }
  if ((*sum).additions % 64u == 0u) {
    (*sum).many += (*sum).some;
    (*sum).some = 0.0;
  }
}

fn total_of(sum: Sum) -> f32 {
  return sum.many + (sum.some + sum.few);
}
