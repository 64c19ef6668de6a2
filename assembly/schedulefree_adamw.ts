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

import { step } from './shared/schedulefree_adamw';


@unmanaged
class ScheduleFreeAdamwScalars {
  grad_scale: f32;
  max_value: f32;
  square_weight: f32;
  z_from_y: f32;
  root_scale: f32;
  eps: f32;
  decay: f32;
  z_decay: f32;
  average_weight: f32;
  y_step: f32;
  z_step: f32;
}

// prettier-ignore
export function schedulefree_adamw(by: ScheduleFreeAdamwScalars, param: usize, grad: usize, z: usize, exp_avg_sq: usize,
                                   bytes: usize): void {
  step<ScheduleFreeAdamwScalars>(by, 0, 0, param, grad, z, exp_avg_sq, 0, bytes, false);
}
