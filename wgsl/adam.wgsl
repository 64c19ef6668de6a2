// Adam, AdamW and AMSGrad (arXiv 1412.6980, 1711.05101, 1904.09237), with everything that
// depends on the step alone folded into the scalars by src/algorithms/adam.ts:
//
//   g = grad_scale*grad + l2*p
//   m = flush(lerp(m, g, grad_weight), flush_below)
//   v = lerp(v, g*g, square_weight)
//   p = p - (step_size*m / (sqrt(v) + eps) + decay*p)
//
// where lerp(a, b, w) is a + w*(b - a) if w > 0, else b + w*(b - a); flush(a, below) is 0 if |a| < below, else a; and
// the term of l2 is left out if l2 is zero. AMSGrad divides by the root of the largest v so far.
//
// If g*g is beyond f32, v is infinite, and p only decays. Then v becomes the largest f32, m is bounded to its root, and
// the step is taken: p = p - step_size*m / (sqrt(v) + eps).

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
// Only read; read_write lets the caller keep gradients and parameters in one buffer.
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

// Arrays may share a buffer, for all that a compiler knows: what is read back after a store is loaded a second time.
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
