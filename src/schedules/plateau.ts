// A schedule that depends on a metric instead of the number of steps.

import { canCount, countFrom, expect, expectArguments, isRecord, list } from '../errors.js';
import { notNegative, oneOf, rate, read, share, whole, type Check } from './checks.js';
import type { Schedule, ScheduleMemory } from '../algorithms/schedule.js';
import { schedule } from './schedule.js';

/** The options of `reduceOnPlateau`. */
export interface ReduceOnPlateauOptions {
  /** Whether a lower ('min') or a higher metric is better. Default 'min'. */
  readonly mode?: 'min' | 'max' | undefined;
  /** The factor of a reduction, at least 0 and less than 1. Default 0.1. */
  readonly factor?: number | undefined;
  /** The number of bad metrics in a row without a reduction; the next one reduces. Default 10. */
  readonly patience?: number | undefined;
  /** A metric counts as better if it is better than the best by more than this. Default 1e-4. */
  readonly threshold?: number | undefined;
  /** Whether `threshold` is relative to the best, or absolute. Default 'rel'. */
  readonly thresholdMode?: 'rel' | 'abs' | undefined;
  /** The number of metrics after a reduction that do not count as bad. Default 0. */
  readonly cooldown?: number | undefined;
  /** The least multiplier, from 0 to 1: PyTorch's min_lr (an absolute lr) divided by lr. Default 0. */
  readonly minLrRate?: number | undefined;
  /** A reduction by this much or less is not made: PyTorch's eps (an absolute lr) divided by lr. Default 1e-8. */
  readonly minReduction?: number | undefined;
}

/** The state of `reduceOnPlateau`, with PyTorch's names, except `multiplier`: PyTorch has lr itself. */
export interface PlateauState extends Record<string, number | null> {
  /** The best metric so far. null until a metric is better than the worst, which is an infinity; JSON has none. */
  best: number | null;
  /** The number of bad metrics in a row. */
  num_bad_epochs: number;
  /** The number of metrics that do not count as bad, still to come. */
  cooldown_counter: number;
  /** The number of metrics so far. */
  last_epoch: number;
  /** The current multiplier. */
  multiplier: number;
}

/** Returns the current multiplier at every step. `step(metric)` may reduce it. */
export interface ReduceOnPlateau extends Schedule, ScheduleMemory {
  /**
   * Takes a metric, for example after each epoch, and may reduce the multiplier.
   *
   * @param metric - Compared with the best so far. NaN is never better.
   * @throws TypeError for anything else than a number.
   * @example
   * const schedule = reduceOnPlateau({ patience: 2 });
   * for (const loss of [1, 0.9, 0.9, 0.9, 0.9]) schedule.step(loss);
   * schedule(0); // 0.1
   */
  step(metric: number): void;
  /**
   * Returns a copy of the state.
   *
   * @returns Numbers, for JSON, with PyTorch's names.
   * @example reduceOnPlateau().stateDict().multiplier; // 1
   */
  stateDict(): PlateauState;
}

const better: Readonly<Record<string, (metric: number, best: number, threshold: number) => boolean>> = {
  'min rel': (metric, best, threshold) => metric < best * (1 - threshold),
  'min abs': (metric, best, threshold) => metric < best - threshold,
  'max rel': (metric, best, threshold) => metric > best * (1 + threshold),
  'max abs': (metric, best, threshold) => metric > best + threshold,
};

const counter: Check<unknown> = { wanted: countFrom(0), accepts: (value) => canCount(value), fallback: undefined };

const stateChecks: Readonly<Record<keyof PlateauState & string, Check<unknown>>> = {
  best: {
    wanted: 'a number, or null',
    accepts: (value) => value === null || (typeof value === 'number' && !Number.isNaN(value)),
    fallback: undefined,
  },
  num_bad_epochs: counter,
  cooldown_counter: counter,
  last_epoch: counter,
  multiplier: share(),
};

/**
 * torch's ReduceLROnPlateau: the multiplier starts at 1, and is multiplied by `factor` when more than `patience`
 * metrics in a row are not better than the best so far. It is the only schedule here with state; the optimizer's state
 * dicts save that.
 *
 * @param options - `patience`, default 10 metrics; `factor`, default 0.1; and others, see `ReduceOnPlateauOptions`.
 * @returns The schedule. Pass each metric to its `step`.
 * @throws TypeError for an option that is not as documented, or unknown.
 * @example
 * const schedule = reduceOnPlateau({ patience: 2 });
 * const reduced = await adamw(params, { lr: 0.01, schedule });
 * schedule.step(0.5); // the loss of an epoch
 */
export function reduceOnPlateau(options: ReduceOnPlateauOptions = {}): ReduceOnPlateau {
  const { mode, factor, patience, threshold, thresholdMode, cooldown, minLrRate, minReduction } = read(
    'reduceOnPlateau',
    options,
    arguments.length,
    {
      mode: oneOf(['min', 'max'] as const, 'min'),
      factor: rate(0.1),
      patience: whole(0, 10),
      threshold: notNegative(1e-4),
      thresholdMode: oneOf(['rel', 'abs'] as const, 'rel'),
      cooldown: whole(0, 0),
      minLrRate: share(0),
      minReduction: notNegative(1e-8),
    },
  );
  const isBetter = better[`${mode} ${thresholdMode}`];
  const worst = mode === 'min' ? Infinity : -Infinity;
  const state: PlateauState = { best: null, num_bad_epochs: 0, cooldown_counter: 0, last_epoch: 0, multiplier: 1 };

  function step(metric: number): void {
    expectArguments(arguments.length, 1, 'step');
    expect(typeof metric === 'number', 'the metric', 'a number', metric);
    state.last_epoch += 1;
    const improves = isBetter(metric, state.best ?? worst, threshold);
    if (improves) state.best = metric;
    state.num_bad_epochs = improves ? 0 : state.num_bad_epochs + 1;
    if (state.cooldown_counter > 0) {
      state.cooldown_counter -= 1;
      state.num_bad_epochs = 0;
    }
    if (state.num_bad_epochs <= patience) return;
    const reduced = Math.max(state.multiplier * factor, minLrRate);
    if (state.multiplier - reduced > minReduction) state.multiplier = reduced;
    state.cooldown_counter = cooldown;
    state.num_bad_epochs = 0;
  }

  function stateDict(): PlateauState {
    expectArguments(arguments.length, 0, 'stateDict');
    return { ...state };
  }

  function loadStateDict(dict: unknown): void {
    expectArguments(arguments.length, 1, 'loadStateDict');
    const names = Object.keys(stateChecks);
    expect(isRecord(dict), 'the state of reduceOnPlateau', `a record with ${list(names)}`, dict);
    // Read each once: a getter may return another value the next time.
    const values = names.map((name) => {
      const value: unknown = Object.hasOwn(dict, name) ? dict[name] : undefined;
      const { wanted, accepts } = stateChecks[name];
      expect(accepts(value), `${name} in the state of reduceOnPlateau`, wanted, value);
      return value as number | null;
    });
    for (const [i, name] of names.entries()) state[name] = values[i];
  }

  return Object.assign(
    schedule(() => state.multiplier),
    { step, stateDict, loadStateDict },
  );
}
