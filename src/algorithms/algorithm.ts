// What an algorithm is made of, and what all algorithms share.

import { Powers } from '../math/power.js';
import type { Rule } from '../rules/rule.js';
import { flag, notNegative, orFunction, factor, type Checks } from './checks.js';
import type { Schedule } from './schedule.js';
import { expect, expectArguments, isRecord } from '../errors.js';

/** Options that every algorithm has. Names and defaults are PyTorch's unless said otherwise. */
export interface CommonOptions {
  /** The learning rate, at least 0. */
  lr: number;
  /** The strength of weight decay, at least 0; or a function of completed steps, counted as for `schedule`. */
  weightDecay: number | ((completedSteps: number) => number);
  /** Step up the gradient instead of down. Default false. */
  maximize: boolean;
  /**
   * Every gradient is multiplied by it first, at no cost: 1/scale undoes a loss scale, min(1, max/norm) clips. At least 0.
   * Default 1. (torch's fused optimizers take the inverse, and divide.)
   */
  gradScale: number;
  /**
   * The multiplier of lr, at least 0, as a function of completed steps: the optimizer's, for Schedule-Free the group's.
   * Default: always 1. `twinstep/schedules` has the usual ones.
   */
  schedule: Schedule | undefined;
  /**
   * Which tensors decay: a predicate on the name, or a boolean for every name. Fixed at creation. Default: all.
   */
  decayMask: ((name: string) => boolean) | Readonly<Record<string, boolean>> | undefined;
}

/** What the options of a group may have: those of an average of weights are others. */
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
 * `base` with `more` in it. Bundlers treat spread and property reads at the top level as side effects; a call marked
 * pure can be dropped, and with it an algorithm that nobody imports.
 */
export const extend = <Base extends object, const More extends object>(
  base: Base,
  more: More,
): Omit<Base, keyof More> & More => ({ ...base, ...more });

/** What a group remembers, by PyTorch's names: Schedule-Free's `k`, `weight_sum`, ... */
export type GroupState = Record<string, number>;

/** How far a tensor has come. */
export interface Progress {
  /** The number of this step, from 1: the tensor's own, or where groups remember, the group's. */
  readonly step: number;
  /** Whether it is the tensor's first. */
  readonly isFirst: boolean;
  /** The multiplier of lr that the schedule gives for it. */
  readonly eta: number;
  /** Its weight decay: 0 where the decay mask lets none act. */
  readonly decay: number;
  /** What the gradients of this step are multiplied by besides, as their mean over batches is taken. */
  readonly gradFactor: number;
  /** The decay rates of its moments; zeros for an algorithm that has no `betas`. */
  readonly betas: Betas;
  /** That of an average of weights. */
  readonly emaDecay: number;
  /** What the group remembers, this step included. */
  readonly group: Readonly<GroupState>;
  /** Powers of the group's options. */
  readonly powers: Powers;
}

/** An optimizer: defaults, the rule that they choose, and the arithmetic that happens once a step. */
export interface Algorithm<Options extends object> {
  readonly name: string;
  readonly defaults: Readonly<Options>;
  /** What each option may be. */
  readonly checks: Checks<Options>;
  /** Options that choose the rule or the memory, and so are fixed once the optimizer is made. */
  readonly fixed: readonly (keyof Options & string)[];
  /** What tells its state dicts from those of its relatives, in PyTorch's words. */
  readonly identity: Readonly<Record<string, boolean>>;
  /** What else PyTorch saves of a tensor and we derive: written for others to read, and not read. */
  readonly derived?: Readonly<Record<string, (options: Readonly<Options>, step: number) => number>>;
  /** Why these options, each of them good, cannot stand together: a sentence. */
  conflict?(options: Readonly<Options>): string | undefined;
  rule(options: Readonly<Options>): Rule;
  /** Sets every scalar of the rule in `by`, and no other, in f64; each is rounded to f32 once, afterwards. */
  prepare(by: Record<string, number>, options: Readonly<Options>, at: Progress): void;
  /** Where steps are counted by group: what is remembered at first, and one step of it, with lr times `eta`. */
  readonly group?: {
    readonly first: Readonly<GroupState>;
    advance(state: GroupState, options: Readonly<Options>, eta: number, powers: Powers): void;
    /** Copies a state: by its names, since a loop over any names takes ten times as long. */
    copy(to: GroupState, from: Readonly<GroupState>): void;
  };
  /** Where the parameters are not what is to be evaluated: the rule, and its scalars, that takes them there or back. */
  readonly average?: {
    readonly rule: Rule;
    prepare(by: Record<string, number>, options: Readonly<Options>, toAverage: boolean): void;
  };
}

/**
 * The weight for which lerp(average, value, weight) is an exponential average of decay rate `beta`: 1 - beta, or for
 * beta < 0.5 -beta, which `lerp` (f32.ts) applies from the new value. Both are computed in f64.
 */
export const averageWeight = (beta: number): number => (beta < 0.5 ? -beta : 1 - beta);

/** Why betas, where they are a function, cannot be: a sentence. */
export const needsFixed = (betas: unknown, algorithm: string): string | undefined =>
  typeof betas === 'function' ? `${algorithm}, and so betas has to be two numbers, got a function.` : undefined;

/** The factor of every gradient. */
export const gradScale = ({ maximize, gradScale: scale }: Readonly<CommonOptions>, { gradFactor }: Progress): number =>
  (maximize ? -scale : scale) * gradFactor;

/**
 * First moments smaller than this are flushed to zero: the smallest normal number at every 64th step, else 0. A flush at
 * every step would slow the kernel down, and for 63 steps subnormal moments cost little.
 */
export const flushBelow = ({ step }: Progress): number => (step % 64 === 0 ? 2 ** -126 : 0);

/** An eps that is never zero, so that padding, and an element whose gradient was always zero, is 0/eps = 0 and not 0/0. */
export const denominator = (eps: number): number => Math.max(eps, 2 ** -126);

/**
 * A weight decay that grows as the second moment's memory does: lambda0*sqrt(1 - beta2^t) after t completed steps, and so
 * 0 at the first.
 * Throws an Error for a lambda0 below 0, or a beta2 that is not at least 0 and less than 1.
 */
export function debiasedDecay(lambda0: number, beta2: number): (completedSteps: number) => number {
  expectArguments(arguments.length, 2, 'debiasedDecay');
  expect(Number.isFinite(lambda0) && lambda0 >= 0, 'lambda0', 'a finite number of at least 0', lambda0);
  expect(Number.isFinite(beta2) && beta2 >= 0 && beta2 < 1, 'beta2', 'a number of at least 0 and less than 1', beta2);
  const powers = new Powers();
  return (completedSteps) => lambda0 * Math.sqrt(powers.complement(beta2, completedSteps));
}
