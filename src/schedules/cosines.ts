// Schedules that follow half a cosine wave (SGDR, arXiv 1608.03983).

import { raise } from '../math/raise.js';
import { notNegative, read, whole } from './checks.js';
import { cosineFall } from '../math/cospi.js';
import type { Schedule } from '../algorithms/schedule.js';
import { schedule } from './schedule.js';

const fallTo = (end: number, x: number): number => end + (1 - end) * cosineFall(x);

/** The options of `cosineAnnealing`. */
export interface CosineAnnealingOptions {
  /** The number of steps until the multiplier is `minLrRate`, at least 1. */
  readonly tMax: number;
  /** The multiplier at `tMax`, at least 0: PyTorch's eta_min (an absolute lr) divided by lr. Default 0. */
  readonly minLrRate?: number | undefined;
}

/**
 * minLrRate + (1 - minLrRate)*(1 + cos(pi*t/tMax))/2: torch's CosineAnnealingLR. After `tMax` it rises again, to 1 at
 * 2*tMax, as in torch; `cosineDecay` stays at its last value.
 *
 * @param options - `tMax`, in steps, and `minLrRate`, default 0.
 * @returns The schedule.
 * @throws TypeError for an option that is not as documented, or unknown.
 * @example
 * const schedule = cosineAnnealing({ tMax: 1000, minLrRate: 0.1 });
 * const annealed = await adamw(params, { lr: 0.01, schedule });
 */
export function cosineAnnealing(options: CosineAnnealingOptions): Schedule {
  const { tMax, minLrRate } = read('cosineAnnealing', options, arguments.length, {
    tMax: whole(1),
    minLrRate: notNegative(0),
  });
  return schedule((t) => fallTo(minLrRate, (t % (2 * tMax)) / tMax));
}

/** The options of `cosineDecay`. */
export interface CosineDecayOptions {
  /** The number of steps until the multiplier is `alpha`. 0: it is `alpha` from the start. */
  readonly decaySteps: number;
  /** The multiplier from `decaySteps` on. Default 0. */
  readonly alpha?: number | undefined;
  /** The exponent of the cosine, at least 0. Default 1. */
  readonly exponent?: number | undefined;
}

/**
 * alpha + (1 - alpha)*((1 + cos(pi*t/decaySteps))/2)**exponent, then alpha: Optax' and Keras' cosine decay.
 *
 * @param options - `decaySteps`; `alpha`, default 0; and `exponent`, default 1.
 * @returns The schedule.
 * @throws TypeError for an option that is not as documented, or unknown.
 * @example const schedule = cosineDecay({ decaySteps: 1000, alpha: 0.1 });
 */
export function cosineDecay(options: CosineDecayOptions): Schedule {
  const { decaySteps, alpha, exponent } = read('cosineDecay', options, arguments.length, {
    decaySteps: whole(0),
    alpha: notNegative(0),
    exponent: notNegative(1),
  });
  return schedule((t) => {
    const fall = t < decaySteps ? cosineFall(t / decaySteps) : 0;
    return alpha + (1 - alpha) * raise(fall, exponent);
  });
}

/** The options of `cosineAnnealingWarmRestarts`. */
export interface CosineAnnealingWarmRestartsOptions {
  /** The number of steps of the first cycle, at least 1. */
  readonly t0: number;
  /** The length of a cycle divided by the length of the one before: a whole number of at least 1. Default 1. */
  readonly tMult?: number | undefined;
  /** The multiplier at the end of each cycle: PyTorch's eta_min (an absolute lr) divided by lr. Default 0. */
  readonly minLrRate?: number | undefined;
}

/**
 * Cosine annealing that restarts at 1 after t0, t0*tMult, ... steps: torch's CosineAnnealingWarmRestarts.
 *
 * @param options - `t0`, in steps; `tMult`, default 1; and `minLrRate`, default 0.
 * @returns The schedule.
 * @throws TypeError for an option that is not as documented, or unknown.
 * @example const schedule = cosineAnnealingWarmRestarts({ t0: 100, tMult: 2 });
 */
export function cosineAnnealingWarmRestarts(options: CosineAnnealingWarmRestartsOptions): Schedule {
  const { t0, tMult, minLrRate } = read('cosineAnnealingWarmRestarts', options, arguments.length, {
    t0: whole(1),
    tMult: whole(1, 1),
    minLrRate: notNegative(0),
  });
  return schedule((t) => {
    if (tMult === 1) return fallTo(minLrRate, (t % t0) / t0);
    // Count in whole numbers: a logarithm would sometimes miss the first step of a cycle.
    let rest = t;
    let length = t0;
    for (; rest >= length; length *= tMult) rest -= length;
    return fallTo(minLrRate, rest / length);
  });
}
