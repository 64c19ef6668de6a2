// The loops that schedulefree_adamw and schedulefree_adamw_inner share. `By` is the class of the scalars; exp_avg,
// grad_weight and flush_below are used only if `inner`.

// prettier-ignore
import { LARGEST, LARGEST_ROOT, TURN, Plain, Unknown, add, any, bounded, change, clip, div, either, flush, larger,
         lerp, limit_of, limited, load, load_next, mul, overflows, plus, scaled, splat, sqrt, store,
         sub } from '../simd';

/** Returns the largest v. */
// prettier-ignore
@inline
function update<Known, By>(by: By, grad_weight: f32, flush_below: f32, param: usize, grad: usize, z: usize,
                           exp_avg_sq: usize, exp_avg: usize, bytes: usize, inner: bool): v128 {
  const grad_scale = splat(by.grad_scale), limit = limit_of(by.max_value), square_weight = splat(by.square_weight);
  const z_from_y = splat(by.z_from_y), root_scale = splat(by.root_scale), eps = splat(by.eps);
  const decay = splat(by.decay), z_decay = splat(by.z_decay);
  const average_weight = splat(by.average_weight), y_step = splat(by.y_step), z_step = splat(by.z_step);
  const weight = splat(grad_weight), below = splat(flush_below);

  let highest = splat(0);
  let i: usize = 0;
  do {
    const g0 = clip<Known>(limited<Known>(mul(grad_scale, load(grad + i)), load(grad + i)), limit);
    const g1 = clip<Known>(limited<Known>(mul(grad_scale, load_next(grad + i)), load_next(grad + i)), limit);
    const v0 = lerp<Known>(load(exp_avg_sq + i), mul(g0, g0), square_weight);
    const v1 = lerp<Known>(load_next(exp_avg_sq + i), mul(g1, g1), square_weight);
    const m0 = inner ? flush<Known>(lerp<Known>(load(exp_avg + i), g0, weight), below) : g0;
    const m1 = inner ? flush<Known>(lerp<Known>(load_next(exp_avg + i), g1, weight), below) : g1;
    const root0 = scaled<Known>(root_scale, sqrt(v0)), root1 = scaled<Known>(root_scale, sqrt(v1));
    const normalized0 = div(m0, add(root0, eps)), normalized1 = div(m1, add(root1, eps));
    const y0 = load(param + i), y1 = load_next(param + i);
    const z0 = either<Known>(load(z + i), y0, z_from_y), z1 = either<Known>(load_next(z + i), y1, z_from_y);
    const d0 = add(normalized0, plus<Known>(limited<Known>(mul(decay, y0), y0), z_decay, z0));
    const d1 = add(normalized1, plus<Known>(limited<Known>(mul(decay, y1), y1), z_decay, z1));
    highest = larger(larger(highest, v0), v1);

    store(exp_avg_sq + i, v0, v1);
    if (inner) store(exp_avg + i, m0, m1);
    store(param + i,
      sub(add(y0, mul(average_weight, sub(z0, y0))), mul(y_step, d0)),
      sub(add(y1, mul(average_weight, sub(z1, y1))), mul(y_step, d1)));
    store(z + i, sub(z0, mul(z_step, d0)), sub(z1, mul(z_step, d1)));
    i += TURN;
  } while (i < bytes);
  return highest;
}

/** Adds the step of elements whose v is infinite, with a clamped gradient or average of gradients. */
// prettier-ignore
@inline
function bound<By>(by: By, param: usize, grad: usize, z: usize, exp_avg_sq: usize, exp_avg: usize, bytes: usize,
                   inner: bool): void {
  const grad_scale = splat(by.grad_scale), limit = limit_of(by.max_value);
  const root = splat(by.root_scale * LARGEST_ROOT + by.eps);
  const y_step = splat(by.y_step), z_step = splat(by.z_step);
  for (let i: usize = 0; i < bytes; i += 16) {
    const flags = overflows(load(exp_avg_sq + i));
    const m = bounded(inner ? load(exp_avg + i) : clip<Unknown>(mul(grad_scale, load(grad + i)), limit));
    const d = div(m, root);
    change(param + i, sub(load(param + i), mul(y_step, d)), flags);
    change(z + i, sub(load(z + i), mul(z_step, d)), flags);
    change(exp_avg_sq + i, splat(LARGEST), flags);
    if (inner) change(exp_avg + i, m, flags);
  }
}

// prettier-ignore
@inline
export function step<By>(by: By, grad_weight: f32, flush_below: f32, param: usize, grad: usize, z: usize,
                         exp_avg_sq: usize, exp_avg: usize, bytes: usize, inner: bool): void {
  if (bytes == 0) return;
  const is_plain = by.square_weight > 0 && by.root_scale == 1 && by.z_from_y == 0 && by.z_decay == 0;
  const is_small = abs(by.grad_scale) <= 1 && by.max_value == 0 && abs(by.decay) <= 1;
  const has_usual_moment = !inner || (grad_weight > 0 && flush_below == 0);
  let highest: v128;
  if (is_plain && is_small && has_usual_moment)
    highest = update<Plain, By>(by, grad_weight, flush_below, param, grad, z, exp_avg_sq, exp_avg, bytes, inner);
  else highest = update<Unknown, By>(by, grad_weight, flush_below, param, grad, z, exp_avg_sq, exp_avg, bytes, inner);
  if (any(overflows(highest))) bound<By>(by, param, grad, z, exp_avg_sq, exp_avg, bytes, inner);
}
