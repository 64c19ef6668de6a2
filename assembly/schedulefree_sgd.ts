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

// prettier-ignore
import { TURN, Plain, Unknown, add, are_finite, clamped, clip, either, limit_of, limited, load, load_next, mul, plus,
         shown, splat, store, sub } from './simd';


@unmanaged
class ScheduleFreeSgdScalars {
  grad_scale: f32;
  max_value: f32;
  z_from_y: f32;
  decay: f32;
  z_decay: f32;
  average_weight: f32;
  y_step: f32;
  z_step: f32;
}

/**
 * Updates from byte `i` on. Returns the first byte that is not updated. The Plain loop clamps nothing: if an operation
 * overflows, y or z is not finite, and the loop stops before it stores them.
 */
// prettier-ignore
@inline
function update<Known>(by: ScheduleFreeSgdScalars, param: usize, grad: usize, z: usize, i: usize, bytes: usize): usize {
  const grad_scale = splat(by.grad_scale), limit = limit_of(by.max_value), z_from_y = splat(by.z_from_y);
  const decay = splat(by.decay), z_decay = splat(by.z_decay);
  const average_weight = splat(by.average_weight), y_step = splat(by.y_step), z_step = splat(by.z_step);

  do {
    const y0 = load(param + i), y1 = load_next(param + i);
    const z0 = either<Known>(load(z + i), y0, z_from_y), z1 = either<Known>(load_next(z + i), y1, z_from_y);
    const g0 = clip<Known>(limited<Known>(mul(grad_scale, load(grad + i)), load(grad + i)), limit);
    const g1 = clip<Known>(limited<Known>(mul(grad_scale, load_next(grad + i)), load_next(grad + i)), limit);
    const d0 = shown<Known>(clamped<Known>(add(g0, plus<Known>(mul(decay, y0), z_decay, z0))), g0);
    const d1 = shown<Known>(clamped<Known>(add(g1, plus<Known>(mul(decay, y1), z_decay, z1))), g1);
    const average0 = add(y0, mul(average_weight, clamped<Known>(sub(z0, y0))));
    const average1 = add(y1, mul(average_weight, clamped<Known>(sub(z1, y1))));
    const new_y0 = clamped<Known>(sub(average0, mul(y_step, d0)));
    const new_y1 = clamped<Known>(sub(average1, mul(y_step, d1)));
    const new_z0 = clamped<Known>(sub(z0, mul(z_step, d0)));
    const new_z1 = clamped<Known>(sub(z1, mul(z_step, d1)));
    if (!are_finite<Known>(new_y0, new_y1, new_z0, new_z1)) break;

    store(param + i, new_y0, new_y1);
    store(z + i, new_z0, new_z1);
    i += TURN;
  } while (i < bytes);
  return i;
}

export function schedulefree_sgd(by: ScheduleFreeSgdScalars, param: usize, grad: usize, z: usize, bytes: usize): void {
  if (bytes == 0) return;
  let i: usize = 0;
  const is_plain = by.max_value == 0 && by.z_from_y == 0 && by.z_decay == 0 && abs(by.grad_scale) <= 1;
  if (is_plain) i = update<Plain>(by, param, grad, z, i, bytes);
  if (i < bytes) update<Unknown>(by, param, grad, z, i, bytes);
}
