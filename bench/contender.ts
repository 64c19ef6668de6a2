// The interface of a contender of the bench: a step over one tensor of n parameters.

import type { OptimizerName } from './truth.js';

/** The initial values of a contender, which then owns the arrays. */
export interface Model {
  readonly length: number;
  /** Writes the parameters, or a part of them from an index on, and returns the array. */
  param(into: Float32Array, from?: number): Float32Array;
  /** The same for gradients. */
  grad(into: Float32Array, from?: number): Float32Array;
}

/** A contender over a model, ready to step. */
export interface Opened {
  /** Takes a step. If it returns a promise, the bench awaits it. */
  step(): unknown;
  /** How many steps one call of `step` takes. Default 1. */
  readonly steps?: number;
  /** The parameters as they are now; a probe has none. */
  read?(): ArrayLike<number> | Promise<ArrayLike<number>>;
  /** Peak bytes, if these are not the memory of the process. */
  peak?(): number;
  close(): void;
}

/** The largest size to measure. */
export interface Most {
  readonly size: number;
  /** Why, to follow "since". */
  readonly because: string;
}

export interface System {
  /** A version, or the name of an adapter. */
  readonly version: string;
  /** If this machine allows less than the contender's own `most`. */
  readonly most?: Most;
  /** Over how many parameters to measure its memory, if few are enough. */
  readonly memoryLength?: number;
  open(model: Model): Opened | Promise<Opened>;
}

export interface Contender {
  readonly name: string;
  /** Whose update it computes; contenders of one optimizer are measured in the same rounds. A probe computes none. */
  readonly optimizer: OptimizerName | 'probe';
  /** By label, the contenders of which the slowest is what this one could reach. */
  readonly limits: Readonly<Record<string, readonly string[]>>;
  readonly most?: Most;
  /** How to install it, if it is missing. */
  readonly install?: string;
  /** Its library, or the arguments of a Python that has it. Throws a sentence if it is not available. */
  readonly system: (() => Promise<System>) | readonly string[];
}

/** A step moves each of its arrays in and all but the gradient out again. */
export const bytesMoved = (slots: number): number => 4 * (slots + 2 + (slots + 1));
