// Schedule-Free AdamW with inner momentum (arXiv 2405.15682): m, the average of gradients, replaces g in d. Gradients
// are computed at y; z is the fast iterate, which is averaged. src/algorithms/schedulefree.ts computes the scalars,
// which include everything that depends only on the step:
//
//   g = clip(grad_scale*grad, max_value)
//   v = lerp(v, g*g, square_weight)
//   m = flush(lerp(m, g, grad_weight), flush_below)
//   z = either(z, y, z_from_y)
//   d = m / (root_scale*sqrt(v) + eps) + decay*y + z_decay*z
//   y = (y + average_weight*(z - y)) - y_step*d
//   z = z - z_step*d
//
// The lines run in this order. clip(a, most) clamps a to +-most; if most is 0, it is a. lerp(a, b, w) is a + w*(b - a)
// if w > 0, else b + w*(b - a). flush(a, below) is 0 if |a| < below, else a. either(a, b, flag) is b if the flag is not
// 0, else a; z_from_y is 1 at a tensor's first step, else 0. If z_decay is 0, the term z_decay*z is left out.
//
// If g*g overflows f32, v is infinite, and d is only the decay, even if root_scale is 0. Then v becomes the largest
// f32, m is clamped to the root of the largest f32, and the step is added:
// d = m / (root_scale*sqrt(v) + eps), y = y - y_step*d, z = z - z_step*d.

struct ScheduleFreeAdamwInnerScalars {
  grad_scale: f32,
  max_value: f32,
  square_weight: f32,
  z_from_y: f32,
  root_scale: f32,
  eps: f32,
  decay: f32,
  z_decay: f32,
  average_weight: f32,
  y_step: f32,
  z_step: f32,
  grad_weight: f32,
  flush_below: f32,
}

@group(0) @binding(0) var<uniform> by: ScheduleFreeAdamwInnerScalars;
@group(1) @binding(0) var<storage, read_write> param: array<Real>;
// Read only. It is read_write so that gradients and parameters may be in one buffer.
@group(1) @binding(1) var<storage, read_write> grad: array<Real>;
@group(1) @binding(2) var<storage, read_write> z: array<Real>;
@group(1) @binding(3) var<storage, read_write> exp_avg_sq: array<Real>;
@group(1) @binding(4) var<storage, read_write> exp_avg: array<Real>;

@compute @workgroup_size(WORKGROUP)
fn schedulefree_adamw_inner(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) workgroups: vec3u) {
  let i = element(id, workgroups);
  if (i >= arrayLength(&param)) { return; }
  let g = clip(times(by.grad_scale, grad[i]), by.max_value);
  let is_huge = square_overflows(g);
  let m = bounded_if(flush(lerp(exp_avg[i], g, by.grad_weight), by.flush_below), is_huge);
  let v = select(lerp(exp_avg_sq[i], g * g, by.square_weight), Real(LARGEST), is_huge);
  let y = param[i];
  let before = z[i];
  let z0 = either(before, y, by.z_from_y);
  let normalized = m / (by.root_scale * sqrt(v) + by.eps);
  let late = select(Real(), normalized, is_huge);
  let d = select(normalized, Real(), is_huge) + plus(times(by.decay, y), by.z_decay, z0);
  exp_avg_sq[i] = v;
  exp_avg[i] = m;
  param[i] = shown((y + by.average_weight * (z0 - y)) - by.y_step * d - by.y_step * late, g);
  z[i] = shown(z0 - by.z_step * d - by.z_step * late, g);
}
