// An exponential moving average of weights: param is the average, and grad are the weights that it is of.
// The weight is that of src/algorithms/ema.ts:
//
//   p = p + 2*weight*(grad/2 - p/2)       if weight > 0, else
//   p = grad + 2*weight*(grad/2 - p/2)
//
// by halves, since grad - p may be beyond f32.

import { add, half_difference, mul } from '../math/f32.js';
import type { Update } from './rule.js';
import type * as rules from './table.js';

export const ema: Update<typeof rules.ema> = (from, to, { param, grad }, { weight }) => {
  for (let i = from; i < to; i++) {
    const from_p = weight > 0 ? param[i] : grad[i];
    param[i] = add(from_p, mul(2 * weight, half_difference(param[i], grad[i])));
  }
};
