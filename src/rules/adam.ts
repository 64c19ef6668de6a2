// Adam and AdamW (arXiv 1412.6980, 1711.05101). src/algorithms/adam.ts computes the scalars, which include everything
// that depends only on the step:
//
//   g = clip(grad_scale*grad, max_value) + l2*p
//   m = flush(lerp(m, g, grad_weight), flush_below)
//   v = lerp(v, g*g, square_weight)
//   p = p - (step_size*m / (sqrt(v) + eps) + decay*p)
//
// clip(a, most) clamps a to +-most; if most is 0, it is a. lerp(a, b, w) is a + w*(b - a) if w > 0, else b + w*(b - a).
// flush(a, below) is 0 if |a| < below, else a. If l2 is 0, the term l2*p is left out.
//
// If g*g overflows f32, v is infinite, and p only decays. Then v becomes the largest f32, m is clamped to the root of
// the largest f32, and the step is added: p = p - step_size*m / (sqrt(v) + eps).

import {
  add,
  bounded,
  clip,
  div,
  flush,
  LARGEST,
  LARGEST_ROOT,
  lerp,
  limited,
  mul,
  plus,
  sqrt,
  sub,
} from '../math/f32.js';
import type { Arrays, ScalarsOf, Update } from './rule.js';
import type * as rules from './table.js';

type Scalars = Readonly<ScalarsOf<typeof rules.adam>>;
type AdamArrays = Arrays<'exp_avg' | 'exp_avg_sq'>;

export function update_moments(from: number, to: number, arrays: AdamArrays, scalars: Scalars): void {
  const { param, grad, exp_avg, exp_avg_sq } = arrays;
  const { grad_scale, max_value, l2, grad_weight, square_weight, flush_below } = scalars;
  for (let i = from; i < to; i++) {
    const g = plus(clip(limited(mul(grad_scale, grad[i]), grad[i]), max_value), l2, param[i]);
    exp_avg[i] = flush(lerp(exp_avg[i], g, grad_weight), flush_below);
    exp_avg_sq[i] = lerp(exp_avg_sq[i], mul(g, g), square_weight);
  }
}

/** `square` is v, or for AMSGrad the largest v so far. */
export function update_param(
  from: number,
  to: number,
  square: Float32Array,
  arrays: AdamArrays,
  scalars: Scalars,
): void {
  const { param, exp_avg, exp_avg_sq } = arrays;
  const { step_size, eps, decay } = scalars;
  for (let i = from; i < to; i++) {
    const p = param[i];
    const direction = limited(mul(step_size, exp_avg[i]), exp_avg[i]);
    param[i] = sub(p, add(div(direction, add(sqrt(square[i]), eps)), mul(decay, p)));
    if (exp_avg_sq[i] !== Infinity) continue;
    exp_avg_sq[i] = square[i] = LARGEST;
    exp_avg[i] = bounded(exp_avg[i]);
    param[i] = sub(param[i], div(mul(step_size, exp_avg[i]), add(LARGEST_ROOT, eps)));
  }
}

export const adam: Update<typeof rules.adam> = (from, to, arrays, scalars) => {
  update_moments(from, to, arrays, scalars);
  update_param(from, to, arrays.exp_avg_sq, arrays, scalars);
};
