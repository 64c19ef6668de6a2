// Adam, AdamW and AMSGrad (arXiv 1412.6980, 1711.05101, 1904.09237), with everything that
// depends on the step alone folded into the scalars by src/algorithms/adam.ts:
//
//   g = grad_scale*grad + l2*p
//   m = lerp(m, g, grad_weight)
//   v = lerp(v, g*g, square_weight)
//   p = p - (step_size*m / (sqrt(v) + eps) + decay*p)
//
// where lerp(a, b, weight) is a + weight*(b - a). AMSGrad divides by the root of the largest v so far.

import { add, div, flush, lerp, max, mul, sqrt, sub } from '../f32.js';
import { rule, type Arrays } from './rule.js';

const scalars = ['grad_scale', 'l2', 'grad_weight', 'square_weight', 'step_size', 'eps', 'decay'] as const;
type By = Readonly<Record<(typeof scalars)[number], number>>;
type AdamArrays = Arrays<'exp_avg' | 'exp_avg_sq'>;

function update_moments(i: number, { param, grad, exp_avg, exp_avg_sq }: AdamArrays, by: By): number {
  const g = add(mul(by.grad_scale, grad[i]), mul(by.l2, param[i]));
  exp_avg[i] = flush(lerp(exp_avg[i], g, by.grad_weight));
  const v = lerp(exp_avg_sq[i], mul(g, g), by.square_weight);
  exp_avg_sq[i] = v;
  return v;
}

function update_param(i: number, h: number, { param, exp_avg }: AdamArrays, by: By): void {
  const p = param[i];
  param[i] = sub(p, add(div(mul(by.step_size, exp_avg[i]), add(sqrt(h), by.eps)), mul(by.decay, p)));
}

export const adam = /* @__PURE__ */ rule({
  name: 'adam',
  scalars,
  slots: ['exp_avg', 'exp_avg_sq'],
  update(i, arrays, by) {
    update_param(i, update_moments(i, arrays, by), arrays, by);
  },
});

export const adam_amsgrad = /* @__PURE__ */ rule({
  name: 'adam_amsgrad',
  scalars,
  slots: ['exp_avg', 'exp_avg_sq', 'max_exp_avg_sq'],
  update(i, arrays, by) {
    const h = max(arrays.max_exp_avg_sq[i], update_moments(i, arrays, by));
    arrays.max_exp_avg_sq[i] = h;
    update_param(i, h, arrays, by);
  },
});
