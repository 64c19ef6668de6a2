// The limit of each gradient's magnitude before it is scaled, for squares.wgsl: max_value divided by the scale.

@group(0) @binding(0) var<storage, read> inputs: Inputs;
@group(0) @binding(1) var<storage, read> tensors: array<TensorInput>;
@group(0) @binding(2) var<storage, read_write> scaler: Scaler;
@group(0) @binding(3) var<storage, read> grad_scale: array<f32>;
@group(0) @binding(4) var<storage, read_write> limits: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn limit(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) workgroups: vec3u) {
  let i = element(id, workgroups);
  if (i >= inputs.tensors) { return; }
  let tensor = tensors[i];
  let scale = tensor.weight * inputs.scale * abs(scale_on_device());
  // 0 means no limit. A product below 2^-126 may be 0. The quotient may overflow.
  limits[tensor.slot] = select(max(clamped(inputs.max_value / scale), 0x1p-126f), 0.0, scale < 0x1p-126f);
}
