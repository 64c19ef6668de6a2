// Schedule-Free AdamW, RAdam and SGD (arXiv 2405.15682), as in github.com/facebookresearch/schedule_free.

import type { Powers } from '../math/power.js';
import { raise } from '../math/raise.js';
import * as rules from '../rules/table.js';
import type { ScalarsOf } from '../rules/rule.js';
import { isCount, unexpected } from '../errors.js';
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
  type GroupState,
  type StepInputs,
} from './algorithm.js';
import { flag, isRate, notNegative, orFunction, pair, rate, type Check, type Checks } from './checks.js';
import { rectification } from './radam.js';

/** Options of all Schedule-Free algorithms. Names and defaults are upstream's unless noted. */
export interface ScheduleFreeOptions extends CommonOptions {
  /** r in the weight of an iterate in the average: step^r * lrMax^weightLrPower. Default 0. */
  r: number;
  /** The exponent of lrMax, the largest lr so far, in that weight. Default 2. */
  weightLrPower: number;
  /** Whether weight decay uses y, where the gradient is computed, or z. Default 'y'. */
  decayAt: 'y' | 'z';
}

/** The options of `adamwScheduleFree`. */
export interface AdamwScheduleFreeOptions extends ScheduleFreeOptions {
  /** The weight of x in y, more than 0, and the decay rate of the second moment. Default [0.9, 0.999]. */
  betas: Betas;
  /** Added to the root of the bias-corrected second moment, at least 0. Default 1e-8. */
  eps: number;
  /** The number of steps of lr's linear warm-up. Default 0. */
  warmupSteps: number;
  /** The decay rate of an average of gradients, used instead of the gradient. Fixed at creation. Default 0: none. */
  innerMomentum: number;
}

/** The options of `radamScheduleFree`. */
export interface RadamScheduleFreeOptions extends ScheduleFreeOptions {
  /** As in `adamwScheduleFree`. */
  betas: Betas;
  /** As in `adamwScheduleFree`. */
  eps: number;
  /** While rho <= 4, when the second moment is not used yet. true: lr is 0. false: steps as SGD does. Default true. */
  silentSgdPhase: boolean;
}

/** The options of `sgdScheduleFree`. */
export interface SgdScheduleFreeOptions extends ScheduleFreeOptions {
  /** The weight of x in y, more than 0 and less than 1. Default 0.9. */
  momentum: number;
  /** The number of steps of lr's linear warm-up. Default 0. */
  warmupSteps: number;
}

/**
 * Updates a group's state for a step: the count, the sum of weights and the lr. Throws if the weight underflows to 0,
 * or if it or the sum is infinite.
 */
function advance(state: GroupState, { r, weightLrPower }: Readonly<ScheduleFreeOptions>, lr: number): void {
  state.k += 1;
  state.scheduled_lr = lr;
  state.lr_max = Math.max(lr, state.lr_max);
  const added = weight(state, r, weightLrPower);
  state.weight_sum += added;
  // While lr is 0, a weight of 0 is right: there is nothing to average.
  if (Number.isFinite(state.weight_sum) && (added > 0 || state.lr_max === 0)) return;
  const formula = `${state.k}^${r} * ${state.lr_max}^${weightLrPower}`;
  const what = `the weight of step ${state.k} in the average, ${formula},`;
  throw unexpected(what, 'more than 0, and finite when added to those before', added);
}

const weight = ({ k, lr_max }: Readonly<GroupState>, r: number, weightLrPower: number): number =>
  raise(k, r) * raise(lr_max, weightLrPower);

const warmup = (k: number, warmupSteps: number): number => (k < warmupSteps ? (k + 1) / warmupSteps : 1);

const group = <Options extends ScheduleFreeOptions>(
  factor: (options: Readonly<Options>, k: number, powers: Powers) => number,
): Algorithm<Options>['group'] => ({
  first: { k: 0, weight_sum: 0, lr_max: -1, scheduled_lr: 0 },
  advance: (state, options, eta, powers) =>
    advance(state, options, options.lr * eta * factor(options, state.k, powers)),
  copy(to, { k, weight_sum, lr_max, scheduled_lr }) {
    to.k = k;
    to.weight_sum = weight_sum;
    to.lr_max = lr_max;
    to.scheduled_lr = scheduled_lr;
  },
});

/** Upstream's eval() and train(): x is lerp(y, z, 1 - 1/beta), and y is lerp(x, z, 1 - beta). */
const average = <Options extends ScheduleFreeOptions>(
  beta: (options: Readonly<Options>) => number,
): Algorithm<Options>['average'] => ({
  rule: rules.extrapolate,
  prepare(scalars: ScalarsOf<typeof rules.extrapolate>, options, toAverage) {
    scalars.weight = toAverage ? 1 - 1 / beta(options) : 1 - beta(options);
  },
});

/**
 * Sets the scalars of y and z. In the paper average_weight is c_(k+1), z_step gamma, y_step gamma*(1 - beta*(1 - c)).
 */
function prepareIterates(
  scalars: ScalarsOf<typeof rules.schedulefree_sgd>,
  options: Readonly<ScheduleFreeOptions>,
  at: StepInputs,
  beta: number,
): void {
  const { isFirst, decay, group: state } = at;
  const { r, weightLrPower, decayAt } = options;
  // Avoid 0/0 while lr is 0: there is nothing to average yet.
  const c = state.weight_sum === 0 ? 0 : weight(state, r, weightLrPower) / state.weight_sum;
  scaleGradient(scalars, options, at);
  scalars.z_from_y = isFirst ? 1 : 0;
  scalars.decay = decayAt === 'y' ? decay : 0;
  scalars.z_decay = decayAt === 'z' ? decay : 0;
  scalars.average_weight = c;
  scalars.y_step = state.scheduled_lr * (1 - beta * (1 - c));
  scalars.z_step = state.scheduled_lr;
}

/**
 * Divides the gradient's part of d by (sqrt(v)/root + eps)*correction. To save a multiplication per element, the factor
 * root/correction multiplies the steps and divides the decays instead.
 */
function normalizeBy(
  scalars: ScalarsOf<typeof rules.schedulefree_adamw>,
  root: number,
  correction: number,
  eps: number,
): void {
  const factor = root / correction;
  scalars.root_scale = 1;
  scalars.eps = denominator(eps * root);
  scalars.decay /= factor;
  scalars.z_decay /= factor;
  scalars.y_step *= factor;
  scalars.z_step *= factor;
}

const defaults: Omit<ScheduleFreeOptions, 'lr'> = /* @__PURE__ */ extend(commonDefaults, {
  r: 0,
  weightLrPower: 2,
  decayAt: 'y',
});
const checks: Checks<ScheduleFreeOptions> = /* @__PURE__ */ extend(commonChecks, {
  r: notNegative,
  weightLrPower: notNegative,
  decayAt: { wanted: '"y" or "z"', accepts: (value: unknown) => value === 'y' || value === 'z' },
});
/** Also accepts a function, so that `needsFixed` can say why it cannot be one. */
const betasCheck = /* @__PURE__ */ orFunction(pair, 'them');
const wholeSteps: Check = { wanted: 'a whole number of at least 0', accepts: (value) => isCount(value) };

/** Returns a sentence if beta is too small: eval() uses the weight 1 - 1/beta, as an f32. */
const needsBeta = (name: string, beta: number): string | undefined =>
  Number.isFinite(Math.fround(1 / beta)) ? undefined : `Schedule-Free divides by ${name}, which is ${beta}.`;

type WithBetas = ScheduleFreeOptions & { readonly betas: Betas };
const conflict = ({ betas }: Readonly<WithBetas>): string | undefined =>
  needsFixed(betas, 'Schedule-Free needs the same beta1 at every step') ?? needsBeta('the first of betas', betas[0]);
const averageByBeta1 = /* @__PURE__ */ average(({ betas }: Readonly<WithBetas>) => betas[0]);

/** Schedule-Free AdamW: upstream's AdamWScheduleFree, with `decayAt` from its reference implementation. */
export const adamwScheduleFree: Algorithm<AdamwScheduleFreeOptions> = {
  name: 'adamwScheduleFree',
  defaults: /* @__PURE__ */ extend(defaults, {
    lr: 0.0025,
    betas: [0.9, 0.999],
    eps: 1e-8,
    warmupSteps: 0,
    innerMomentum: 0,
  }),
  checks: /* @__PURE__ */ extend(checks, {
    betas: betasCheck,
    eps: notNegative,
    warmupSteps: wholeSteps,
    innerMomentum: rate,
  }),
  fixed: ['innerMomentum', 'decayMask'],
  identity: {},
  conflict,
  rule: ({ innerMomentum }) => (innerMomentum > 0 ? rules.schedulefree_adamw_inner : rules.schedulefree_adamw),
  prepare(scalars: ScalarsOf<typeof rules.schedulefree_adamw_inner>, options, at) {
    const { betas, eps, innerMomentum } = options;
    prepareIterates(scalars, options, at, betas[0]);
    // The bias correction of the average of gradients.
    const correction = at.powers.complement(innerMomentum, at.step);
    if (innerMomentum > 0) {
      scalars.grad_weight = averageWeight(innerMomentum);
      scalars.flush_below = flushBelow(at);
    }
    scalars.square_weight = averageWeight(betas[1]);
    normalizeBy(scalars, Math.sqrt(at.powers.complement(betas[1], at.step)), correction, eps);
  },
  group: /* @__PURE__ */ group(({ warmupSteps }, k) => warmup(k, warmupSteps)),
  average: averageByBeta1,
};

/** Schedule-Free RAdam (arXiv 1908.03265): upstream's RAdamScheduleFree. While rho <= 4, the root is switched off. */
export const radamScheduleFree: Algorithm<RadamScheduleFreeOptions> = {
  name: 'radamScheduleFree',
  defaults: /* @__PURE__ */ extend(defaults, { lr: 0.0025, betas: [0.9, 0.999], eps: 1e-8, silentSgdPhase: true }),
  checks: /* @__PURE__ */ extend(checks, { betas: betasCheck, eps: notNegative, silentSgdPhase: flag }),
  fixed: ['decayMask'],
  identity: {},
  conflict,
  rule: () => rules.schedulefree_adamw,
  prepare(scalars: ScalarsOf<typeof rules.schedulefree_adamw>, options, at) {
    const { betas, eps } = options;
    prepareIterates(scalars, options, at, betas[0]);
    scalars.square_weight = averageWeight(betas[1]);
    if (rectification(at.powers, betas[1], at.step, 4) !== undefined) {
      normalizeBy(scalars, Math.sqrt(at.powers.complement(betas[1], at.step)), 1, eps);
    } else {
      scalars.root_scale = 0;
      scalars.eps = 1;
    }
  },
  group: /* @__PURE__ */ group(
    ({ betas, silentSgdPhase }, k, powers) => rectification(powers, betas[1], k + 1, 4) ?? (silentSgdPhase ? 0 : 1),
  ),
  average: averageByBeta1,
};

/** Schedule-Free SGD: upstream's SGDScheduleFree. */
export const sgdScheduleFree: Algorithm<SgdScheduleFreeOptions> = {
  name: 'sgdScheduleFree',
  defaults: /* @__PURE__ */ extend(defaults, { lr: 1, momentum: 0.9, warmupSteps: 0 }),
  checks: /* @__PURE__ */ extend(checks, {
    momentum: {
      wanted: 'a number of more than 0 and less than 1',
      accepts: (value: unknown) => isRate(value) && value !== 0,
    },
    warmupSteps: wholeSteps,
  }),
  fixed: ['decayMask'],
  identity: {},
  conflict: ({ momentum }) => needsBeta('momentum', momentum),
  rule: () => rules.schedulefree_sgd,
  prepare: (scalars: ScalarsOf<typeof rules.schedulefree_sgd>, options, at) =>
    prepareIterates(scalars, options, at, options.momentum),
  group: /* @__PURE__ */ group(({ warmupSteps }, k) => warmup(k, warmupSteps)),
  average: /* @__PURE__ */ average(({ momentum }) => momentum),
};
