// Adam with the gradient in the numerator and a scaled root: NAdam, RAdam (arXiv 1908.03265), Nesterov's Adam and
// Optax' eps_root. src/algorithms/ computes the scalars, which include everything that depends only on the step:
//
//   g = clip(grad_scale*grad, max_value) + l2*p
//   m = flush(lerp(m, g, grad_weight), flush_below)
//   v = lerp(v, g*g, square_weight)
//   p = p - ((step_size*m + grad_step*g) / (root_scale*sqrt(v + eps_root) + eps) + decay*p)
//
// clip(a, most) clamps a to +-most; if most is 0, it is a. lerp(a, b, w) is a + w*(b - a) if w > 0, else b + w*(b - a).
// flush(a, below) is 0 if |a| < below, else a. If l2 is 0, the term l2*p is left out.
//
// If g*g overflows f32, v is infinite, and p only decays, even if root_scale is 0. Then v becomes the largest f32, m is
// clamped to the root of the largest f32, and the step is added:
// p = p - (step_size + grad_step)*m / (root_scale*sqrt(v) + eps).

// prettier-ignore
import { LARGEST, LARGEST_ROOT, TURN, Plain, Full, Unknown, add, any, bounded, change, clip, div, flush, larger,
         lerp, limit_of, limited, load, load_next, mul, overflows, plus, raised, scaled, splat, sqrt, store,
         sub } from './simd';


@unmanaged
class NadamScalars {
  grad_scale: f32;
  max_value: f32;
  l2: f32;
  grad_weight: f32;
  square_weight: f32;
  step_size: f32;
  grad_step: f32;
  root_scale: f32;
  eps_root: f32;
  eps: f32;
  decay: f32;
  flush_below: f32;
}

/** Returns the largest v. */
// prettier-ignore
@inline
function update<Known>(by: NadamScalars, param: usize, grad: usize, exp_avg: usize, exp_avg_sq: usize,
                       bytes: usize): v128 {
  const grad_scale = splat(by.grad_scale), limit = limit_of(by.max_value), l2 = splat(by.l2);
  const grad_weight = splat(by.grad_weight), square_weight = splat(by.square_weight);
  const step_size = splat(by.step_size), grad_step = splat(by.grad_step), root_scale = splat(by.root_scale);
  const eps_root = splat(by.eps_root), eps = splat(by.eps), decay = splat(by.decay);
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
    const direction0 = limited<Known>(add(mul(step_size, m0), mul(grad_step, g0)), m0);
    const direction1 = limited<Known>(add(mul(step_size, m1), mul(grad_step, g1)), m1);
    const root0 = scaled<Known>(root_scale, sqrt(raised<Known>(v0, eps_root)));
    const root1 = scaled<Known>(root_scale, sqrt(raised<Known>(v1, eps_root)));
    highest = larger(larger(highest, v0), v1);

    store(exp_avg + i, m0, m1);
    store(exp_avg_sq + i, v0, v1);
    store(param + i,
      sub(p0, add(div(direction0, add(root0, eps)), mul(decay, p0))),
      sub(p1, add(div(direction1, add(root1, eps)), mul(decay, p1))));
    i += TURN;
  } while (i < bytes);
  return highest;
}

/** Adds the step of elements whose v is infinite, with clamped moments. */
// prettier-ignore
@inline
function bound(by: NadamScalars, param: usize, exp_avg: usize, exp_avg_sq: usize, bytes: usize): void {
  const step_size = splat(by.step_size + by.grad_step), root = splat(by.root_scale * LARGEST_ROOT + by.eps);
  for (let i: usize = 0; i < bytes; i += 16) {
    const flags = overflows(load(exp_avg_sq + i));
    const m = bounded(load(exp_avg + i));
    change(param + i, sub(load(param + i), div(mul(step_size, m), root)), flags);
    change(exp_avg + i, m, flags);
    change(exp_avg_sq + i, splat(LARGEST), flags);
  }
}

// prettier-ignore
export function nadam(by: NadamScalars, param: usize, grad: usize, exp_avg: usize, exp_avg_sq: usize,
                      bytes: usize): void {
  if (bytes == 0) return;
  const has_usual_root = by.root_scale == 1 && by.eps_root == 0;
  const has_weights = by.grad_weight > 0 && by.square_weight > 0;
  const is_small = abs(by.grad_scale) <= 1 && abs(by.l2) <= 1 && abs(by.step_size) + abs(by.grad_step) <= 1;
  let highest: v128;
  if (!has_usual_root || !has_weights || !is_small || by.flush_below != 0 || by.max_value != 0)
    highest = update<Unknown>(by, param, grad, exp_avg, exp_avg_sq, bytes);
  else if (by.l2 == 0) highest = update<Plain>(by, param, grad, exp_avg, exp_avg_sq, bytes);
  else highest = update<Full>(by, param, grad, exp_avg, exp_avg_sq, bytes);
  if (any(overflows(highest))) bound(by, param, exp_avg, exp_avg_sq, bytes);
}
