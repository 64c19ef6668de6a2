// The loops that adam and adam_amsgrad share. `By` is the class of the scalars; max_exp_avg_sq is used only if
// `amsgrad`.

// prettier-ignore
import { LARGEST, LARGEST_ROOT, TURN, Plain, Full, Unknown, add, any, bounded, change, clip, div, flush, larger,
         largest, lerp, limit_of, limited, load, load_next, mul, overflows, plus, splat, sqrt, store,
         sub } from '../simd';

/**
 * Returns the largest v. Every array has `bytes` bytes, a multiple of TURN. All loads come before any store, so that V8
 * can widen the loop.
 */
// prettier-ignore
@inline
function update<Known, By>(by: By, param: usize, grad: usize, exp_avg: usize, exp_avg_sq: usize, max_exp_avg_sq: usize,
                           bytes: usize, amsgrad: bool): v128 {
  const grad_scale = splat(by.grad_scale), limit = limit_of(by.max_value), l2 = splat(by.l2);
  const grad_weight = splat(by.grad_weight), square_weight = splat(by.square_weight);
  const step_size = splat(by.step_size), eps = splat(by.eps), decay = splat(by.decay);
  const flush_below = splat(by.flush_below);

  let highest = splat(0);
  let i: usize = 0;
  do {
    const p0 = load(param + i), p1 = load_next(param + i);
    const unclipped0 = limited<Known>(mul(grad_scale, load(grad + i)), load(grad + i));
    const unclipped1 = limited<Known>(mul(grad_scale, load_next(grad + i)), load_next(grad + i));
    const g0 = plus<Known>(clip<Known>(unclipped0, limit), l2, p0);
    const g1 = plus<Known>(clip<Known>(unclipped1, limit), l2, p1);
    const m0 = flush<Known>(lerp<Known>(load(exp_avg + i), g0, grad_weight), flush_below);
    const m1 = flush<Known>(lerp<Known>(load_next(exp_avg + i), g1, grad_weight), flush_below);
    const v0 = lerp<Known>(load(exp_avg_sq + i), mul(g0, g0), square_weight);
    const v1 = lerp<Known>(load_next(exp_avg_sq + i), mul(g1, g1), square_weight);
    const h0 = amsgrad ? largest(load(max_exp_avg_sq + i), v0) : v0;
    const h1 = amsgrad ? largest(load_next(max_exp_avg_sq + i), v1) : v1;
    highest = larger(larger(highest, v0), v1);

    store(exp_avg + i, m0, m1);
    store(exp_avg_sq + i, v0, v1);
    if (amsgrad) store(max_exp_avg_sq + i, h0, h1);
    store(param + i,
      sub(p0, add(div(limited<Known>(mul(step_size, m0), m0), add(sqrt(h0), eps)), mul(decay, p0))),
      sub(p1, add(div(limited<Known>(mul(step_size, m1), m1), add(sqrt(h1), eps)), mul(decay, p1))));
    i += TURN;
  } while (i < bytes);
  return highest;
}

/** Adds the step of elements whose v is infinite, with clamped moments. */
// prettier-ignore
@inline
function bound<By>(by: By, param: usize, exp_avg: usize, exp_avg_sq: usize, max_exp_avg_sq: usize, bytes: usize,
                   amsgrad: bool): void {
  const step_size = splat(by.step_size), root = splat(LARGEST_ROOT + by.eps);
  for (let i: usize = 0; i < bytes; i += 16) {
    const flags = overflows(load(exp_avg_sq + i));
    const m = bounded(load(exp_avg + i));
    change(param + i, sub(load(param + i), div(mul(step_size, m), root)), flags);
    change(exp_avg + i, m, flags);
    change(exp_avg_sq + i, splat(LARGEST), flags);
    if (amsgrad) change(max_exp_avg_sq + i, splat(LARGEST), flags);
  }
}

// prettier-ignore
@inline
export function step<By>(by: By, param: usize, grad: usize, exp_avg: usize, exp_avg_sq: usize, max_exp_avg_sq: usize,
                         bytes: usize, amsgrad: bool): void {
  if (bytes == 0) return;
  const is_small = abs(by.grad_scale) <= 1 && abs(by.l2) <= 1 && abs(by.step_size) <= 1;
  const is_known = by.grad_weight > 0 && by.square_weight > 0 && by.flush_below == 0 && by.max_value == 0 && is_small;
  let highest: v128;
  if (!is_known) highest = update<Unknown, By>(by, param, grad, exp_avg, exp_avg_sq, max_exp_avg_sq, bytes, amsgrad);
  else if (by.l2 == 0)
    highest = update<Plain, By>(by, param, grad, exp_avg, exp_avg_sq, max_exp_avg_sq, bytes, amsgrad);
  else highest = update<Full, By>(by, param, grad, exp_avg, exp_avg_sq, max_exp_avg_sq, bytes, amsgrad);
  if (any(overflows(highest))) bound<By>(by, param, exp_avg, exp_avg_sq, max_exp_avg_sq, bytes, amsgrad);
}
