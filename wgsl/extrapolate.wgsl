// Schedule-Free's train() and eval() (arXiv 2405.15682): moves p from y to the average x or back, along the line
// through z. src/algorithms/schedulefree.ts computes the scalar `weight`:
//
//   p = p + 2*weight*(z/2 - p/2)
//
// z - p may overflow f32, so the difference is computed from halves. If p is finite, the result is clamped to the
// largest f32. Reads no gradient.

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
  param[i] = limited_if(p + 2.0 * by.weight * half_difference(p, z[i]), magnitude(p) < INFINITE);
}
