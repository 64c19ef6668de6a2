// Schedule-Free SGD (arXiv 2405.15682). Gradients are computed at y; z is the fast iterate, which is averaged.
// src/algorithms/schedulefree.ts computes the scalars, which include everything that depends only on the step:
//
//   z = either(z, y, z_from_y)
//   d = clip(grad_scale*grad, max_value) + decay*y + z_decay*z
//   y = (y + average_weight*(z - y)) - y_step*d
//   z = z - z_step*d
//
// The lines run in this order. clip(a, most) clamps a to +-most; if most is 0, it is a. either(a, b, flag) is b if the
// flag is not 0, else a; z_from_y is 1 at a tensor's first step, else 0. If z_decay is 0, the term z_decay*z is left
// out. d, z - y, y and z are clamped to the largest f32. If max_value is 0, an infinite gradient makes y and z NaN.

struct ScheduleFreeSgdScalars {
  grad_scale: f32,
  max_value: f32,
  z_from_y: f32,
  decay: f32,
  z_decay: f32,
  average_weight: f32,
  y_step: f32,
  z_step: f32,
}

@group(0) @binding(0) var<uniform> by: ScheduleFreeSgdScalars;
@group(1) @binding(0) var<storage, read_write> param: array<Real>;
// Read only. It is read_write so that gradients and parameters may be in one buffer.
@group(1) @binding(1) var<storage, read_write> grad: array<Real>;
@group(1) @binding(2) var<storage, read_write> z: array<Real>;

@compute @workgroup_size(WORKGROUP)
fn schedulefree_sgd(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) workgroups: vec3u) {
  let i = element(id, workgroups);
  if (i >= arrayLength(&param)) { return; }
  let y = param[i];
  let g = clip(times(by.grad_scale, grad[i]), by.max_value);
  let before = z[i];
  let z0 = either(before, y, by.z_from_y);
  let d = clamped(g + plus(by.decay * y, by.z_decay, z0));
  param[i] = shown(clamped((y + by.average_weight * clamped(z0 - y)) - by.y_step * d), g);
  z[i] = shown(clamped(z0 - by.z_step * d), g);
}
