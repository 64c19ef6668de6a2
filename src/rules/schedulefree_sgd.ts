// Schedule-Free SGD (arXiv 2405.15682). Gradients are computed at y; z is the fast iterate, which is averaged.
// src/algorithms/schedulefree.ts computes the scalars, which include everything that depends only on the step:
//
//   z = either(z, y, z_from_y)
//   d = clip(grad_scale*grad, max_value) + decay*y + z_decay*z
//   y = (y + average_weight*(z - y)) - y_step*d
//   z = z - z_step*d
//
// The lines run in this order. clip(a, most) clamps a to +-most; if most is 0, it is a. either(a, b, flag) is b if the
// flag is not 0, else a; z_from_y is 1 at a tensor's first step, else 0. If z_decay is 0, the term z_decay*z is left
// out. d, z - y, y and z are clamped to the largest f32. If max_value is 0, an infinite gradient makes y and z NaN.

import { add, clamped, clip, either, limited, mul, plus, shown, sub } from '../math/f32.js';
import type { Update } from './rule.js';
import type * as rules from './table.js';

export const schedulefree_sgd: Update<typeof rules.schedulefree_sgd> = (
  from,
  to,
  { param, grad, z },
  { grad_scale, max_value, z_from_y, decay, z_decay, average_weight, y_step, z_step },
) => {
  for (let i = from; i < to; i++) {
    const y = param[i];
    const z0 = either(z[i], y, z_from_y);
    const g = clip(limited(mul(grad_scale, grad[i]), grad[i]), max_value);
    let d = add(g, plus(mul(decay, y), z_decay, z0));
    let new_y = sub(add(y, mul(average_weight, sub(z0, y))), mul(y_step, d));
    let new_z = sub(z0, mul(z_step, d));
    if (!Number.isFinite(new_y + new_z)) {
      d = shown(clamped(d), g);
      new_y = clamped(sub(add(y, mul(average_weight, clamped(sub(z0, y)))), mul(y_step, d)));
      new_z = clamped(sub(z0, mul(z_step, d)));
    }
    param[i] = new_y;
    z[i] = new_z;
  }
};
