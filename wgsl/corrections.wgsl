// Bias corrections for a step count that only the GPU knows, by integers: in WGSL 1 - pow(beta, t) loses most digits,
// a division has an error of 2.5 ULP, and a square root that of inverseSqrt. The file that follows declares
// `powers: array<vec2u>`, with the pairs of powersOf() in src/backends/webgpu/powers.ts for every decay rate.
//
// A fraction is a vec2u, low word first: the number a*2^-64, less than 1.

// The number digits*2^exponent, cut off after 32 binary digits: too small by less than 2^-31 of it. The highest bit of
// digits is set.
struct Scaled {
  digits: u32,
  exponent: i32,
}

fn is_at_most(a: vec2u, b: vec2u) -> bool {
  return a.y < b.y || (a.y == b.y && a.x <= b.x);
}

// a + b, modulo 2^64.
fn sum(a: vec2u, b: vec2u) -> vec2u {
  let low = a.x + b.x;
  return vec2u(low, a.y + b.y + u32(low < a.x));
}

// All 64 bits of a*b.
fn wide_product(a: u32, b: u32) -> vec2u {
  let a0 = a & 0xffffu;
  let a1 = a >> 16u;
  let b0 = b & 0xffffu;
  let b1 = b >> 16u;
  let low = a0 * b0;
  let middle = a1 * b0 + (low >> 16u);
  let other = a0 * b1 + (middle & 0xffffu);
  return vec2u((other << 16u) | (low & 0xffffu), a1 * b1 + (middle >> 16u) + (other >> 16u));
}

// The product of two fractions, rounded to the nearest fraction.
fn product(a: vec2u, b: vec2u) -> vec2u {
  // The words of the product, from the lowest: lowest, middle.x, high.x, high.y.
  let lowest = wide_product(a.x, b.x);
  let left = wide_product(a.y, b.x);
  let right = wide_product(a.x, b.y);
  let middle = sum(sum(vec2u(lowest.y, 0u), vec2u(left.x, 0u)), vec2u(right.x, 0u));
  let high = sum(wide_product(a.y, b.y), sum(vec2u(left.y, 0u), vec2u(right.y, 0u)));
  return sum(high, sum(vec2u(middle.y, 0u), vec2u(middle.x >> 31u, 0u)));
}

// beta^t, for t >= 1: the product of the powers beta^(2^k) for the bits k of t. That of beta^1 is at index `first`.
fn power(first: u32, t: u32) -> vec2u {
  var result = powers[first + countTrailingZeros(t)];
  for (var rest = t & (t - 1u); rest != 0u; rest &= rest - 1u) {
    result = product(result, powers[first + countTrailingZeros(rest)]);
  }
  return result;
}

// 1 - a. The largest fraction stands for 1.
fn complement(a: vec2u) -> vec2u {
  if (all(a == vec2u())) { return ~a; }
  return sum(~a, vec2u(1u, 0u));
}

fn leading_zeros(a: vec2u) -> u32 {
  return select(countLeadingZeros(a.y), 32u + countLeadingZeros(a.x), a.y == 0u);
}

// a*2^count, for a count of at most 63.
fn shifted(a: vec2u, count: u32) -> vec2u {
  if (count >= 32u) { return vec2u(0u, a.x << (count - 32u)); }
  return vec2u(a.x << count, (a.y << count) | ((a.x >> 1u) >> (31u - count)));
}

// A fraction that is not 0.
fn scaled(a: vec2u) -> Scaled {
  let zeros = leading_zeros(a);
  return Scaled(shifted(a, zeros).y, -32 - i32(zeros));
}

// The square root of a fraction that is not 0.
fn root(a: vec2u) -> Scaled {
  // An even shift, so that the square root is scaled by a power of 2.
  let zeros = leading_zeros(a) & 62u;
  let square = shifted(a, zeros);
  var digits = 0u;
  for (var bit = 0x80000000u; bit != 0u; bit >>= 1u) {
    let next = digits | bit;
    if (is_at_most(wide_product(next, next), square)) { digits = next; }
  }
  return Scaled(digits, -32 - i32(zeros / 2u));
}

// a/b, by long division.
fn ratio(a: Scaled, b: Scaled) -> Scaled {
  var exponent = a.exponent - b.exponent - 31;
  // The remainder is less than 2*b. It has up to 33 bits: `carry` is the highest one.
  var rest = a.digits;
  var carry = 0u;
  if (rest < b.digits) {
    carry = 1u;
    rest <<= 1u;
    exponent -= 1;
  }
  var digits = 0u;
  for (var k = 0u; k < 32u; k += 1u) {
    digits <<= 1u;
    if (carry == 1u || rest >= b.digits) {
      digits |= 1u;
      rest -= b.digits;
    }
    carry = rest >> 31u;
    rest <<= 1u;
  }
  return Scaled(digits, exponent);
}

// The nearest f32, of two equally near ones the larger one. It must be a normal number.
fn to_f32(a: Scaled) -> f32 {
  let digits = (a.digits >> 8u) + ((a.digits >> 7u) & 1u);
  // The highest of the 24 digits adds 1 to the exponent's bits, a 25th digit 2.
  return bitcast<f32>((u32(a.exponent + 157) << 23u) + digits);
}

// What the host's value of a scalar is multiplied by at step t >= 1, with c1 = 1 - beta1^t and c2 = 1 - beta2^t:
// 0: 1. 1: sqrt(c2)/c1. 2: sqrt(c2). 3: sqrt(c2)/c1 with the c1 of step t + 1. 4: c2. 5: flush_below.
// first1 and first2 are where beta1 and beta2 begin in `powers`. For decay rates up to 1 - 2^-24 the error is at most
// 0.52 ULP.
fn factor(form: u32, t: u32, first1: u32, first2: u32) -> f32 {
  if (form == 0u) { return 1.0; }
  if (form == 5u) { return select(0.0, 0x1p-126f, t % 64u == 0u); }
  let correction2 = complement(power(first2, t));
  if (form == 4u) { return to_f32(scaled(correction2)); }
  let root2 = root(correction2);
  if (form == 2u) { return to_f32(root2); }
  let correction1 = complement(power(first1, t + u32(form == 3u)));
  return to_f32(ratio(root2, scaled(correction1)));
}
