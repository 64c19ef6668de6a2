// Schedule-Free AdamW (arXiv 2405.15682): y is where gradients are taken, z the fast iterate that it averages.
// What depends on the step alone is folded into the scalars by src/algorithms/schedulefree.ts:
//
//   g = grad_scale*grad
//   v = lerp(v, g*g, square_weight)
//   z = either(z, y, z_from_y)
//   d = g / (root_scale*sqrt(v) + eps) + decay*y + z_decay*z
//   y = (y + average_weight*(z - y)) - y_step*d
//   z = z - z_step*d
//
// line by line, where lerp(a, b, w) is a + w*(b - a) if w > 0, else b + w*(b - a); either(a, b, flag) is b if the flag is
// not 0, as z_from_y is at a tensor's first step alone; and the term of z_decay is left out if that is zero.
// Inner momentum has m = lerp(m, g, grad_weight) in place of g in d.

import { add, div, either, flush, lerp, mul, plus, sqrt, sub } from '../f32.js';
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

type Iterates = Arrays<'z' | 'exp_avg_sq'>;

function update_square(from: number, to: number, { grad, exp_avg_sq }: Iterates, by: By): void {
  const { grad_scale, square_weight } = by;
  for (let i = from; i < to; i++) {
    const g = mul(grad_scale, grad[i]);
    exp_avg_sq[i] = lerp(exp_avg_sq[i], mul(g, g), square_weight);
  }
}

/** What is normalized is the gradient, or its average: `scale` times `direction`. */
// prettier-ignore
function update_iterates(from: number, to: number, direction: Float32Array, scale: number,
                         { param, z, exp_avg_sq }: Iterates, by: By): void {
  const { z_from_y, root_scale, eps, decay, z_decay, average_weight, y_step, z_step } = by;
  for (let i = from; i < to; i++) {
    const y = param[i];
    const z0 = either(z[i], y, z_from_y);
    const normalized = div(mul(scale, direction[i]), add(mul(root_scale, sqrt(exp_avg_sq[i])), eps));
    const d = add(normalized, plus(mul(decay, y), z_decay, z0));
    param[i] = sub(add(y, mul(average_weight, sub(z0, y))), mul(y_step, d));
    z[i] = sub(z0, mul(z_step, d));
  }
}

export const schedulefree_adamw = /* @__PURE__ */ rule({
  name: 'schedulefree_adamw',
  scalars,
  slots: ['z', 'exp_avg_sq'],
  fromParam: ['z'],
  update(from, to, arrays, by) {
    update_square(from, to, arrays, by);
    update_iterates(from, to, arrays.grad, by.grad_scale, arrays, by);
  },
});

export const schedulefree_adamw_inner = /* @__PURE__ */ rule({
  name: 'schedulefree_adamw_inner',
  scalars: /* @__PURE__ */ append(scalars, 'grad_weight'),
  slots: ['z', 'exp_avg_sq', 'exp_avg'],
  fromParam: ['z'],
  update(from, to, arrays, by) {
    const { grad, exp_avg } = arrays;
    const { grad_scale, grad_weight } = by;
    update_square(from, to, arrays, by);
    for (let i = from; i < to; i++) exp_avg[i] = flush(lerp(exp_avg[i], mul(grad_scale, grad[i]), grad_weight));
    update_iterates(from, to, exp_avg, 1, arrays, by);
  },
});
