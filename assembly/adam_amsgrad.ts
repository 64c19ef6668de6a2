// AMSGrad (arXiv 1904.09237): Adam that divides by the root of h, the largest v so far (max_exp_avg_sq).
// src/algorithms/adam.ts computes the scalars, which include everything that depends only on the step:
//
//   g = clip(grad_scale*grad, max_value) + l2*p
//   m = flush(lerp(m, g, grad_weight), flush_below)
//   v = lerp(v, g*g, square_weight)
//   h = largest(h, v)
//   p = p - (step_size*m / (sqrt(h) + eps) + decay*p)
//
// clip(a, most) clamps a to +-most; if most is 0, it is a. lerp(a, b, w) is a + w*(b - a) if w > 0, else b + w*(b - a).
// flush(a, below) is 0 if |a| < below, else a. largest(a, b) is the larger number; NaN if either is NaN. If l2 is 0,
// the term l2*p is left out.
//
// If g*g overflows f32, v and h are infinite, and p only decays. Then v and h become the largest f32, m is clamped to
// the root of the largest f32, and the step is added: p = p - step_size*m / (sqrt(h) + eps).

import { step } from './shared/adam';


@unmanaged
class AdamAmsgradScalars {
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
export function adam_amsgrad(by: AdamAmsgradScalars, param: usize, grad: usize, exp_avg: usize, exp_avg_sq: usize,
                             max_exp_avg_sq: usize, bytes: usize): void {
  step<AdamAmsgradScalars>(by, param, grad, exp_avg, exp_avg_sq, max_exp_avg_sq, bytes, true);
}
