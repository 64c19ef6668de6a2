// Schedule-Free AdamW (arXiv 2405.15682): y is where gradients are taken, z the fast iterate that it averages.
// What depends on the step alone is folded into the scalars by src/algorithms/schedulefree.ts:
//
//   g = grad_scale*grad
//   v = lerp(v, g*g, square_weight)
//   z = z + z_from_y*(y - z)
//   d = g / (root_scale*sqrt(v) + eps) + decay*y + z_decay*z
//   y = (y + average_weight*(z - y)) - y_step*d
//   z = z - z_step*d
//
// with the z before its step in all but the last line. Inner momentum has m = lerp(m, g, grad_weight) in place of g in d.

import { TURN, add, div, flush, lerp, load, load_next, mul, splat, sqrt, store, sub } from './simd';


@unmanaged
class ScheduleFreeAdamwScalars {
  grad_scale: f32;
  square_weight: f32;
  z_from_y: f32;
  root_scale: f32;
  eps: f32;
  decay: f32;
  z_decay: f32;
  average_weight: f32;
  y_step: f32;
  z_step: f32;
  grad_weight: f32;
}

// prettier-ignore
@inline
function update(by: ScheduleFreeAdamwScalars, param: usize, grad: usize, z: usize, exp_avg_sq: usize, exp_avg: usize,
                bytes: usize, inner: bool, from_a: bool): void {
  const grad_scale = splat(by.grad_scale), square_weight = splat(by.square_weight), z_from_y = splat(by.z_from_y);
  const root_scale = splat(by.root_scale), eps = splat(by.eps), decay = splat(by.decay), z_decay = splat(by.z_decay);
  const average_weight = splat(by.average_weight), y_step = splat(by.y_step), z_step = splat(by.z_step);
  const grad_weight = splat(inner ? by.grad_weight : 0);

  for (let i: usize = 0; i < bytes; i += TURN) {
    const y0 = load(param + i), y1 = load_next(param + i);
    const g0 = mul(grad_scale, load(grad + i)), g1 = mul(grad_scale, load_next(grad + i));
    const v0 = lerp(load(exp_avg_sq + i), mul(g0, g0), square_weight, from_a);
    const v1 = lerp(load_next(exp_avg_sq + i), mul(g1, g1), square_weight, from_a);
    const m0 = inner ? flush(lerp(load(exp_avg + i), g0, grad_weight, from_a)) : g0;
    const m1 = inner ? flush(lerp(load_next(exp_avg + i), g1, grad_weight, from_a)) : g1;
    let z0 = load(z + i), z1 = load_next(z + i);
    z0 = add(z0, mul(z_from_y, sub(y0, z0)));
    z1 = add(z1, mul(z_from_y, sub(y1, z1)));
    const d0 = add(div(m0, add(mul(root_scale, sqrt(v0)), eps)), add(mul(decay, y0), mul(z_decay, z0)));
    const d1 = add(div(m1, add(mul(root_scale, sqrt(v1)), eps)), add(mul(decay, y1), mul(z_decay, z1)));

    store(exp_avg_sq + i, v0, v1);
    if (inner) store(exp_avg + i, m0, m1);
    store(param + i,
      sub(add(y0, mul(average_weight, sub(z0, y0))), mul(y_step, d0)),
      sub(add(y1, mul(average_weight, sub(z1, y1))), mul(y_step, d1)));
    store(z + i, sub(z0, mul(z_step, d0)), sub(z1, mul(z_step, d1)));
  }
}

// prettier-ignore
export function schedulefree_adamw(by: ScheduleFreeAdamwScalars, param: usize, grad: usize, z: usize, exp_avg_sq: usize,
                                   bytes: usize): void {
  if (by.square_weight > 0) update(by, param, grad, z, exp_avg_sq, 0, bytes, false, true);
  else update(by, param, grad, z, exp_avg_sq, 0, bytes, false, false);
}

// prettier-ignore
export function schedulefree_adamw_inner(by: ScheduleFreeAdamwScalars, param: usize, grad: usize, z: usize,
                                         exp_avg_sq: usize, exp_avg: usize, bytes: usize): void {
  if (by.square_weight > 0 && by.grad_weight > 0) update(by, param, grad, z, exp_avg_sq, exp_avg, bytes, true, true);
  else update(by, param, grad, z, exp_avg_sq, exp_avg, bytes, true, false);
}
