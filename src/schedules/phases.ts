// Combines schedules: runs one after another, or multiplies them.

import { expect, expectArguments } from '../errors.js';
import { expectSchedule, notNegative, oneOf, read, share, whole, wholes } from './checks.js';
import { cosineFall } from '../math/cospi.js';
import { countAtMost } from '../math/search.js';
import type { Schedule } from '../algorithms/schedule.js';
import { between, schedule, withMemoryOf } from './schedule.js';

/** The options of `linearWarmup`. */
export interface LinearWarmupOptions {
  /** The number of steps of the warm-up. 0: no warm-up. */
  readonly totalIters: number;
  /** The multiplier of step 0, from 0 to 1. Default 0. */
  readonly startFactor?: number | undefined;
}

/**
 * Rises from `startFactor` to 1 in `totalIters` steps, then follows `then`: Hugging Face's
 * get_constant_schedule_with_warmup, and with another `then`, the other get_*_schedule_with_warmup.
 *
 * @param options - `totalIters`, in steps, and `startFactor`, default 0.
 * @param then - The schedule after the warm-up, whose steps count from 0. Default: 1 at every step.
 * @returns The schedule.
 * @throws TypeError for an option that is not as documented, or unknown.
 * @example const schedule = linearWarmup({ totalIters: 100 }, cosineDecay({ decaySteps: 900 }));
 */
export function linearWarmup(options: LinearWarmupOptions, then: Schedule = () => 1): Schedule {
  expectArguments(arguments.length, 2, 'linearWarmup');
  const { totalIters, startFactor } = read('linearWarmup', options, 1, { totalIters: whole(0), startFactor: share(0) });
  expectSchedule(then, 'the second argument of linearWarmup');
  const formula: Schedule = (t) => (t < totalIters ? between(startFactor, 1, t / totalIters) : then(t - totalIters));
  return withMemoryOf([then], schedule(formula));
}

const types = ['linear', 'cosine', '1-sqrt'] as const;

/** The options of `warmupStableDecay`. */
export interface WarmupStableDecayOptions {
  /** The number of steps from `minLrRatio` to 1. */
  readonly warmupSteps: number;
  /** The number of steps at 1. */
  readonly stableSteps: number;
  /** The number of steps from 1 to `minLrRatio`. */
  readonly decaySteps: number;
  /** The shape of the warm-up. Default 'linear'. */
  readonly warmupType?: (typeof types)[number] | undefined;
  /** The shape of the decay. Default 'cosine'. */
  readonly decayType?: (typeof types)[number] | undefined;
  /** The multiplier at both ends, from 0 to 1. Default 0. */
  readonly minLrRatio?: number | undefined;
  /** The number of cosine waves in the decay. Default 0.5: falls once. */
  readonly numCycles?: number | undefined;
}

/**
 * Warm-up, stable phase, decay (WSD, arXiv 2404.06395), then `minLrRatio`: Hugging Face's get_wsd_schedule.
 *
 * @param options - The length of each phase in steps, and its shape; see `WarmupStableDecayOptions`.
 * @returns The schedule.
 * @throws TypeError for an option that is not as documented, or unknown.
 * @example const schedule = warmupStableDecay({ warmupSteps: 100, stableSteps: 800, decaySteps: 100 });
 */
export function warmupStableDecay(options: WarmupStableDecayOptions): Schedule {
  const { warmupSteps, stableSteps, decaySteps, warmupType, decayType, minLrRatio, numCycles } = read(
    'warmupStableDecay',
    options,
    arguments.length,
    {
      warmupSteps: whole(0),
      stableSteps: whole(0),
      decaySteps: whole(0),
      warmupType: oneOf(types, 'linear'),
      decayType: oneOf(types, 'cosine'),
      minLrRatio: share(0),
      numCycles: notNegative(0.5),
    },
  );
  const decayStart = warmupSteps + stableSteps;
  return schedule((t) => {
    // The warm-up is the decay in reverse.
    if (t < warmupSteps) return between(minLrRatio, 1, fall(warmupType, (warmupSteps - t) / warmupSteps));
    if (t < decayStart) return 1;
    if (t >= decayStart + decaySteps) return minLrRatio;
    return between(minLrRatio, 1, fall(decayType, (t - decayStart) / decaySteps, numCycles));
  });
}

/** Falls from 1 at x = 0 to 0 at x = 1. */
function fall(type: (typeof types)[number], x: number, numCycles = 0.5): number {
  if (type === 'cosine') return cosineFall(2 * numCycles * x);
  return 1 - (type === 'linear' ? x : Math.sqrt(x));
}

/**
 * Runs one schedule after another, each counting from 0: the first before step milestones[0], the second from there to
 * milestones[1], and so on. torch's SequentialLR, Optax' join_schedules.
 *
 * @param schedules - At least one.
 * @param milestones - The first step of each schedule but the first: ascending, one fewer than `schedules`.
 * @returns The schedule. It has the state of its parts.
 * @throws TypeError for other arguments.
 * @example const schedule = sequential([linearWarmup({ totalIters: 100 }), exponential({ gamma: 0.99 })], [100]);
 */
export function sequential(schedules: readonly Schedule[], milestones: readonly number[]): Schedule {
  expectArguments(arguments.length, 2, 'sequential');
  expectSchedules(schedules, 'sequential');
  const { wanted, accepts } = wholes();
  expect(accepts(milestones), 'milestones', wanted, milestones);
  const isOneLess = milestones.length === schedules.length - 1;
  expect(
    isOneLess,
    'milestones',
    `an array of length ${schedules.length - 1}, one less than the schedules`,
    milestones,
  );
  const isAscending = milestones.every((milestone, i) => i === 0 || milestone >= milestones[i - 1]);
  expect(isAscending, 'milestones', 'in ascending order', milestones);
  const [parts, starts] = [[...schedules], [0, ...milestones]];
  const formula: Schedule = (t) => {
    const i = countAtMost(starts, t, Number) - 1;
    return parts[i](t - starts[i]);
  };
  return withMemoryOf(parts, schedule(formula));
}

/**
 * Multiplies schedules: torch's ChainedScheduler.
 *
 * @param schedules - At least one.
 * @returns The schedule whose multiplier is the product of theirs. It has the state of its parts.
 * @throws TypeError without a schedule, or for anything else than a function.
 * @example const schedule = chained(linearWarmup({ totalIters: 100 }), reduceOnPlateau());
 */
export function chained(...schedules: readonly Schedule[]): Schedule {
  expectSchedules(schedules, 'chained');
  const formula: Schedule = (t) => {
    let product = 1;
    for (const part of schedules) product *= part(t);
    return product;
  };
  return withMemoryOf(schedules, schedule(formula));
}

function expectSchedules(schedules: unknown, name: string): asserts schedules is readonly Schedule[] {
  const isGood = Array.isArray(schedules) && schedules.length > 0;
  expect(isGood, `the schedules of ${name}`, 'an array of at least one', schedules);
  for (const [i, part] of schedules.entries()) expectSchedule(part, `schedules[${i}] of ${name}`);
}
