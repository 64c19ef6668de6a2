// Adam, AdamW and AMSGrad (arXiv 1412.6980, 1711.05101, 1904.09237). src/algorithms/adam.ts computes the scalars, which
// include everything that depends only on the step:
//
//   g = grad_scale*grad + l2*p
//   m = flush(lerp(m, g, grad_weight), flush_below)
//   v = lerp(v, g*g, square_weight)
//   p = p - (step_size*m / (sqrt(v) + eps) + decay*p)
//
// lerp(a, b, w) is a + w*(b - a) if w > 0, else b + w*(b - a). flush(a, below) is 0 if |a| < below, else a. If l2 is 0,
// the term l2*p is left out. AMSGrad divides by the root of the largest v so far.
//
// If g*g overflows f32, v is infinite, and p only decays. Then v becomes the largest f32, m is clamped to the root of
// the largest f32, and the step is added: p = p - step_size*m / (sqrt(v) + eps).

struct AdamScalars {
  grad_scale: f32,
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
@group(1) @binding(4) var<storage, read_write> max_exp_avg_sq: array<Real>;

struct Moments {
  p: Real,
  g: Real,
  m: Real,
  v: Real,
}

// All loads come before any store: arrays may share a buffer, so the compiler would load again after a store.
fn load_moments(i: u32) -> Moments {
  let p = param[i];
  let g = plus(times(by.grad_scale, grad[i]), by.l2, p);
  let m = bounded(flush(lerp(exp_avg[i], g, by.grad_weight), by.flush_below), g);
  let v = select(lerp(exp_avg_sq[i], g * g, by.square_weight), Real(LARGEST), overflows(g));
  return Moments(p, g, m, v);
}

fn store_step(i: u32, now: Moments, h: Real) {
  exp_avg[i] = now.m;
  exp_avg_sq[i] = now.v;
  let step = by.step_size * now.m / (sqrt(h) + by.eps);
  let late = select(Real(), step, overflows(now.g));
  let at_once = select(step, Real(), overflows(now.g));
  param[i] = shown(now.p - (at_once + by.decay * now.p) - late, now.g);
}

@compute @workgroup_size(WORKGROUP)
fn adam(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) workgroups: vec3u) {
  let i = element(id, workgroups);
  if (i >= arrayLength(&param)) { return; }
  let now = load_moments(i);
  store_step(i, now, now.v);
}

@compute @workgroup_size(WORKGROUP)
fn adam_amsgrad(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) workgroups: vec3u) {
  let i = element(id, workgroups);
  if (i >= arrayLength(&param)) { return; }
  let now = load_moments(i);
  let h = largest(max_exp_avg_sq[i], now.v);
  max_exp_avg_sq[i] = h;
  store_step(i, now, h);
}
