// The types of an algorithm, and what all algorithms share.

import { Powers } from '../math/power.js';
import type { Correction, Rule } from '../rules/rule.js';
import { flag, notNegative, orFunction, factor, type Checks } from './checks.js';
import type { Schedule } from './schedule.js';
import { expect, expectArguments, isRecord } from '../errors.js';

/** Options that every algorithm has. Names and defaults are PyTorch's unless noted. */
export interface CommonOptions {
  /** The learning rate, at least 0. */
  lr: number;
  /** The strength of weight decay, at least 0; or a function of completed steps, counted as for `schedule`. */
  weightDecay: number | ((completedSteps: number) => number);
  /** Step up the gradient instead of down. Default false. */
  maximize: boolean;
  /**
   * Multiplies every gradient, at no cost: 1/scale undoes a loss scale, min(1, max/norm) clips. At least 0. Default 1.
   * (torch's fused optimizers take the inverse and divide by it.)
   */
  gradScale: number;
  /**
   * The multiplier of lr, at least 0, as a function of completed steps: those of the optimizer, or for Schedule-Free
   * those of the group. Default: always 1. `twinstep/schedules` has the usual ones.
   */
  schedule: Schedule | undefined;
  /**
   * Which tensors decay: a function of the name and of the shape, if the option `shapes` has it, or a record of booleans
   * by name. Fixed at creation. Default: all.
   */
  decayMask:
    ((name: string, shape: readonly number[] | undefined) => boolean) | Readonly<Record<string, boolean>> | undefined;
}

/** Options of a group, of any algorithm. An average of weights (`ema`) has other options. */
export interface GroupOptions extends Partial<CommonOptions> {
  betas?: Betas | ((completedSteps: number) => Betas);
  decay?: number | ((completedSteps: number) => number);
}

/** The decay rates of the two moments. */
export type Betas = readonly [number, number];

export const commonDefaults: Omit<CommonOptions, 'lr'> = {
  weightDecay: 0,
  maximize: false,
  gradScale: 1,
  schedule: undefined,
  decayMask: undefined,
};

export const commonChecks: Checks<CommonOptions> = {
  lr: notNegative,
  weightDecay: /* @__PURE__ */ orFunction(notNegative, 'one'),
  maximize: flag,
  gradScale: factor,
  schedule: {
    wanted: 'a function from completed steps to a multiplier of lr',
    accepts: (value) => value === undefined || typeof value === 'function',
    returns: notNegative,
  },
  decayMask: {
    wanted: 'a function from a name to true or false, or a record of them',
    accepts: (value) => value === undefined || typeof value === 'function' || isRecord(value),
  },
};

/**
 * Returns `base` and `more` in one object. Bundlers treat spread and property reads at the top level as side effects; a
 * call marked pure can be dropped, and with it an algorithm that is not imported.
 */
export const extend = <Base extends object, const More extends object>(
  base: Base,
  more: More,
): Omit<Base, keyof More> & More => ({ ...base, ...more });

/** The state of a group, with upstream's names: Schedule-Free's `k`, `weight_sum`, ... */
export type GroupState = Record<string, number>;

/** What `prepare` needs to know about a step of a tensor. */
export interface StepInputs {
  /** The number of this step, from 1: counted by tensor, or by group for an algorithm with state per group. */
  readonly step: number;
  /** Whether this is the tensor's first step. */
  readonly isFirst: boolean;
  /** The schedule's multiplier of lr. */
  readonly eta: number;
  /** The weight decay: 0 if the decay mask excludes the tensor. */
  readonly decay: number;
  /** Another factor of the gradients: 1/n for the mean of n batches. */
  readonly gradFactor: number;
  /** The clamp of the scaled gradients, in magnitude. 0: none. */
  readonly maxValue: number;
  /** The decay rates of the moments; zeros for an algorithm without `betas`. */
  readonly betas: Betas;
  /** The decay rate of an average of weights. */
  readonly emaDecay: number;
  /** The state of the group, after this step. */
  readonly group: Readonly<GroupState>;
  /** Powers of the group's options. */
  readonly powers: Powers;
}

/** An algorithm: default options, the rule that the options choose, and the arithmetic once per step. */
export interface Algorithm<Options extends object> {
  readonly name: string;
  readonly defaults: Readonly<Options>;
  /** The check of each option. */
  readonly checks: Checks<Options>;
  /** Options that cannot change after creation, because they choose the rule or the memory. */
  readonly fixed: readonly (keyof Options & string)[];
  /** Entries that distinguish its state dicts from those of related algorithms, with PyTorch's names. */
  readonly identity: Readonly<Record<string, boolean>>;
  /** Values that PyTorch saves per tensor and we compute: written for PyTorch, ignored when loading. */
  readonly derived?: Readonly<Record<string, (options: Readonly<Options>, step: number) => number>>;
  /** Returns a sentence saying why these options cannot be combined, if they cannot. Each of them is valid. */
  conflict?(options: Readonly<Options>): string | undefined;
  rule(options: Readonly<Options>): Rule;
  /** Sets every scalar of the rule in `scalars`, and nothing else, in f64. Each is rounded to f32 once, afterwards. */
  prepare(scalars: Record<string, number>, options: Readonly<Options>, at: StepInputs): void;
  /**
   * Returns the correction of each scalar that depends on the step, by name: by it the GPU multiplies what `prepare`
   * sets with `powers` whose complements are 1. Undefined if the GPU cannot compute the scalars of a step: then it
   * cannot skip one either.
   */
  corrections?(options: Readonly<Options>): Readonly<Record<string, Correction>>;
  /** For an algorithm with state per group: the initial state, and its change at a step, where lr is times `eta`. */
  readonly group?: {
    readonly first: Readonly<GroupState>;
    advance(state: GroupState, options: Readonly<Options>, eta: number, powers: Powers): void;
    /** Copies a state, property by property: a loop over computed names takes ten times as long. */
    copy(to: GroupState, from: Readonly<GroupState>): void;
  };
  /** If the parameters to evaluate are not those to train: the rule that moves them there or back, and its scalars. */
  readonly average?: {
    readonly rule: Rule;
    prepare(scalars: Record<string, number>, options: Readonly<Options>, toAverage: boolean): void;
  };
}

/** Any algorithm, for code that reads its options by name. */
export type AnyAlgorithm = Algorithm<GroupOptions>;

/**
 * Returns the weight with which lerp(average, value, weight) is an exponential average of decay rate `beta`: 1 - beta,
 * or for beta < 0.5 -beta, which `lerp` (f32.ts) applies from the new value. Computed in f64.
 */
export const averageWeight = (beta: number): number => (beta < 0.5 ? -beta : 1 - beta);

/** If betas is a function, returns a sentence saying that it cannot be, for the reason `why`. */
export const needsFixed = (betas: unknown, why: string): string | undefined =>
  typeof betas === 'function' ? `${why}, so betas must be two numbers, got a function.` : undefined;

/**
 * Sets the factor of every gradient, and the clamp of the product. With a clamp, 0 times infinity must not be NaN, and a
 * GPU flushes smaller factors to 0.
 */
export function scaleGradient(
  scalars: Record<'grad_scale' | 'max_value', number>,
  { maximize, gradScale }: Readonly<CommonOptions>,
  { gradFactor, maxValue }: StepInputs,
): void {
  const scale = gradScale * gradFactor;
  const least = maxValue > 0 && scale > 0 ? 2 ** -126 : 0;
  scalars.grad_scale = (maximize ? -1 : 1) * Math.max(scale, least);
  scalars.max_value = maxValue;
}

/**
 * Returns the limit below which first moments are flushed to zero: the smallest normal number at every 64th step, else
 * 0. Flushing at every step would slow down the kernel, and subnormal moments cost little for 63 steps.
 */
export const flushBelow = ({ step }: StepInputs): number => (step % 64 === 0 ? 2 ** -126 : 0);

/** Returns an eps that is never 0, so that padding, or an element with no gradient so far, is 0/eps = 0 and not 0/0. */
export const denominator = (eps: number): number => Math.max(eps, 2 ** -126);

/**
 * Returns a weight decay that grows with the second moment's bias correction: lambda0*sqrt(1 - beta2^t) after t
 * completed steps, so 0 at the first.
 *
 * @param lambda0 - The weight decay that it approaches, at least 0.
 * @param beta2 - The decay rate of the second moment, at least 0 and less than 1.
 * @returns A function of completed steps, for the option `weightDecay`.
 * @throws TypeError for a number that is not as documented.
 * @example const optimizer = await adamw(params, { weightDecay: debiasedDecay(0.1, 0.999) });
 */
export function debiasedDecay(lambda0: number, beta2: number): (completedSteps: number) => number {
  expectArguments(arguments.length, 2, 'debiasedDecay');
  expect(Number.isFinite(lambda0) && lambda0 >= 0, 'lambda0', 'a finite number of at least 0', lambda0);
  expect(Number.isFinite(beta2) && beta2 >= 0 && beta2 < 1, 'beta2', 'a number of at least 0 and less than 1', beta2);
  const powers = new Powers();
  return (completedSteps) => lambda0 * Math.sqrt(powers.complement(beta2, completedSteps));
}
