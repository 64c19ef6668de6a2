// Adds gradients in GPU memory. It is not an optimizer rule; src/backends/cpu/sums.ts does the same on the CPU.
//
//   sum = sum + grad, clamped to the largest f32 if both are finite

@group(0) @binding(0) var<storage, read_write> sum: array<Real>;
@group(0) @binding(1) var<storage, read_write> grad: array<Real>;

@compute @workgroup_size(WORKGROUP)
fn accumulate(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) workgroups: vec3u) {
  let i = element(id, workgroups);
  if (i >= arrayLength(&sum)) { return; }
  sum[i] = total(sum[i], grad[i]);
}
