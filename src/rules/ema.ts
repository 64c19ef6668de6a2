// An exponential moving average of weights: param is the average, and grad are the weights that it is of.
// The weight is that of src/algorithms/ema.ts:
//
//   p = lerp(p, grad, weight)
//
// where lerp(a, b, w) is a + w*(b - a) if w > 0, else b + w*(b - a).

import { lerp } from '../f32.js';
import { rule } from './rule.js';

export const ema = /* @__PURE__ */ rule({
  name: 'ema',
  scalars: ['weight'],
  slots: [],
  update(from, to, { param, grad }, { weight }) {
    for (let i = from; i < to; i++) param[i] = lerp(param[i], grad[i], weight);
  },
});
