// nadam() and radam(), as in torch.optim, on the kernel `nadam`.

import { power, vanishes, type Powers } from '../math/power.js';
import { raise, raised } from '../math/raise.js';
import * as rules from '../rules/table.js';
import type { ScalarsOf } from '../rules/rule.js';
import {
  averageWeight,
  commonChecks,
  commonDefaults,
  denominator,
  extend,
  flushBelow,
  needsFixed,
  scaleGradient,
  type Algorithm,
  type Betas,
  type CommonOptions,
  type StepInputs,
} from './algorithm.js';
import { flag, notNegative, orFunction, pair, type Checks } from './checks.js';

/** The options of `radam`; names and defaults are PyTorch's. */
export interface RadamOptions extends CommonOptions {
  /** As in `adam`. */
  betas: Betas | ((completedSteps: number) => Betas);
  /** Added to the root of the second moment, bias-corrected for `nadam` only, at least 0. Default 1e-8. */
  eps: number;
  /** true: weight decay as in AdamW. false: an L2 term in the gradient. Fixed at creation. Default false. */
  decoupledWeightDecay: boolean;
}

/** The options of `nadam`; names and defaults are PyTorch's. */
export interface NadamOptions extends RadamOptions {
  /** The decay rates of the two moments, each at least 0 and less than 1; not a function. Default [0.9, 0.999]. */
  betas: Betas;
  /** The rate at which the momentum approaches beta1, at least 0. Default 4e-3. */
  momentumDecay: number;
}

type Scalars = ScalarsOf<typeof rules.nadam>;

/** Sets the scalars that NAdam and RAdam have in common. Returns lr times the schedule's multiplier. */
function prepareMoments(scalars: Scalars, options: Readonly<RadamOptions>, at: StepInputs): number {
  const { eta, decay, betas } = at;
  const lr = options.lr * eta;
  const { decoupledWeightDecay } = options;
  scaleGradient(scalars, options, at);
  scalars.l2 = decoupledWeightDecay ? 0 : decay;
  scalars.grad_weight = averageWeight(betas[0]);
  scalars.square_weight = averageWeight(betas[1]);
  scalars.eps_root = 0;
  scalars.decay = decoupledWeightDecay ? lr * decay : 0;
  scalars.flush_below = flushBelow(at);
  return lr;
}

/**
 * Returns RAdam's rectification of step t (arXiv 1908.03265, equation 4). Returns undefined if rho, the length of the
 * approximated moving average, is at most `least`: the variance of the second moment is not tractable then.
 */
export function rectification(powers: Powers, beta2: number, t: number, least: number): number | undefined {
  const rhoInfinity = 2 / (1 - beta2) - 1;
  const rest = powers.decayed(beta2, t);
  const rho = rhoInfinity - (2 * t * rest) / (1 - rest);
  if (!(rho > least)) return undefined;
  return Math.sqrt(((rho - 4) * (rho - 2) * rhoInfinity) / ((rhoInfinity - 4) * (rhoInfinity - 2) * rho));
}

const defaults: RadamOptions = /* @__PURE__ */ extend(commonDefaults, {
  lr: 1e-3,
  betas: [0.9, 0.999],
  eps: 1e-8,
  decoupledWeightDecay: false,
});
const checks: Checks<RadamOptions> = /* @__PURE__ */ extend(commonChecks, {
  betas: /* @__PURE__ */ orFunction(pair, 'them'),
  eps: notNegative,
  decoupledWeightDecay: flag,
});
const fixed = ['decoupledWeightDecay', 'decayMask'] as const;

/** torch.optim.RAdam. eps is added without bias correction. In steps without rectification the root is switched off. */
export const radam: Algorithm<RadamOptions> = {
  name: 'radam',
  defaults,
  checks,
  fixed,
  identity: {},
  rule: () => rules.nadam,
  prepare(scalars: Scalars, options, at) {
    const { betas, step, powers } = at;
    const stepSize = prepareMoments(scalars, options, at) / powers.complement(betas[0], step);
    const rectified = rectification(powers, betas[1], step, 5);
    scalars.step_size =
      rectified === undefined ? stepSize : stepSize * rectified * Math.sqrt(powers.complement(betas[1], step));
    scalars.grad_step = 0;
    scalars.root_scale = rectified === undefined ? 0 : 1;
    scalars.eps = rectified === undefined ? 1 : denominator(options.eps);
  },
};

/** The base of NAdam's momentum schedule. */
const BASE = 0.96;

/** torch.optim.NAdam: uses mu_t = beta1*(1 - 0.5*0.96^(t*momentumDecay)), and the product of all mu so far. */
export const nadam: Algorithm<NadamOptions> = {
  name: 'nadam',
  defaults: /* @__PURE__ */ extend(defaults, { lr: 2e-3, betas: [0.9, 0.999], momentumDecay: 4e-3 }),
  checks: /* @__PURE__ */ extend(checks, { momentumDecay: notNegative }),
  fixed,
  identity: {},
  conflict: ({ betas }) => needsFixed(betas, 'NAdam uses the product of the momenta of all steps'),
  derived: {
    mu_product: ({ betas, momentumDecay }, step) => momentumProduct(betas[0], raise(BASE, momentumDecay), step),
  },
  rule: () => rules.nadam,
  prepare(scalars: Scalars, options, at) {
    const { momentumDecay, eps } = options;
    const { betas, powers } = at;
    const beta1 = betas[0];
    const base = raised(powers, BASE, momentumDecay);
    const rest = powers.decayed(base, at.step);
    const mu = momentum(beta1, rest);
    const next = momentum(beta1, rest * base);
    // Each factor is at most beta1.
    const product = vanishes(beta1, at.step) ? 0 : momentumProduct(beta1, base, at.step);
    const correction = Math.sqrt(powers.complement(betas[1], at.step));
    const lr = prepareMoments(scalars, options, at) * correction;
    scalars.step_size = (lr * next) / (1 - product * next);
    scalars.grad_step = (lr * (1 - mu)) / (1 - product);
    scalars.root_scale = 1;
    scalars.eps = denominator(eps * correction);
  },
};

/** Returns mu_t, where `rest` is 0.96^(t*momentumDecay). */
const momentum = (beta1: number, rest: number): number => beta1 * (1 - 0.5 * rest);

/** Returns the product of all mu up to step t, computed from the current options. */
function momentumProduct(beta1: number, base: number, t: number): number {
  let product = 1;
  // A few thousand factors at most: after that they are beta1, or 1 minus the product is 1 in f64.
  for (let step = 1, rest = base; step <= t && product > 2 ** -60; step++, rest *= base) {
    product *= rest > 2 ** -54 ? momentum(beta1, rest) : power(beta1, t - step + 1);
    if (rest <= 2 ** -54) break;
  }
  return product;
}
