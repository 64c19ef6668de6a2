// Writes copies of gradients, scaled and clipped by tensor, for an update of many tensors, which has one grad_scale. It
// is not an optimizer rule. Workgroups share the tensors as in squares.wgsl.

// Begin with the first tensor of `shares`.
@group(0) @binding(0) var<storage, read> values: array<f32>;
@group(0) @binding(1) var<storage, read> shares: array<Share>;
@group(0) @binding(2) var<storage, read_write> scaled: array<f32>;
@group(0) @binding(3) var<storage, read> state: State;

@compute @workgroup_size(WORKGROUP)
fn rescale(
  @builtin(workgroup_id) id: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let k = id.y * workgroups.x + id.x;
  if (k >= arrayLength(&shares)) { return; }
  let share = shares[k];
  if (share.step == 0u) { return; }
  let begin = share.offset - shares[0].offset;
  let end = begin + share.length;
  let tensor = state.tensors[share.tensor];
  for (var i = begin + share.first + lane; i < end; i += share.step) {
    scaled[i] = clip(times(tensor.scale, values[i]), tensor.most);
  }
}
