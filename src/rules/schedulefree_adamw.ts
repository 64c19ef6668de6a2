// Schedule-Free AdamW (arXiv 2405.15682). Gradients are computed at y; z is the fast iterate, which is averaged.
// src/algorithms/schedulefree.ts computes the scalars, which include everything that depends only on the step:
//
//   g = clip(grad_scale*grad, max_value)
//   v = lerp(v, g*g, square_weight)
//   z = either(z, y, z_from_y)
//   d = g / (root_scale*sqrt(v) + eps) + decay*y + z_decay*z
//   y = (y + average_weight*(z - y)) - y_step*d
//   z = z - z_step*d
//
// The lines run in this order. clip(a, most) clamps a to +-most; if most is 0, it is a. lerp(a, b, w) is a + w*(b - a)
// if w > 0, else b + w*(b - a). either(a, b, flag) is b if the flag is not 0, else a; z_from_y is 1 at a tensor's first
// step, else 0. If z_decay is 0, the term z_decay*z is left out.
//
// If g*g overflows f32, v is infinite, and d is only the decay, even if root_scale is 0. Then v becomes the largest
// f32, g is clamped to the root of the largest f32, and the step is added:
// d = g / (root_scale*sqrt(v) + eps), y = y - y_step*d, z = z - z_step*d.

import {
  add,
  bounded,
  clip,
  div,
  either,
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
import type { Arrays, ScalarsOf, Update } from './rule.js';
import type * as rules from './table.js';

type Scalars = Readonly<ScalarsOf<typeof rules.schedulefree_adamw>>;
type Iterates = Arrays<'z' | 'exp_avg_sq'>;

export function update_square(from: number, to: number, { grad, exp_avg_sq }: Iterates, scalars: Scalars): void {
  const { grad_scale, max_value, square_weight } = scalars;
  for (let i = from; i < to; i++) {
    const g = clip(limited(mul(grad_scale, grad[i]), grad[i]), max_value);
    exp_avg_sq[i] = lerp(exp_avg_sq[i], mul(g, g), square_weight);
  }
}

/** Normalizes the average of gradients if there is one, else the gradient. */
// prettier-ignore
export function update_iterates(from: number, to: number, exp_avg: Float32Array | undefined,
                         { param, grad, z, exp_avg_sq }: Iterates, scalars: Scalars): void {
  const { z_from_y, root_scale, eps, decay, z_decay, average_weight, y_step, z_step } = scalars;
  const direction = exp_avg ?? grad;
  const scale = exp_avg === undefined ? scalars.grad_scale : 1;
  const most = exp_avg === undefined ? scalars.max_value : 0;
  for (let i = from; i < to; i++) {
    const y = param[i];
    const z0 = either(z[i], y, z_from_y);
    const numerator = clip(limited(mul(scale, direction[i]), direction[i]), most);
    const normalized = div(numerator, add(scaled(root_scale, sqrt(exp_avg_sq[i])), eps));
    const d = add(normalized, plus(limited(mul(decay, y), y), z_decay, z0));
    param[i] = sub(add(y, mul(average_weight, sub(z0, y))), mul(y_step, d));
    z[i] = sub(z0, mul(z_step, d));
    if (exp_avg_sq[i] !== Infinity) continue;
    exp_avg_sq[i] = LARGEST;
    const m = bounded(numerator);
    if (exp_avg !== undefined) exp_avg[i] = m;
    const late = div(m, add(mul(root_scale, LARGEST_ROOT), eps));
    param[i] = sub(param[i], mul(y_step, late));
    z[i] = sub(z[i], mul(z_step, late));
  }
}

export const schedulefree_adamw: Update<typeof rules.schedulefree_adamw> = (from, to, arrays, scalars) => {
  update_square(from, to, arrays, scalars);
  update_iterates(from, to, undefined, arrays, scalars);
};
