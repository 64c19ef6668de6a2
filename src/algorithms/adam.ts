// adam() and adamw(): defaults, the rule that the options choose, and the step arithmetic.

import * as rules from '../rules/table.js';
import type { ScalarsOf } from '../rules/rule.js';
import {
  averageWeight,
  commonChecks,
  commonDefaults,
  denominator,
  extend,
  flushBelow,
  scaleGradient,
  type Algorithm,
  type Betas,
  type CommonOptions,
  type StepInputs,
} from './algorithm.js';
import { flag, notNegative, orFunction, pair, type Checks } from './checks.js';

/** The options of `adam` and `adamw`; names and defaults are PyTorch's unless noted. */
export interface AdamOptions extends CommonOptions {
  /**
   * The decay rates of the two moments, each at least 0 and less than 1; or a function of completed steps, counted as
   * for `schedule`. Default [0.9, 0.999].
   */
  betas: Betas | ((completedSteps: number) => Betas);
  /**
   * Added to the root of the bias-corrected second moment, at least 0. Default 1e-8. 0 acts as 2^-126, so that a
   * gradient of 0 gives a step of 0.
   */
  eps: number;
  /** Divide by the largest second moment so far (arXiv 1904.09237). Fixed at creation. Default false. */
  amsgrad: boolean;
  /**
   * How `adamw` scales its decay, where eta is the schedule's multiplier. true: lr*eta*weightDecay, as in PyTorch.
   * false: eta*weightDecay, as in the paper, Flux and Optimisers.jl. Has no effect on `adam`'s L2 term. Default true.
   */
  couple: boolean;
  /** As in Keras: eps is added to the root of the uncorrected second moment. Default false. */
  epsHat: boolean;
  /**
   * As Optax' nesterov: uses the first moment that the next step would have if this gradient came again. Fixed at
   * creation. Default false.
   */
  nesterov: boolean;
  /**
   * As Optax' eps_root: added to the bias-corrected second moment under the root, at least 0. Fixed at creation.
   * Default 0.
   */
  epsRoot: number;
}

/** The step arithmetic. In the paper step_size is alpha*sqrt(1 - beta2^t)/(1 - beta1^t), and eps is eps-hat. */
function prepare(decoupled: boolean) {
  return (scalars: ScalarsOf<typeof rules.adam>, options: Readonly<AdamOptions>, at: StepInputs): void => {
    const { step, eta, betas, powers } = at;
    const beta1 = betas[0];
    const beta2 = betas[1];
    const lr = options.lr * eta;
    const correction1 = powers.complement(beta1, step);
    const correction2 = powers.complement(beta2, step);
    const stepSize = lr * Math.sqrt(correction2);

    scaleGradient(scalars, options, at);
    scalars.l2 = decoupled ? 0 : at.decay;
    scalars.grad_weight = averageWeight(beta1);
    scalars.square_weight = averageWeight(beta2);
    scalars.step_size = stepSize / correction1;
    scalars.eps = denominator(options.epsHat ? options.eps : options.eps * Math.sqrt(correction2));
    scalars.decay = decoupled ? at.decay * (options.couple ? lr : eta) : 0;
    scalars.flush_below = flushBelow(at);
    if (!usesNadam(options)) return;

    // The kernel `nadam`: Nesterov's Adam as in optax.scale_by_adam, and eps_root.
    const extended = scalars as ScalarsOf<typeof rules.nadam>;
    extended.root_scale = 1;
    extended.eps_root = options.epsRoot * correction2;
    extended.grad_step = options.nesterov ? (stepSize * (1 - beta1)) / correction1 : 0;
    if (options.nesterov) scalars.step_size = (stepSize * beta1) / powers.complement(beta1, step + 1);
  };
}

const usesNadam = ({ nesterov, epsRoot }: Readonly<AdamOptions>): boolean => nesterov || epsRoot > 0;

const defaults: AdamOptions = /* @__PURE__ */ extend(commonDefaults, {
  lr: 1e-3,
  betas: [0.9, 0.999],
  eps: 1e-8,
  amsgrad: false,
  couple: true,
  epsHat: false,
  nesterov: false,
  epsRoot: 0,
});
const checks: Checks<AdamOptions> = /* @__PURE__ */ extend(commonChecks, {
  betas: /* @__PURE__ */ orFunction(pair, 'them'),
  eps: notNegative,
  amsgrad: flag,
  couple: flag,
  epsHat: flag,
  nesterov: flag,
  epsRoot: notNegative,
});

/** Adam, with weight decay as an L2 term in the gradient: torch.optim.Adam. */
export const adam: Algorithm<AdamOptions> = {
  name: 'adam',
  defaults,
  checks,
  fixed: ['amsgrad', 'nesterov', 'epsRoot', 'decayMask'],
  identity: { decoupled_weight_decay: false },
  conflict: (options) => (options.amsgrad && usesNadam(options) ? 'amsgrad excludes nesterov and epsRoot.' : undefined),
  rule: (options) => (options.amsgrad ? rules.adam_amsgrad : usesNadam(options) ? rules.nadam : rules.adam),
  prepare: /* @__PURE__ */ prepare(false),
  corrections: ({ epsHat, nesterov }) => ({
    step_size: nesterov ? 'sqrt(c2)/next c1' : 'sqrt(c2)/c1',
    grad_step: 'sqrt(c2)/c1',
    eps: epsHat ? 'none' : 'sqrt(c2)',
    eps_root: 'c2',
    flush_below: 'flush',
  }),
};

/** AdamW, with weight decay decoupled from the gradient: torch.optim.AdamW. */
export const adamw: Algorithm<AdamOptions> = /* @__PURE__ */ extend(adam, {
  name: 'adamw',
  defaults: /* @__PURE__ */ extend(defaults, { weightDecay: 1e-2 }),
  identity: { decoupled_weight_decay: true },
  prepare: /* @__PURE__ */ prepare(true),
});
