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

import { add, div, flush, lerp, mul, sqrt, sub } from '../f32.js';
import { append, rule, type Arrays } from './rule.js';

const scalars = [
  'grad_scale',
  'square_weight',
  'z_from_y',
  'root_scale',
  'eps',
  'decay',
  'z_decay',
  'average_weight',
  'y_step',
  'z_step',
] as const;
type By = Readonly<Record<(typeof scalars)[number], number>>;

/** `m` is the gradient, or its average. */
function update_iterates(i: number, m: number, v: number, { param, z }: Arrays<'z'>, by: By): void {
  const y = param[i];
  const z0 = add(z[i], mul(by.z_from_y, sub(y, z[i])));
  const normalized = div(m, add(mul(by.root_scale, sqrt(v)), by.eps));
  const d = add(normalized, add(mul(by.decay, y), mul(by.z_decay, z0)));
  param[i] = sub(add(y, mul(by.average_weight, sub(z0, y))), mul(by.y_step, d));
  z[i] = sub(z0, mul(by.z_step, d));
}

export const schedulefree_adamw = /* @__PURE__ */ rule({
  name: 'schedulefree_adamw',
  scalars,
  slots: ['z', 'exp_avg_sq'],
  fromParam: ['z'],
  update(i, arrays, by) {
    const { grad, exp_avg_sq } = arrays;
    const g = mul(by.grad_scale, grad[i]);
    const v = lerp(exp_avg_sq[i], mul(g, g), by.square_weight);
    exp_avg_sq[i] = v;
    update_iterates(i, g, v, arrays, by);
  },
});

export const schedulefree_adamw_inner = /* @__PURE__ */ rule({
  name: 'schedulefree_adamw_inner',
  scalars: /* @__PURE__ */ append(scalars, 'grad_weight'),
  slots: ['z', 'exp_avg_sq', 'exp_avg'],
  fromParam: ['z'],
  update(i, arrays, by) {
    const { grad, exp_avg_sq, exp_avg } = arrays;
    const g = mul(by.grad_scale, grad[i]);
    const v = lerp(exp_avg_sq[i], mul(g, g), by.square_weight);
    const m = flush(lerp(exp_avg[i], g, by.grad_weight));
    exp_avg_sq[i] = v;
    exp_avg[i] = m;
    update_iterates(i, m, v, arrays, by);
  },
});
