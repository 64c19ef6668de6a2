// Adam, AdamW and AMSGrad (arXiv 1412.6980, 1711.05101, 1904.09237). src/algorithms/adam.ts computes the scalars, which
// include everything that depends only on the step:
//
//   g = grad_scale*grad + l2*p
//   m = flush(lerp(m, g, grad_weight), flush_below)
//   v = lerp(v, g*g, square_weight)
//   p = p - (step_size*m / (sqrt(v) + eps) + decay*p)
//
// lerp(a, b, w) is a + w*(b - a) if w > 0, else b + w*(b - a). flush(a, below) is 0 if |a| < below, else a. If l2 is 0,
// the term l2*p is left out. AMSGrad divides by the root of the largest v so far.
//
// If g*g overflows f32, v is infinite, and p only decays. Then v becomes the largest f32, m is clamped to the root of
// the largest f32, and the step is added: p = p - step_size*m / (sqrt(v) + eps).

// prettier-ignore
import { LARGEST, LARGEST_ROOT, TURN, Plain, Full, Unknown, add, any, bounded, change, div, flush, larger, largest,
         lerp, limited, load, load_next, mul, overflows, plus, splat, sqrt, store, sub } from './simd';


@unmanaged
class AdamScalars {
  grad_scale: f32;
  l2: f32;
  grad_weight: f32;
  square_weight: f32;
  step_size: f32;
  eps: f32;
  decay: f32;
  flush_below: f32;
}

/**
 * Returns the largest v. Every array has `bytes` bytes, a multiple of TURN. All loads come before any store, so that V8
 * can widen the loop.
 */
// prettier-ignore
@inline
function update<Known>(by: AdamScalars, param: usize, grad: usize, exp_avg: usize, exp_avg_sq: usize,
                       max_exp_avg_sq: usize, bytes: usize, amsgrad: bool): v128 {
  const grad_scale = splat(by.grad_scale), l2 = splat(by.l2);
  const grad_weight = splat(by.grad_weight), square_weight = splat(by.square_weight);
  const step_size = splat(by.step_size), eps = splat(by.eps), decay = splat(by.decay);
  const flush_below = splat(by.flush_below);

  let highest = splat(0);
  let i: usize = 0;
  do {
    const p0 = load(param + i), p1 = load_next(param + i);
    const g0 = plus<Known>(limited<Known>(mul(grad_scale, load(grad + i)), load(grad + i)), l2, p0);
    const g1 = plus<Known>(limited<Known>(mul(grad_scale, load_next(grad + i)), load_next(grad + i)), l2, p1);
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
function bound(by: AdamScalars, param: usize, exp_avg: usize, exp_avg_sq: usize, max_exp_avg_sq: usize,
               bytes: usize, amsgrad: bool): void {
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
function run(by: AdamScalars, param: usize, grad: usize, exp_avg: usize, exp_avg_sq: usize, max_exp_avg_sq: usize,
             bytes: usize, amsgrad: bool): void {
  if (bytes == 0) return;
  const is_small = abs(by.grad_scale) <= 1 && abs(by.l2) <= 1 && abs(by.step_size) <= 1;
  const is_known = by.grad_weight > 0 && by.square_weight > 0 && by.flush_below == 0 && is_small;
  let highest: v128;
  if (!is_known) highest = update<Unknown>(by, param, grad, exp_avg, exp_avg_sq, max_exp_avg_sq, bytes, amsgrad);
  else if (by.l2 == 0) highest = update<Plain>(by, param, grad, exp_avg, exp_avg_sq, max_exp_avg_sq, bytes, amsgrad);
  else highest = update<Full>(by, param, grad, exp_avg, exp_avg_sq, max_exp_avg_sq, bytes, amsgrad);
  if (any(overflows(highest))) bound(by, param, exp_avg, exp_avg_sq, max_exp_avg_sq, bytes, amsgrad);
}

// prettier-ignore
export function adam(by: AdamScalars, param: usize, grad: usize, exp_avg: usize, exp_avg_sq: usize,
                     bytes: usize): void {
  run(by, param, grad, exp_avg, exp_avg_sq, 0, bytes, false);
}

// prettier-ignore
export function adam_amsgrad(by: AdamScalars, param: usize, grad: usize, exp_avg: usize, exp_avg_sq: usize,
                             max_exp_avg_sq: usize, bytes: usize): void {
  run(by, param, grad, exp_avg, exp_avg_sq, max_exp_avg_sq, bytes, true);
}
