// Exponential moving average of a model's weights: param is the average, grad holds the model's weights.
// src/algorithms/ema.ts computes the scalar `weight`:
//
//   p = p + 2*weight*(grad/2 - p/2)       if weight > 0, else
//   p = grad + 2*weight*(grad/2 - p/2)
//
// grad - p may overflow f32, so the difference is computed from halves.

import { add, half_difference, mul } from '../math/f32.js';
import type { Update } from './rule.js';
import type * as rules from './table.js';

export const ema: Update<typeof rules.ema> = (from, to, { param, grad }, { weight }) => {
  for (let i = from; i < to; i++) {
    const from_p = weight > 0 ? param[i] : grad[i];
    param[i] = add(from_p, mul(2 * weight, half_difference(param[i], grad[i])));
  }
};
