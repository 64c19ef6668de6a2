// Decides from the sums of squares of all gradients what they are multiplied by, and whether the step is skipped.
// src/step/clip.ts does the same on the CPU. One workgroup: its invocations share the tensors, and the first decides.

@group(0) @binding(0) var<storage, read> inputs: Inputs;
@group(0) @binding(1) var<storage, read> tensors: array<TensorInput>;
@group(0) @binding(2) var<storage, read_write> scaler: Scaler;
@group(0) @binding(3) var<storage, read> grad_scale: array<f32>;
@group(0) @binding(4) var<storage, read> limits: array<u32>;
@group(0) @binding(5) var<storage, read> sums: array<Part>;
@group(0) @binding(6) var<storage, read_write> state: State;

const LANES = 64u;
// Added to a norm before it divides, as in torch.nn.utils.clip_grad_norm_.
const EPS = 1e-6;
const INFINITY_BITS = 0x7f800000u;

// A sum of squares, relative to 2^(2*(exponent - 127)), and the bits of the largest magnitude before clamping.
struct Total {
  exponent: i32,
  squares: f32,
  largest: u32,
  // Whether a factor is too small for f32 once it is clipped.
  is_lost: bool,
}

var<workgroup> totals: array<Total, LANES>;
var<workgroup> is_skipped: u32;
var<workgroup> scale: f32;

// a*2^by for a >= 0; the largest f32 if it is less, and 0 below 2^-126.
fn times_power(a: f32, by: i32) -> f32 {
  let bits = bitcast<u32>(a);
  let exponent = i32(bits >> 23u) + by;
  if (bits < SMALLEST_NORMAL || exponent < 1) { return 0.0; }
  if (exponent > 254) { return LARGEST; }
  return bitcast<f32>((u32(exponent) << 23u) | (bits & 0x007fffffu));
}

// A number is significand*2^power.
fn power_of(a: f32) -> i32 {
  return i32((bitcast<u32>(a) >> 23u) & 0xffu) - 127;
}

fn significand_of(a: f32) -> f32 {
  return bitcast<f32>((bitcast<u32>(a) & 0x007fffffu) | 0x3f800000u);
}

// The factor of gradients once they are clipped. Their norm before that is factor*sqrt(squares)*2^(exponent - 127).
fn clipped_factor(total: Total, factor: f32) -> f32 {
  let root = sqrt(total.squares);
  let power = total.exponent - 127;
  if (inputs.normalizes != 0u) {
    if (root == 0.0) { return factor; }
    return times_power(1.0 / root, -power);
  }
  // The largest f32 stands for Infinity, which only measures.
  if (inputs.needs_norm == 0u || inputs.max_norm == LARGEST) { return factor; }
  let norm = times_power(significand_of(factor) * root, power + power_of(factor));
  // Beside a norm that is so large, EPS is nothing. The norm itself may be too large for f32.
  if (norm > 0x1p40f) { return min(factor, times_power(inputs.max_norm / root, -power)); }
  return factor * min(1.0, inputs.max_norm / (norm + EPS));
}

// Whether gradients would be multiplied by 0, although they have a factor and are not 0.
fn is_lost(total: Total, factor: f32, clipped: f32) -> bool {
  return inputs.needs_norm != 0u && factor >= 0x1p-126f && total.squares > 0.0 && clipped < 0x1p-126f;
}

// max_value of gradients whose factor became `clipped`. 0 means none.
fn clipped_limit(factor: f32, clipped: f32) -> f32 {
  return select(0.0, max(clamped(inputs.max_value / factor * clipped), 0x1p-126f), inputs.max_value > 0.0);
}

// Adds a sum of squares that is relative to `exponent`.
fn add_relative(sum: ptr<function, Sum>, exponent: i32, squares: f32) {
  raise(sum, exponent);
  add(sum, squares * squares_of_powers(vec4i(exponent - (*sum).exponent)).x);
}

fn total_of_tensor(slot: u32) -> Total {
  let part = sums[slot];
  let limit = select(0u, limits[slot], inputs.max_value > 0.0);
  return Total(exponent_of(part.largest, most_of(limit)), part.squares, part.largest, false);
}

// The total of all gradients of the step, divided by the largest scale.
fn total_of_lanes() -> Total {
  var largest = 0u;
  var lost = false;
  var sum = Sum(1, 0u, 0.0, 0.0, 0.0);
  for (var k = 0u; k < LANES; k += 1u) {
    let total = totals[k];
    largest = max(largest, total.largest);
    lost = lost || total.is_lost;
    add_relative(&sum, total.exponent, total.squares);
  }
  return Total(sum.exponent, total_of(sum), largest, lost);
}

fn decide_step(total: Total) {
  let is_scaled = (bitcast<u32>(scale) & 0x7fffffffu) < INFINITY_BITS;
  let is_finite = total.largest < INFINITY_BITS && is_scaled;
  // A limit makes an infinity finite, unless the scale is 0, but not NaN.
  let is_limited = inputs.max_value > 0.0 && total.largest == INFINITY_BITS && scale != 0.0 && is_scaled;
  let is_norm_lost = !is_finite && !is_limited;
  let factor = inputs.scale * abs(scale);
  var clipped = factor;
  if (inputs.is_each_clipped == 0u) { clipped = clipped_factor(total, factor); }
  let is_any_lost = total.is_lost || is_lost(total, factor, clipped);
  let found = !is_finite || is_any_lost;
  let must_skip = (inputs.needs_finite != 0u && found) || (inputs.needs_norm != 0u && (is_norm_lost || is_any_lost));
  if (inputs.has_scaler != 0u) { update_scaler(found, inputs.is_last != 0u); }
  is_skipped = u32(must_skip);
  state.is_skipped = is_skipped;
  state.skipped += is_skipped;
  if (inputs.needs_norm != 0u) {
    state.factor = factor;
    state.squares = total.squares;
    state.exponent = total.exponent;
    let is_infinite = total.largest == INFINITY_BITS && is_scaled && inputs.max_value == 0.0;
    state.largest = select(0u, INFINITY_BITS + u32(!is_infinite), is_norm_lost);
  }
  state.scale = select(clipped, -clipped, scale < 0.0);
  state.most = clipped_limit(factor, clipped);
}

@compute @workgroup_size(64)
fn decide(@builtin(local_invocation_index) lane: u32) {
  if (lane == 0u) { scale = scale_on_device(); }
  workgroupBarrier();
  var largest = 0u;
  var lost = false;
  var sum = Sum(1, 0u, 0.0, 0.0, 0.0);
  for (var i = lane; i < inputs.tensors; i += LANES) {
    let tensor = tensors[i];
    let total = total_of_tensor(tensor.slot);
    // 0 times an infinity is NaN.
    if (tensor.weight < 0x1p-126f) {
      largest = max(largest, select(0u, INFINITY_BITS + 1u, total.largest >= INFINITY_BITS));
      continue;
    }
    largest = max(largest, total.largest);
    let root = significand_of(tensor.weight);
    add_relative(&sum, total.exponent + power_of(tensor.weight), total.squares * (root * root));
    if (inputs.is_each_clipped != 0u) {
      let factor = tensor.weight * inputs.scale * abs(scale);
      lost = lost || is_lost(total, factor, clipped_factor(total, factor));
    }
  }
  totals[lane] = Total(sum.exponent, total_of(sum), largest, lost);
  workgroupBarrier();
  if (lane == 0u) { decide_step(total_of_lanes()); }
  workgroupBarrier();
  for (var i = lane; i < inputs.tensors; i += LANES) {
    let tensor = tensors[i];
    let slot = tensor.slot;
    if (is_skipped != 0u) { state.tensors[slot].skipped += 1u; }
    if (inputs.is_each_clipped == 0u) { continue; }
    let factor = tensor.weight * inputs.scale * abs(scale);
    let clipped = clipped_factor(total_of_tensor(slot), factor);
    // As in prepare.wgsl.
    let least = select(0.0, 0x1p-126f, inputs.max_value > 0.0 && factor > 0.0);
    let size = max(clamped(clipped), least);
    state.tensors[slot].scale = select(size, -size, scale < 0.0);
    state.tensors[slot].most = clipped_limit(factor, clipped);
  }
}
