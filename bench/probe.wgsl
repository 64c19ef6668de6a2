// Measures a GPU's limit: moves the memory that a step moves. Like the kernels, four elements per invocation.

struct Scalars {
  weight: f32,
}

@group(0) @binding(0) var<uniform> scalars: Scalars;
@group(1) @binding(0) var<storage, read_write> param: array<vec4f>;
@group(1) @binding(1) var<storage, read_write> grad: array<vec4f>;
@group(1) @binding(2) var<storage, read_write> a: array<vec4f>;
@group(1) @binding(3) var<storage, read_write> b: array<vec4f>;
@group(1) @binding(4) var<storage, read_write> c: array<vec4f>;

override WORKGROUP: u32 = 64;

fn element(id: vec3u, workgroups: vec3u) -> u32 {
  return id.y * workgroups.x * WORKGROUP + id.x;
}

@compute @workgroup_size(WORKGROUP)
fn traffic20(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) workgroups: vec3u) {
  let i = element(id, workgroups);
  if (i >= arrayLength(&param)) { return; }
  let g = scalars.weight * grad[i];
  a[i] += g;
  param[i] += g;
}

@compute @workgroup_size(WORKGROUP)
fn traffic28(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) workgroups: vec3u) {
  let i = element(id, workgroups);
  if (i >= arrayLength(&param)) { return; }
  let g = scalars.weight * grad[i];
  a[i] += g;
  b[i] += g;
  param[i] += g;
}

@compute @workgroup_size(WORKGROUP)
fn traffic36(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) workgroups: vec3u) {
  let i = element(id, workgroups);
  if (i >= arrayLength(&param)) { return; }
  let g = scalars.weight * grad[i];
  a[i] += g;
  b[i] += g;
  c[i] += g;
  param[i] += g;
}
