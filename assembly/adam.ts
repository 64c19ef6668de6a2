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

import { step } from './shared/adam';


@unmanaged
class AdamScalars {
  grad_scale: f32;
  max_value: f32;
  l2: f32;
  grad_weight: f32;
  square_weight: f32;
  step_size: f32;
  eps: f32;
  decay: f32;
  flush_below: f32;
}

// prettier-ignore
export function adam(by: AdamScalars, param: usize, grad: usize, exp_avg: usize, exp_avg_sq: usize,
                     bytes: usize): void {
  step<AdamScalars>(by, param, grad, exp_avg, exp_avg_sq, 0, bytes, false);
}
