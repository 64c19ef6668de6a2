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

// The coefficient of gradients whose norm is factor*sqrt(squares)*2^(exponent - 127).
fn coefficient_of(total: Total, factor: f32) -> f32 {
  let root = factor * sqrt(total.squares);
  let power = total.exponent - 127;
  if (inputs.normalizes != 0u) {
    if (root < 0x1p-126f) { return 1.0; }
    return times_power(1.0 / root, -power);
  }
  // It stands for Infinity, which only measures.
  if (inputs.max_norm == LARGEST) { return 1.0; }
  // A norm that may be too large for f32 is far above EPS.
  if (power > 63) { return min(1.0, times_power(inputs.max_norm / root, -power)); }
  return min(1.0, inputs.max_norm / (times_power(root, power) + EPS));
}

// max_value after gradients were multiplied by a coefficient. 0 means none.
fn most_after(coefficient: f32) -> f32 {
  return select(0.0, max(clamped(inputs.max_value * coefficient), 0x1p-126f), inputs.max_value > 0.0);
}

// Adds a sum of squares that is relative to `exponent`.
fn add_relative(sum: ptr<function, Sum>, exponent: i32, squares: f32) {
  raise(sum, exponent);
  add(sum, squares * squares_of_powers(vec4i(exponent - (*sum).exponent)).x);
}

fn total_of_tensor(slot: u32) -> Total {
  let part = sums[slot];
  let limit = select(0u, limits[slot], inputs.max_value > 0.0);
  return Total(exponent_of(part.largest, most_of(limit)), part.squares, part.largest);
}

// The total of all gradients of the step, divided by the largest scale.
fn total_of_lanes() -> Total {
  var largest = 0u;
  var sum = Sum(1, 0u, 0.0, 0.0, 0.0);
  for (var k = 0u; k < LANES; k += 1u) {
    let total = totals[k];
    largest = max(largest, total.largest);
    add_relative(&sum, total.exponent, total.squares);
  }
  return Total(sum.exponent, total_of(sum), largest);
}

fn decide_step(total: Total) {
  let is_scaled = (bitcast<u32>(scale) & 0x7fffffffu) < INFINITY_BITS;
  let found = total.largest >= INFINITY_BITS || !is_scaled;
  // A limit makes an infinity finite, unless the scale is 0, but not NaN.
  let is_limited = inputs.max_value > 0.0 && total.largest == INFINITY_BITS && scale != 0.0 && is_scaled;
  let is_norm_lost = found && !is_limited;
  let must_skip = (inputs.needs_finite != 0u && found) || (inputs.needs_norm != 0u && is_norm_lost);
  if (inputs.has_scaler != 0u) { update_scaler(found, inputs.is_last != 0u); }
  is_skipped = u32(must_skip);
  state.is_skipped = is_skipped;
  state.skipped += is_skipped;
  let factor = inputs.scale * abs(scale);
  var coefficient = 1.0;
  if (inputs.needs_norm != 0u) {
    state.factor = factor;
    state.squares = total.squares;
    state.exponent = total.exponent;
    let is_infinite = total.largest == INFINITY_BITS && is_scaled && inputs.max_value == 0.0;
    state.largest = select(0u, INFINITY_BITS + u32(!is_infinite), is_norm_lost);
    if (inputs.is_each_clipped == 0u) { coefficient = coefficient_of(total, factor); }
  }
  state.gain = scale * coefficient;
  state.most = most_after(coefficient);
}

@compute @workgroup_size(64)
fn decide(@builtin(local_invocation_index) lane: u32) {
  if (lane == 0u) { scale = scale_on_device(); }
  var largest = 0u;
  var sum = Sum(1, 0u, 0.0, 0.0, 0.0);
  for (var i = lane; i < inputs.tensors; i += LANES) {
    let tensor = tensors[i];
    let total = total_of_tensor(tensor.slot);
    // The weight is root*2^power.
    let weight = bitcast<u32>(tensor.weight);
    let power = i32(weight >> 23u) - 127;
    let root = bitcast<f32>((weight & 0x007fffffu) | 0x3f800000u);
    // 0 times an infinity is NaN.
    if (weight < SMALLEST_NORMAL) {
      largest = max(largest, select(0u, INFINITY_BITS + 1u, total.largest >= INFINITY_BITS));
      continue;
    }
    largest = max(largest, total.largest);
    add_relative(&sum, total.exponent + power, total.squares * (root * root));
  }
  totals[lane] = Total(sum.exponent, total_of(sum), largest);
  workgroupBarrier();
  if (lane == 0u) { decide_step(total_of_lanes()); }
  workgroupBarrier();
  for (var i = lane; i < inputs.tensors; i += LANES) {
    let tensor = tensors[i];
    let slot = tensor.slot;
    if (is_skipped != 0u) { state.tensors[slot].skipped += 1u; }
    if (inputs.is_each_clipped == 0u) { continue; }
    let of_host = tensor.weight * inputs.scale;
    let coefficient = coefficient_of(total_of_tensor(slot), of_host * abs(scale));
    // As in prepare.wgsl.
    let least = select(0.0, 0x1p-126f, inputs.max_value > 0.0 && of_host > 0.0);
    let size = max(clamped(of_host * abs(scale) * coefficient), least);
    state.tensors[slot].scale = select(size, -size, scale < 0.0);
    state.tensors[slot].most = most_after(coefficient);
  }
}
