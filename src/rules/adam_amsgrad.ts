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

import { largest } from '../math/f32.js';
import { update_moments, update_param } from './adam.js';
import type { Update } from './rule.js';
import type * as rules from './table.js';

export const adam_amsgrad: Update<typeof rules.adam_amsgrad> = (from, to, arrays, scalars) => {
  const { exp_avg_sq, max_exp_avg_sq } = arrays;
  update_moments(from, to, arrays, scalars);
  for (let i = from; i < to; i++) max_exp_avg_sq[i] = largest(max_exp_avg_sq[i], exp_avg_sq[i]);
  update_param(from, to, max_exp_avg_sq, arrays, scalars);
};
