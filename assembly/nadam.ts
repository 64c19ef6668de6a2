// Adam with the gradient in its numerator and a scale on its root: NAdam, RAdam (arXiv 1908.03265), Nesterov's Adam
// and Optax' eps_root. What depends on the step alone is folded into the scalars by src/algorithms/:
//
//   g = grad_scale*grad + l2*p
//   m = lerp(m, g, grad_weight)
//   v = lerp(v, g*g, square_weight)
//   p = p - ((step_size*m + grad_step*g) / (root_scale*sqrt(v + eps_root) + eps) + decay*p)
//
// where lerp(a, b, w) is a + w*(b - a) if w > 0, else b + w*(b - a), and the term of l2 is left out if l2 is zero.

// prettier-ignore
import { TURN, Plain, Full, Unknown, add, div, flush, lerp, load, load_next, mul, plus, raised, scaled,
         smallest_normal, splat, sqrt, store, sub } from './simd';


@unmanaged
class NadamScalars {
  grad_scale: f32;
  l2: f32;
  grad_weight: f32;
  square_weight: f32;
  step_size: f32;
  grad_step: f32;
  root_scale: f32;
  eps_root: f32;
  eps: f32;
  decay: f32;
}

// prettier-ignore
@inline
function update<Known>(by: NadamScalars, param: usize, grad: usize, exp_avg: usize, exp_avg_sq: usize,
                       bytes: usize): void {
  const grad_scale = splat(by.grad_scale), l2 = splat(by.l2);
  const grad_weight = splat(by.grad_weight), square_weight = splat(by.square_weight);
  const step_size = splat(by.step_size), grad_step = splat(by.grad_step), root_scale = splat(by.root_scale);
  const eps_root = splat(by.eps_root), eps = splat(by.eps), decay = splat(by.decay);
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
    const direction0 = add(mul(step_size, m0), mul(grad_step, g0));
    const direction1 = add(mul(step_size, m1), mul(grad_step, g1));
    const root0 = scaled<Known>(root_scale, sqrt(raised<Known>(v0, eps_root)));
    const root1 = scaled<Known>(root_scale, sqrt(raised<Known>(v1, eps_root)));

    store(exp_avg + i, m0, m1);
    store(exp_avg_sq + i, v0, v1);
    store(param + i,
      sub(p0, add(div(direction0, add(root0, eps)), mul(decay, p0))),
      sub(p1, add(div(direction1, add(root1, eps)), mul(decay, p1))));
    i += TURN;
  } while (i < bytes);
}

// prettier-ignore
export function nadam(by: NadamScalars, param: usize, grad: usize, exp_avg: usize, exp_avg_sq: usize,
                      bytes: usize): void {
  if (bytes == 0) return;
  const has_usual_root = by.root_scale == 1 && by.eps_root == 0;
  const is_known = by.grad_weight > 0 && by.square_weight > 0 && has_usual_root;
  if (!is_known) update<Unknown>(by, param, grad, exp_avg, exp_avg_sq, bytes);
  else if (by.l2 == 0) update<Plain>(by, param, grad, exp_avg, exp_avg_sq, bytes);
  else update<Full>(by, param, grad, exp_avg, exp_avg_sq, bytes);
}
