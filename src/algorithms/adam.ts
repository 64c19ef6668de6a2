// adam() and adamw(): defaults, the rule that the options choose, and the step arithmetic.

import * as rules from '../rules/index.js';
import type { ScalarsOf } from '../rules/rule.js';
import { averageWeight, power, type Algorithm, type CommonOptions, type Progress } from './algorithm.js';

/** The options of `adam` and `adamw`; names and defaults are PyTorch's unless said otherwise. */
export interface AdamOptions extends CommonOptions {
  /** The decay rates of the two moments, each at least 0 and less than 1. Default [0.9, 0.999]. */
  betas: readonly [number, number];
  /** Added to the root of the second moment, at least 0. Default 1e-8. Zero acts as 2^-126, so 0/0 stays 0. */
  eps: number;
  /** Divide by the largest second moment so far (arXiv 1904.09237). Fixed at creation. Default false. */
  amsgrad: boolean;
  /**
   * How `adamw` scales its decay: true, the default, is PyTorch's lr*eta*weightDecay, false the paper's, Flux's and
   * Optimisers.jl's eta*weightDecay, where eta is the schedule's multiplier. Nothing to scale in `adam`'s L2 term.
   */
  couple: boolean;
  /** Keras' form: eps is added to the root of the uncorrected second moment. Default false. */
  epsHat: boolean;
}

/**
 * The step arithmetic. In the paper's words: step_size is alpha*sqrt(1 - beta2^t)/(1 - beta1^t), eps is eps-hat.
 * Complements are taken in f64 before anything is rounded.
 */
function prepare(decoupled: boolean) {
  return (by: ScalarsOf<typeof rules.adam>, options: Readonly<AdamOptions>, { step, eta, decays }: Progress): void => {
    const [beta1, beta2] = options.betas;
    const lr = options.lr * eta;
    const decay = decays ? options.weightDecay : 0;
    const correction = Math.sqrt(1 - power(beta2, step));

    by.grad_scale = options.maximize ? -options.gradScale : options.gradScale;
    by.l2 = decoupled ? 0 : decay;
    by.grad_weight = averageWeight(beta1);
    by.square_weight = averageWeight(beta2);
    by.step_size = (lr * correction) / (1 - power(beta1, step));
    // Not zero, so that padding, and an element whose gradient was always zero, is 0/eps = 0 and not 0/0.
    by.eps = Math.max(options.epsHat ? options.eps : options.eps * correction, 2 ** -126);
    by.decay = decoupled ? decay * (options.couple ? lr : eta) : 0;
  };
}

const defaults: AdamOptions = {
  lr: 1e-3,
  betas: [0.9, 0.999],
  eps: 1e-8,
  weightDecay: 0,
  amsgrad: false,
  maximize: false,
  gradScale: 1,
  schedule: undefined,
  decayMask: undefined,
  couple: true,
  epsHat: false,
};

/** Adam, its weight decay an L2 term in the gradient: torch.optim.Adam. */
export const adam: Algorithm<AdamOptions> = {
  name: 'adam',
  defaults,
  fixed: ['amsgrad', 'decayMask'],
  identity: { decoupled_weight_decay: false },
  rule: (options) => (options.amsgrad ? rules.adam_amsgrad : rules.adam),
  prepare: prepare(false),
};

/** AdamW, its weight decay decoupled from the gradient: torch.optim.AdamW. */
export const adamw: Algorithm<AdamOptions> = {
  ...adam,
  name: 'adamw',
  defaults: { ...defaults, weightDecay: 1e-2 },
  identity: { decoupled_weight_decay: true },
  prepare: prepare(true),
};
