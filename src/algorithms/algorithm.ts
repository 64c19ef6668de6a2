// What an algorithm is made of, and what all algorithms share.

import type { Rule } from '../rules/rule.js';

/** Options that every algorithm has. Names and defaults are PyTorch's unless said otherwise. */
export interface CommonOptions {
  /** The learning rate, at least 0. */
  lr: number;
  /** The strength of weight decay, at least 0. */
  weightDecay: number;
  /** Step up the gradient instead of down. Default false. */
  maximize: boolean;
  /**
   * Every gradient is multiplied by it first, at no cost: 1/scale undoes a loss scale, min(1, max/norm) clips.
   * Default 1. (torch's fused optimizers take the inverse, and divide.)
   */
  gradScale: number;
  /** The multiplier of lr, at least 0, as a function of the steps that a tensor has completed. Default: always 1. */
  schedule: ((completedSteps: number) => number) | undefined;
  /**
   * Which tensors decay: a predicate on the name, or a boolean for every name. Fixed at creation. Default: all.
   */
  decayMask: ((name: string) => boolean) | Readonly<Record<string, boolean>> | undefined;
}

/** How far a tensor has come. */
export interface Progress {
  /** The number of this step, from 1. */
  readonly step: number;
  /** The multiplier of lr that the schedule gives for it. */
  readonly eta: number;
  /** Whether the decay mask lets weight decay act. */
  readonly decays: boolean;
}

/** An optimizer: defaults, the rule that they choose, and the arithmetic that happens once a step. */
export interface Algorithm<Options extends object> {
  readonly name: string;
  readonly defaults: Readonly<Options>;
  /** Options that choose the rule or the memory, and so are fixed once the optimizer is made. */
  readonly fixed: readonly (keyof Options & string)[];
  /** What tells its state dicts from those of its relatives, in PyTorch's words. */
  readonly identity: Readonly<Record<string, boolean>>;
  rule(options: Readonly<Options>): Rule;
  /** Sets every scalar of the rule in `by`, in f64; each is rounded to f32 once, afterwards. */
  prepare(by: Record<string, number>, options: Readonly<Options>, at: Progress): void;
}

/**
 * The weight with which `lerp` makes an exponential average of decay rate `beta`: 1 - beta from the old value, or where
 * that is most of the way, -beta from the new one. Either is taken in f64.
 */
export const averageWeight = (beta: number): number => (beta < 0.5 ? -beta : 1 - beta);

/**
 * base**exponent for a whole exponent, by squaring. Math.pow's last bit is each engine's choice, a product's is not:
 * this is what keeps the scalars, and so the parameters, the same bits everywhere. Relative error below
 * exponent * 2^-53.
 */
export function power(base: number, exponent: number): number {
  let result = 1;
  for (let square = base, rest = exponent; rest > 0; rest = Math.floor(rest / 2), square *= square) {
    if (rest % 2 === 1) result *= square;
  }
  return result;
}
