// Schedule-Free SGD (arXiv 2405.15682): y is where gradients are taken, z the fast iterate that it averages.
// What depends on the step alone is folded into the scalars by src/algorithms/schedulefree.ts:
//
//   z = z + z_from_y*(y - z)
//   d = grad_scale*grad + decay*y + z_decay*z
//   y = (y + average_weight*(z - y)) - y_step*d
//   z = z - z_step*d
//
// with the z before its step in all but the last line.

import { add, mul, sub } from '../f32.js';
import { rule } from './rule.js';

export const schedulefree_sgd = /* @__PURE__ */ rule({
  name: 'schedulefree_sgd',
  scalars: ['grad_scale', 'z_from_y', 'decay', 'z_decay', 'average_weight', 'y_step', 'z_step'],
  slots: ['z'],
  fromParam: ['z'],
  update(i, { param, grad, z }, by) {
    const y = param[i];
    const z0 = add(z[i], mul(by.z_from_y, sub(y, z[i])));
    const d = add(mul(by.grad_scale, grad[i]), add(mul(by.decay, y), mul(by.z_decay, z0)));
    param[i] = sub(add(y, mul(by.average_weight, sub(z0, y))), mul(by.y_step, d));
    z[i] = sub(z0, mul(by.z_step, d));
  },
});
