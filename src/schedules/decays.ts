// Schedules with one formula each.

import { power } from '../math/power.js';
import { raise } from '../math/raise.js';
import { countAtMost } from '../math/search.js';
import { notNegative, positive, read, share, whole, wholes } from './checks.js';
import type { Schedule } from '../algorithms/schedule.js';
import { between, schedule } from './schedule.js';

/** The options of `constant`. */
export interface ConstantOptions {
  /** The multiplier of the first `totalIters` steps, from 0 to 1. Default 1/3. */
  readonly factor?: number | undefined;
  /** The number of steps with `factor`. Default 5. */
  readonly totalIters?: number | undefined;
}

/**
 * `factor` for `totalIters` steps, then 1: torch's ConstantLR.
 *
 * @param options - `factor`, default 1/3, and `totalIters`, default 5 steps.
 * @returns The schedule.
 * @throws TypeError for an option that is not as documented, or unknown.
 * @example const schedule = constant({ factor: 0.5, totalIters: 100 });
 */
export function constant(options: ConstantOptions = {}): Schedule {
  const { factor, totalIters } = read('constant', options, arguments.length, {
    factor: share(1 / 3),
    totalIters: whole(0, 5),
  });
  return schedule((t) => (t < totalIters ? factor : 1));
}

/** The options of `linear`. */
export interface LinearOptions {
  /** The multiplier of step 0, from 0 to 1. Default 1/3. */
  readonly startFactor?: number | undefined;
  /** The multiplier from `totalIters` on, from 0 to 1. Default 1. */
  readonly endFactor?: number | undefined;
  /** The number of steps until the multiplier is `endFactor`. 0: it is `endFactor` from the start. Default 5. */
  readonly totalIters?: number | undefined;
}

/**
 * startFactor + (endFactor - startFactor)*t/totalIters, then endFactor: torch's LinearLR.
 *
 * @param options - `startFactor`, default 1/3; `endFactor`, default 1; and `totalIters`, default 5 steps.
 * @returns The schedule.
 * @throws TypeError for an option that is not as documented, or unknown.
 * @example const schedule = linear({ startFactor: 1, endFactor: 0, totalIters: 1000 });
 */
export function linear(options: LinearOptions = {}): Schedule {
  const { startFactor, endFactor, totalIters } = read('linear', options, arguments.length, {
    startFactor: share(1 / 3),
    endFactor: share(1),
    totalIters: whole(0, 5),
  });
  return schedule((t) => (t < totalIters ? between(startFactor, endFactor, t / totalIters) : endFactor));
}

/** The options of `polynomial`. */
export interface PolynomialOptions {
  /** The number of steps until the multiplier is 0. 0: it is 0 from the start. Default 5. */
  readonly totalIters?: number | undefined;
  /** The exponent, at least 0. Default 1. */
  readonly power?: number | undefined;
}

/**
 * (1 - t/totalIters)**power, then 0: torch's PolynomialLR.
 *
 * @param options - `totalIters`, default 5 steps, and `power`, default 1.
 * @returns The schedule.
 * @throws TypeError for an option that is not as documented, or unknown.
 * @example const schedule = polynomial({ totalIters: 1000, power: 2 });
 */
export function polynomial(options: PolynomialOptions = {}): Schedule {
  const { totalIters, power: exponent } = read('polynomial', options, arguments.length, {
    totalIters: whole(0, 5),
    power: notNegative(1),
  });
  return schedule((t) => (t < totalIters ? raise((totalIters - t) / totalIters, exponent) : raise(0, exponent)));
}

/** The options of `exponential`. */
export interface ExponentialOptions {
  /** The factor of every step, at least 0. */
  readonly gamma: number;
}

/**
 * gamma**t: torch's ExponentialLR.
 *
 * @param options - `gamma`, the factor of every step.
 * @returns The schedule.
 * @throws TypeError for an option that is not as documented, or unknown.
 * @example const schedule = exponential({ gamma: 0.999 });
 */
export function exponential(options: ExponentialOptions): Schedule {
  const { gamma } = read('exponential', options, arguments.length, { gamma: notNegative() });
  return schedule((t) => power(gamma, t));
}

/** The options of `step`. */
export interface StepScheduleOptions {
  /** The number of steps between two changes, at least 1. */
  readonly stepSize: number;
  /** The factor of each change, at least 0. Default 0.1. */
  readonly gamma?: number | undefined;
}

/**
 * gamma**floor(t/stepSize): torch's StepLR.
 *
 * @param options - `stepSize`, in steps, and `gamma`, default 0.1.
 * @returns The schedule.
 * @throws TypeError for an option that is not as documented, or unknown.
 * @example const schedule = step({ stepSize: 1000, gamma: 0.5 });
 */
export function step(options: StepScheduleOptions): Schedule {
  const { stepSize, gamma } = read('step', options, arguments.length, { stepSize: whole(1), gamma: notNegative(0.1) });
  return schedule((t) => power(gamma, Math.floor(t / stepSize)));
}

/** The options of `multiStep`. */
export interface MultiStepOptions {
  /**
   * The steps at which the multiplier is multiplied by `gamma`, in any order. One that is listed twice counts twice.
   */
  readonly milestones: readonly number[];
  /** The factor at each milestone, at least 0. Default 0.1. */
  readonly gamma?: number | undefined;
}

/**
 * gamma**(the number of milestones reached): torch's MultiStepLR.
 *
 * @param options - `milestones`, in steps, and `gamma`, default 0.1.
 * @returns The schedule.
 * @throws TypeError for an option that is not as documented, or unknown.
 * @example const schedule = multiStep({ milestones: [1000, 1500] });
 */
export function multiStep(options: MultiStepOptions): Schedule {
  const { milestones, gamma } = read('multiStep', options, arguments.length, {
    milestones: wholes(),
    gamma: notNegative(0.1),
  });
  const sorted = [...milestones];
  sorted.sort((a, b) => a - b);
  return schedule((t) => power(gamma, countAtMost(sorted, t, Number)));
}

/** The options of `inverseSqrt`. */
export interface InverseSqrtOptions {
  /** The number of steps of linear warm-up from 0 to 1. */
  readonly warmupSteps: number;
  /**
   * The number of steps from the warm-up to a multiplier of sqrt(1/2). Default `warmupSteps`, or 10000 if that is 0.
   */
  readonly timescale?: number | undefined;
}

/**
 * t/warmupSteps, then 1/sqrt(1 + (t - warmupSteps)/timescale): Hugging Face's get_inverse_sqrt_schedule.
 *
 * @param options - `warmupSteps`, and `timescale` in steps, default `warmupSteps`.
 * @returns The schedule.
 * @throws TypeError for an option that is not as documented, or unknown.
 * @example const schedule = inverseSqrt({ warmupSteps: 100 });
 */
export function inverseSqrt(options: InverseSqrtOptions): Schedule {
  const { warmupSteps, timescale } = read('inverseSqrt', options, arguments.length, {
    warmupSteps: whole(0),
    timescale: positive(options?.warmupSteps || 10_000),
  });
  return schedule((t) => (t < warmupSteps ? t / warmupSteps : Math.sqrt(timescale / (t - warmupSteps + timescale))));
}
