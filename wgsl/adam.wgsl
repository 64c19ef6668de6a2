// Adam and AdamW (arXiv 1412.6980, 1711.05101). src/algorithms/adam.ts computes the scalars, which include everything
// that depends only on the step:
//
//   g = clip(grad_scale*grad, max_value) + l2*p
//   m = flush(lerp(m, g, grad_weight), flush_below)
//   v = lerp(v, g*g, square_weight)
//   p = p - (step_size*m / (sqrt(v) + eps) + decay*p)
//
// clip(a, most) clamps a to +-most; if most is 0, it is a. lerp(a, b, w) is a + w*(b - a) if w > 0, else b + w*(b - a).
// flush(a, below) is 0 if |a| < below, else a. If l2 is 0, the term l2*p is left out.
//
// If g*g overflows f32, v is infinite, and p only decays. Then v becomes the largest f32, m is clamped to the root of
// the largest f32, and the step is added: p = p - step_size*m / (sqrt(v) + eps).

struct AdamScalars {
  grad_scale: f32,
  max_value: f32,
  l2: f32,
  grad_weight: f32,
  square_weight: f32,
  step_size: f32,
  eps: f32,
  decay: f32,
  flush_below: f32,
}

@group(0) @binding(0) var<uniform> by: AdamScalars;
@group(1) @binding(0) var<storage, read_write> param: array<Real>;
// Read only. It is read_write so that gradients and parameters may be in one buffer.
@group(1) @binding(1) var<storage, read_write> grad: array<Real>;
@group(1) @binding(2) var<storage, read_write> exp_avg: array<Real>;
@group(1) @binding(3) var<storage, read_write> exp_avg_sq: array<Real>;

@compute @workgroup_size(WORKGROUP)
fn adam(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) workgroups: vec3u) {
  let i = element(id, workgroups);
  if (i >= arrayLength(&param)) { return; }
  let p = param[i];
  let g = plus(clip(times(by.grad_scale, grad[i]), by.max_value), by.l2, p);
  let is_huge = square_overflows(g);
  let m = bounded_if(flush(lerp(exp_avg[i], g, by.grad_weight), by.flush_below), is_huge);
  let v = select(lerp(exp_avg_sq[i], g * g, by.square_weight), Real(LARGEST), is_huge);
  exp_avg[i] = m;
  exp_avg_sq[i] = v;
  let step = by.step_size * m / (sqrt(v) + by.eps);
  let late = select(Real(), step, is_huge);
  let at_once = select(step, Real(), is_huge);
  param[i] = shown(p - (at_once + by.decay * p) - late, g);
}
