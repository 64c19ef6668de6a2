// Schedule-Free's change of mode (arXiv 2405.15682): from y to the average x and back, on the line through z.
// The weight is that of src/algorithms/schedulefree.ts:
//
//   p = p + weight*(z - p)
//
// It reads no gradient.

import { add, mul, sub } from '../f32.js';
import { rule } from './rule.js';

export const extrapolate = /* @__PURE__ */ rule({
  name: 'extrapolate',
  scalars: ['weight'],
  slots: ['z'],
  takesGrad: false,
  update(from, to, { param, z }, { weight }) {
    for (let i = from; i < to; i++) {
      const p = param[i];
      param[i] = add(p, mul(weight, sub(z[i], p)));
    }
  },
});
