// Adam, AdamW and AMSGrad (arXiv 1412.6980, 1711.05101, 1904.09237), with everything that
// depends on the step alone folded into the scalars by src/algorithms/adam.ts:
//
//   g = grad_scale*grad + l2*p
//   m = lerp(m, g, grad_weight)
//   v = lerp(v, g*g, square_weight)
//   p = p - (step_size*m / (sqrt(v) + eps) + decay*p)
//
// where lerp(a, b, w) is a + w*(b - a) if w > 0, else b + w*(b - a), and the term of l2 is left out if l2 is zero.
// AMSGrad divides by the root of the largest v so far.

// prettier-ignore
import { TURN, Plain, Full, Unknown, add, div, flush, largest, lerp, load, load_next, mul, plus, smallest_normal,
         splat, sqrt, store, sub } from './simd';


@unmanaged
class AdamScalars {
  grad_scale: f32;
  l2: f32;
  grad_weight: f32;
  square_weight: f32;
  step_size: f32;
  eps: f32;
  decay: f32;
}

/** Every array is `bytes` long, a multiple of TURN. All loads stand before any store: V8 can then widen the loop. */
// prettier-ignore
@inline
function update<Known>(by: AdamScalars, param: usize, grad: usize, exp_avg: usize, exp_avg_sq: usize,
                       max_exp_avg_sq: usize, bytes: usize, amsgrad: bool): void {
  const grad_scale = splat(by.grad_scale), l2 = splat(by.l2);
  const grad_weight = splat(by.grad_weight), square_weight = splat(by.square_weight);
  const step_size = splat(by.step_size), eps = splat(by.eps), decay = splat(by.decay);
  const smallest = smallest_normal(bytes);

  let i: usize = 0;
  do {
    const p0 = load(param + i), p1 = load_next(param + i);
    const g0 = plus<Known>(mul(grad_scale, load(grad + i)), l2, p0);
    const g1 = plus<Known>(mul(grad_scale, load_next(grad + i)), l2, p1);
    const m0 = flush(lerp<Known>(load(exp_avg + i), g0, grad_weight), smallest);
    const m1 = flush(lerp<Known>(load_next(exp_avg + i), g1, grad_weight), smallest);
    const v0 = lerp<Known>(load(exp_avg_sq + i), mul(g0, g0), square_weight);
    const v1 = lerp<Known>(load_next(exp_avg_sq + i), mul(g1, g1), square_weight);
    const h0 = amsgrad ? largest(load(max_exp_avg_sq + i), v0) : v0;
    const h1 = amsgrad ? largest(load_next(max_exp_avg_sq + i), v1) : v1;

    store(exp_avg + i, m0, m1);
    store(exp_avg_sq + i, v0, v1);
    if (amsgrad) store(max_exp_avg_sq + i, h0, h1);
    store(param + i,
      sub(p0, add(div(mul(step_size, m0), add(sqrt(h0), eps)), mul(decay, p0))),
      sub(p1, add(div(mul(step_size, m1), add(sqrt(h1), eps)), mul(decay, p1))));
    i += TURN;
  } while (i < bytes);
}

// prettier-ignore
export function adam(by: AdamScalars, param: usize, grad: usize, exp_avg: usize, exp_avg_sq: usize,
                     bytes: usize): void {
  if (bytes == 0) return;
  if (!has_positive_weights(by)) update<Unknown>(by, param, grad, exp_avg, exp_avg_sq, 0, bytes, false);
  else if (by.l2 == 0) update<Plain>(by, param, grad, exp_avg, exp_avg_sq, 0, bytes, false);
  else update<Full>(by, param, grad, exp_avg, exp_avg_sq, 0, bytes, false);
}

// prettier-ignore
export function adam_amsgrad(by: AdamScalars, param: usize, grad: usize, exp_avg: usize, exp_avg_sq: usize,
                             max_exp_avg_sq: usize, bytes: usize): void {
  if (bytes == 0) return;
  if (!has_positive_weights(by)) update<Unknown>(by, param, grad, exp_avg, exp_avg_sq, max_exp_avg_sq, bytes, true);
  else if (by.l2 == 0) update<Plain>(by, param, grad, exp_avg, exp_avg_sq, max_exp_avg_sq, bytes, true);
  else update<Full>(by, param, grad, exp_avg, exp_avg_sq, max_exp_avg_sq, bytes, true);
}


@inline
function has_positive_weights(by: AdamScalars): bool {
  return by.grad_weight > 0 && by.square_weight > 0;
}
