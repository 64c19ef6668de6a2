// The update of a gradient scaler, as src/step/scaler-state.ts does it on the CPU, with the same bits. The file that
// follows declares `scaler: Scaler`, read and write. By integers, since WGSL may flush f32 numbers and divides to 2.5
// ULP.

// An f64: (high*2^32 + low)*2^exponent, whose digits have 53 bits.
struct Factor {
  high: u32,
  low: u32,
  exponent: i32,
}

struct Scaler {
  scale: f32,
  // Updates without an overflow since the scale changed last.
  growth_tracker: u32,
  // Whether a step of this round has found an overflow.
  found: u32,
  growth_interval: u32,
  growth: Factor,
  backoff: Factor,
  // Updates that found an overflow.
  skipped: u32,
}

// The 24 binary digits of the scale, which is a normal number.
fn scale_digits() -> u32 {
  return (bitcast<u32>(scaler.scale) & 0x7fffffu) | 0x800000u;
}

// 1/scale, rounded to the nearest f32.
fn unscale() -> f32 {
  // 2^47/digits by long division: 24 digits.
  let digits = scale_digits();
  var quotient = 0u;
  var rest = 0x800000u;
  for (var k = 0u; k < 24u; k += 1u) {
    rest <<= 1u;
    quotient <<= 1u;
    if (rest >= digits) {
      rest -= digits;
      quotient |= 1u;
    }
  }
  let rounded = quotient + u32(2u * rest > digits);
  // The highest bit of `rounded` adds 1 to the exponent field.
  return bitcast<f32>(((252u - (bitcast<u32>(scaler.scale) >> 23u)) << 23u) + rounded);
}

// scale*factor, rounded to f64 and then to f32 as JavaScript and PyTorch do. The scale itself if that is not from
// 2^-126 to 2^126.
fn scale_times(factor: Factor) -> f32 {
  // The product of the digits: 76 or 77 bits, low word first. Multiplies by 8 bits of the factor at a time.
  let digits = scale_digits();
  var product = vec3u();
  for (var k = 0u; k < 7u; k += 1u) {
    let part = digits * ((select(factor.low, factor.high, k < 3u) >> (8u * ((6u - k) % 4u))) & 0xffu);
    let shifted = (product << vec3u(8u)) | (vec3u(0u, product.xy) >> vec3u(24u));
    let low = shifted.x + part;
    let middle = shifted.y + u32(low < part);
    product = vec3u(low, middle, shifted.z + u32(middle < shifted.y));
  }
  var exponent = i32(bitcast<u32>(scaler.scale) >> 23u) + factor.exponent + 53;
  if (product.z < 0x1000u) {
    product = (product << vec3u(1u)) | (vec3u(0u, product.xy) >> vec3u(31u));
    exponent -= 1;
  }
  // 24 bits, the 29 bits after them that an f64 has, and the 24 bits after those.
  let top = (product.z << 11u) | (product.y >> 21u);
  let middle = ((product.y & 0x1fffffu) << 8u) | (product.x >> 24u);
  let last = product.x & 0xffffffu;
  let rest = middle + u32(last > 0x800000u || (last == 0x800000u && (middle & 1u) == 1u));
  let rounded = top + u32(rest > 0x10000000u || (rest == 0x10000000u && (top & 1u) == 1u));
  // The highest bit of `rounded` adds 1 to the exponent field.
  let bits = (u32(clamp(exponent, 1, 254) - 1) << 23u) + rounded;
  return bitcast<f32>(select(bitcast<u32>(scaler.scale), bits, exponent >= 1 && bits <= 0x7e800000u));
}

// Counts the step of an optimizer, and after the last one of a round updates the scale. `found`: whether its gradients
// hold an infinity or NaN. unscale() comes before this.
fn update_scaler(found: bool, is_last: bool) {
  let found_any = found || scaler.found != 0u;
  scaler.found = u32(found_any && !is_last);
  if (!is_last) { return; }
  if (found_any) {
    scaler.skipped += 1u;
    scaler.growth_tracker = 0u;
    scaler.scale = scale_times(scaler.backoff);
    return;
  }
  scaler.growth_tracker += 1u;
  if (scaler.growth_tracker >= scaler.growth_interval) {
    scaler.growth_tracker = 0u;
    scaler.scale = scale_times(scaler.growth);
  }
}
