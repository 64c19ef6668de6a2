// Schedule-Free's train() and eval() (arXiv 2405.15682): moves p from y to the average x or back, along the line
// through z. src/algorithms/schedulefree.ts computes the scalar `weight`:
//
//   p = p + 2*weight*(z/2 - p/2)
//
// z - p may overflow f32, so the difference is computed from halves. If p is finite, the result is clamped to the
// largest f32. Reads no gradient.

import { add, half_difference, limited, mul } from '../math/f32.js';
import type { Update } from './rule.js';
import type * as rules from './table.js';

export const extrapolate: Update<typeof rules.extrapolate> = (from, to, { param, z }, { weight }) => {
  for (let i = from; i < to; i++) {
    const p = param[i];
    param[i] = limited(add(p, mul(2 * weight, half_difference(p, z[i]))), p);
  }
};
