// Sums of squares of tensors, in parts that fold.wgsl adds. It is not an optimizer rule. Each workgroup sums a share of
// one tensor, in a fixed order, and each invocation writes one part.

// Begins with the first tensor of `shares`.
@group(0) @binding(0) var<storage, read> values: array<u32>;
@group(0) @binding(1) var<storage, read> shares: array<Share>;
@group(0) @binding(2) var<storage, read_write> parts: array<Part>;
@group(1) @binding(0) var<storage, read> limits: array<u32>;

// The magnitudes of 4 elements, as bits; 0 for those at `end` or after it.
fn magnitudes(i: u32, step: u32, end: u32) -> vec4u {
  let at = i + vec4u(0, 1, 2, 3) * step;
  let bits = vec4u(values[at.x], values[at.y], values[at.z], values[at.w]) & vec4u(0x7fffffffu);
  return select(vec4u(), bits, at < vec4u(end));
}

@compute @workgroup_size(WORKGROUP)
fn squares(
  @builtin(workgroup_id) id: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let k = id.y * workgroups.x + id.x;
  if (k >= arrayLength(&shares)) { return; }
  let share = shares[k];
  let step = share.step;
  if (step == 0u) { return; }
  let begin = share.offset - shares[0].offset;
  let end = begin + share.length;
  let most = most_of(limits[share.tensor]);
  var largest = 0u;
  var sum = Sum(1, 0u, 0.0, 0.0, 0.0);
  for (var i = begin + share.first + lane; i < end; i += 8u * step) {
    // Load 8 elements before any is used: a GPU loads them at once.
    let a = magnitudes(i, step, end);
    let b = magnitudes(i + 4u * step, step, end);
    largest = max(largest, largest_of(max(a, b)));
    raise(&sum, exponent_of(largest, most));
    let x = relative(min(a, vec4u(most)), sum.exponent);
    let y = relative(min(b, vec4u(most)), sum.exponent);
    add(&sum, dot(x, x) + dot(y, y));
  }
  parts[share.part + lane] = Part(largest, total_of(sum));
}
