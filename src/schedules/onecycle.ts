// The one-cycle policy (arXiv 1708.07120): lr rises to its maximum, then falls far below its start. Momentum falls
// while lr rises, and rises while lr falls.

import { expect, expectArguments } from '../errors.js';
import { flag, oneOf, positive, rate, read, share, whole } from './checks.js';
import { cosineFall } from '../math/cospi.js';
import type { Schedule } from '../algorithms/schedule.js';
import { between, schedule } from './schedule.js';

/** The options of `oneCycle`. */
export interface OneCycleOptions {
  /** The number of steps of the cycle, at least 1. */
  readonly totalSteps: number;
  /** The share of the steps in which lr rises, from 0 to 1. Default 0.3. */
  readonly pctStart?: number | undefined;
  /** The interpolation between the start, the maximum and the end. Default 'cos'. */
  readonly annealStrategy?: 'cos' | 'linear' | undefined;
  /** The multiplier starts at 1/divFactor. Default 25. */
  readonly divFactor?: number | undefined;
  /** The multiplier ends at 1/(divFactor*finalDivFactor). Default 1e4. */
  readonly finalDivFactor?: number | undefined;
  /** true: the multiplier falls to its start, then to its end. false: directly to its end. Default false. */
  readonly threePhase?: boolean | undefined;
  /** The momentum when lr is at its maximum, at least 0 and less than 1. Default 0.85. */
  readonly baseMomentum?: number | undefined;
  /** The momentum at both ends, at least 0 and less than 1. Default 0.95. */
  readonly maxMomentum?: number | undefined;
}

/** The multiplier of lr, with its momentum. */
export interface OneCycle extends Schedule {
  /** The momentum, beta1, as a function of completed steps. */
  readonly momentum: Schedule;
  /**
   * Returns the option `betas` of `adam`, `adamw` and `radam`: the momentum, and a constant beta2.
   *
   * @param beta2 - The decay rate of the second moment, at least 0 and less than 1.
   * @returns A function from completed steps to both.
   * @throws TypeError for another beta2.
   * @example
   * const schedule = oneCycle({ totalSteps: 1000 });
   * const cycled = await adamw(params, { lr: 0.01, schedule, betas: schedule.betas(0.999) });
   */
  betas(beta2: number): (completedSteps: number) => [number, number];
}

/**
 * torch's OneCycleLR. The option lr is the maximum: the multiplier is 1 at step pctStart*totalSteps - 1. After the last
 * step it keeps its last value (torch throws). To cycle the momentum (torch's cycle_momentum), pass `betas` to the
 * optimizer.
 *
 * @param options - `totalSteps`, and the shape of the cycle; see `OneCycleOptions`.
 * @returns The schedule of lr, with that of the momentum as `momentum`, and as `betas` for an optimizer.
 * @throws TypeError for an option that is not as documented, or unknown.
 * @example
 * const schedule = oneCycle({ totalSteps: 1000, pctStart: 0.3 });
 * const cycled = await adamw(params, { lr: 0.01, schedule, betas: schedule.betas(0.999) });
 */
export function oneCycle(options: OneCycleOptions): OneCycle {
  const { totalSteps, pctStart, annealStrategy, divFactor, finalDivFactor, threePhase, baseMomentum, maxMomentum } =
    read('oneCycle', options, arguments.length, {
      totalSteps: whole(1),
      pctStart: share(0.3),
      annealStrategy: oneOf(['cos', 'linear'] as const, 'cos'),
      divFactor: positive(25),
      finalDivFactor: positive(1e4),
      threePhase: flag(false),
      baseMomentum: rate(0.85),
      maxMomentum: rate(0.95),
    });
  const [peak, last] = [pctStart * totalSteps - 1, totalSteps - 1];
  const initial = 1 / divFactor;
  // The last step of each phase, and the multiplier at its ends. With pctStart < 1/totalSteps the peak is before step
  // 0, as in torch.
  const ends = threePhase ? [peak, 2 * peak, last] : [peak, last];
  const levels = [initial, 1, ...(threePhase ? [initial] : []), initial / finalDivFactor];
  const momenta = [maxMomentum, baseMomentum, maxMomentum, maxMomentum];
  const anneal = annealStrategy === 'linear' ? between : cosine;

  const along = (values: readonly number[]): Schedule =>
    schedule((completed) => {
      const t = Math.min(completed, last);
      let phase = 0;
      while (t > ends[phase]) phase += 1;
      const start = phase === 0 ? 0 : ends[phase - 1];
      // A phase of 0 steps is at its end.
      const part = ends[phase] > start ? (t - start) / (ends[phase] - start) : 1;
      return anneal(values[phase], values[phase + 1], part);
    });
  const momentum = along(momenta);
  function betas(beta2: number): ReturnType<OneCycle['betas']> {
    expectArguments(arguments.length, 1, 'betas');
    const { wanted, accepts } = rate();
    expect(accepts(beta2), 'beta2', wanted, beta2);
    return (completedSteps) => [momentum(completedSteps), beta2];
  }
  return Object.assign(along(levels), { momentum, betas });
}

const cosine = (from: number, to: number, part: number): number => between(to, from, cosineFall(part));
