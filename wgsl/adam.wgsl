// Adam, AdamW and AMSGrad (arXiv 1412.6980, 1711.05101, 1904.09237), with everything that
// depends on the step alone folded into the scalars by src/algorithms/adam.ts:
//
//   g = grad_scale*grad + l2*p
//   m = lerp(m, g, grad_weight)
//   v = lerp(v, g*g, square_weight)
//   p = p - (step_size*m / (sqrt(v) + eps) + decay*p)
//
// where lerp(a, b, weight) is a + weight*(b - a). AMSGrad divides by the root of the largest v so far.

struct AdamScalars {
  grad_scale: f32,
  l2: f32,
  grad_weight: f32,
  square_weight: f32,
  step_size: f32,
  eps: f32,
  decay: f32,
}

@group(0) @binding(0) var<uniform> by: AdamScalars;
@group(1) @binding(0) var<storage, read_write> param: array<Real>;
// Only read; read_write lets the caller keep gradients and parameters in one buffer.
@group(1) @binding(1) var<storage, read_write> grad: array<Real>;
@group(1) @binding(2) var<storage, read_write> exp_avg: array<Real>;
@group(1) @binding(3) var<storage, read_write> exp_avg_sq: array<Real>;
@group(1) @binding(4) var<storage, read_write> max_exp_avg_sq: array<Real>;

fn update_moments(i: u32) -> Real {
  let g = by.grad_scale * grad[i] + by.l2 * param[i];
  exp_avg[i] = flush(lerp(exp_avg[i], g, by.grad_weight));
  let v = lerp(exp_avg_sq[i], g * g, by.square_weight);
  exp_avg_sq[i] = v;
  return v;
}

fn update_param(i: u32, h: Real) {
  let p = param[i];
  param[i] = p - (by.step_size * exp_avg[i] / (sqrt(h) + by.eps) + by.decay * p);
}

@compute @workgroup_size(WORKGROUP)
fn adam(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) workgroups: vec3u) {
  let i = element(id, workgroups);
  if (i >= arrayLength(&param)) { return; }
  update_param(i, update_moments(i));
}

@compute @workgroup_size(WORKGROUP)
fn adam_amsgrad(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) workgroups: vec3u) {
  let i = element(id, workgroups);
  if (i >= arrayLength(&param)) { return; }
  let h = largest(max_exp_avg_sq[i], update_moments(i));
  max_exp_avg_sq[i] = h;
  update_param(i, h);
}
