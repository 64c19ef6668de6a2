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

import { clip, flush, lerp, limited, mul } from '../math/f32.js';
import type { Update } from './rule.js';
import { update_iterates, update_square } from './schedulefree_adamw.js';
import type * as rules from './table.js';

export const schedulefree_adamw_inner: Update<typeof rules.schedulefree_adamw_inner> = (from, to, arrays, scalars) => {
  const { grad, exp_avg } = arrays;
  const { grad_scale, max_value, grad_weight, flush_below } = scalars;
  update_square(from, to, arrays, scalars);
  for (let i = from; i < to; i++) {
    const g = clip(limited(mul(grad_scale, grad[i]), grad[i]), max_value);
    exp_avg[i] = flush(lerp(exp_avg[i], g, grad_weight), flush_below);
  }
  update_iterates(from, to, exp_avg, arrays, scalars);
};
