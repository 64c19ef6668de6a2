// ema(): an average of weights is an optimizer whose gradients are the weights.

import * as rules from '../rules/table.js';
import type { ScalarsOf } from '../rules/rule.js';
import { averageWeight, type Algorithm } from './algorithm.js';
import { orFunction, rate } from './checks.js';

/** The options of `ema`. */
export interface EmaOptions {
  /**
   * How much of the average remains at each step, at least 0 and less than 1. As a number it is 0 at the first step, which
   * takes over the weights as they are: `get_ema_multi_avg_fn(decay)` of torch.optim.swa_utils. Or a function of completed
   * steps, which is that at any step: `(n) => n / (n + 1)` is the mean of all so far, stochastic weight averaging (arXiv
   * 1803.05407). Default 0.999.
   */
  decay: number | ((completedSteps: number) => number);
}

export const ema: Algorithm<EmaOptions> = {
  name: 'ema',
  defaults: { decay: 0.999 },
  checks: { decay: /* @__PURE__ */ orFunction(rate, 'one') },
  fixed: [],
  identity: {},
  rule: () => rules.ema,
  prepare(by: ScalarsOf<typeof rules.ema>, { decay }, { isFirst, emaDecay }) {
    by.weight = averageWeight(isFirst && typeof decay === 'number' ? 0 : emaDecay);
  },
};
