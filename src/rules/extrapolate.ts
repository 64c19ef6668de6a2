// Schedule-Free's change of mode (arXiv 2405.15682): from y to the average x and back, on the line through z.
// The weight is that of src/algorithms/schedulefree.ts:
//
//   p = p + 2*weight*(z/2 - p/2)
//
// by halves, since z - p may be beyond f32, and at most the largest f32 if p is finite. It reads no gradient.

import { add, half_difference, limited, mul } from '../math/f32.js';
import type { Update } from './rule.js';
import type * as rules from './table.js';

export const extrapolate: Update<typeof rules.extrapolate> = (from, to, { param, z }, { weight }) => {
  for (let i = from; i < to; i++) {
    const p = param[i];
    param[i] = limited(add(p, mul(2 * weight, half_difference(p, z[i]))), p);
  }
};
