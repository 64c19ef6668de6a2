// ema(): an average of weights, made as an optimizer whose gradients are the weights.

import * as rules from '../rules/table.js';
import type { ScalarsOf } from '../rules/rule.js';
import { averageWeight, type Algorithm } from './algorithm.js';
import { orFunction, rate } from './checks.js';

/** The options of `ema`. */
export interface EmaOptions {
  /**
   * The weight of the old average at each step, at least 0 and less than 1. A number: the first step uses 0 instead,
   * and so copies the weights, as `get_ema_multi_avg_fn(decay)` of torch.optim.swa_utils. A function of completed
   * steps: its result is used at every step. `(n) => n / (n + 1)` gives the mean of all weights so far, stochastic
   * weight averaging (arXiv 1803.05407). Default 0.999.
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
  prepare(scalars: ScalarsOf<typeof rules.ema>, { decay }, { isFirst, emaDecay }) {
    scalars.weight = averageWeight(isFirst && typeof decay === 'number' ? 0 : emaDecay);
  },
};
