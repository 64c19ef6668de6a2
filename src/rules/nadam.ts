// Adam with the gradient in the numerator and a scaled root: NAdam, RAdam (arXiv 1908.03265), Nesterov's Adam and
// Optax' eps_root. src/algorithms/ computes the scalars, which include everything that depends only on the step:
//
//   g = clip(grad_scale*grad, max_value) + l2*p
//   m = flush(lerp(m, g, grad_weight), flush_below)
//   v = lerp(v, g*g, square_weight)
//   p = p - ((step_size*m + grad_step*g) / (root_scale*sqrt(v + eps_root) + eps) + decay*p)
//
// clip(a, most) clamps a to +-most; if most is 0, it is a. lerp(a, b, w) is a + w*(b - a) if w > 0, else b + w*(b - a).
// flush(a, below) is 0 if |a| < below, else a. If l2 is 0, the term l2*p is left out.
//
// If g*g overflows f32, v is infinite, and p only decays, even if root_scale is 0. Then v becomes the largest f32, m is
// clamped to the root of the largest f32, and the step is added:
// p = p - (step_size + grad_step)*m / (root_scale*sqrt(v) + eps).

import {
  add,
  bounded,
  clip,
  div,
  flush,
  LARGEST,
  LARGEST_ROOT,
  lerp,
  limited,
  mul,
  plus,
  scaled,
  sqrt,
  sub,
} from '../math/f32.js';
import type { Update } from './rule.js';
import type * as rules from './table.js';

export const nadam: Update<typeof rules.nadam> = (from, to, { param, grad, exp_avg, exp_avg_sq }, scalars) => {
  const { grad_scale, max_value, l2, grad_weight, square_weight } = scalars;
  const { step_size, grad_step, root_scale, eps_root, eps, decay, flush_below } = scalars;
  for (let i = from; i < to; i++) {
    const g = plus(clip(limited(mul(grad_scale, grad[i]), grad[i]), max_value), l2, param[i]);
    exp_avg[i] = flush(lerp(exp_avg[i], g, grad_weight), flush_below);
    exp_avg_sq[i] = lerp(exp_avg_sq[i], mul(g, g), square_weight);
  }
  for (let i = from; i < to; i++) {
    const p = param[i];
    const g = plus(clip(limited(mul(grad_scale, grad[i]), grad[i]), max_value), l2, p);
    const direction = limited(add(mul(step_size, exp_avg[i]), mul(grad_step, g)), exp_avg[i]);
    const root = scaled(root_scale, sqrt(add(exp_avg_sq[i], eps_root)));
    param[i] = sub(p, add(div(direction, add(root, eps)), mul(decay, p)));
  }
  for (let i = from; i < to; i++) {
    if (exp_avg_sq[i] !== Infinity) continue;
    exp_avg_sq[i] = LARGEST;
    exp_avg[i] = bounded(exp_avg[i]);
    const direction = mul(add(step_size, grad_step), exp_avg[i]);
    param[i] = sub(param[i], div(direction, add(mul(root_scale, LARGEST_ROOT), eps)));
  }
};
