// Schedule-Free's change of mode (arXiv 2405.15682): from y to the average x and back, on the line through z.
// The weight is that of src/algorithms/schedulefree.ts:
//
//   p = p + 2*weight*(z/2 - p/2)
//
// by halves, since z - p may be beyond f32, and at most the largest f32 if p is finite. It reads no gradient.

struct ExtrapolateScalars {
  weight: f32,
}

@group(0) @binding(0) var<uniform> by: ExtrapolateScalars;
@group(1) @binding(0) var<storage, read_write> param: array<Real>;
@group(1) @binding(1) var<storage, read_write> z: array<Real>;

@compute @workgroup_size(WORKGROUP)
fn extrapolate(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) workgroups: vec3u) {
  let i = element(id, workgroups);
  if (i >= arrayLength(&param)) { return; }
  let p = param[i];
  param[i] = limited(p + 2.0 * by.weight * half_difference(p, z[i]), magnitude(p) < INFINITE);
}
