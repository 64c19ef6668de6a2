// What a contender of the bench is: a step over one tensor of n parameters, whoever computes it.

import type { OptimizerName } from './truth.js';

/** What a contender starts from. The arrays are its own from then on. */
export interface Model {
  readonly length: number;
  /** Writes the parameters, or a part of them from an index on, and gives the array back. */
  param(into: Float32Array, from?: number): Float32Array;
  /** The same for gradients. */
  grad(into: Float32Array, from?: number): Float32Array;
}

/** A contender over a model, ready to step. */
export interface Opened {
  /** Takes a step; what it returns, where that is a promise, is waited for. */
  step(): unknown;
  /** How many steps a call of `step` takes, if not one. */
  readonly steps?: number;
  /** The parameters as they are now; a probe has none. */
  read?(): ArrayLike<number> | Promise<ArrayLike<number>>;
  /** The most bytes that it had at once, where that is not the memory of the process. */
  peak?(): number;
  close(): void;
}

/** The largest size that is worth waiting for. */
export interface Most {
  readonly size: number;
  /** Why, to follow "since". */
  readonly because: string;
}

export interface System {
  /** What it calls itself: a version, or an adapter. */
  readonly version: string;
  /** Where this machine allows less than the contender's row. */
  readonly most?: Most;
  /** Over how many parameters its memory is measured, if it need not be many. */
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
  /** How to get it, where it is not there. */
  readonly install?: string;
  /** Its library, or the arguments of a Python that has it. Throws a sentence where it cannot be had. */
  readonly system: (() => Promise<System>) | readonly string[];
}

/** A step moves each of its arrays in and all but the gradient out again. */
export const bytesMoved = (slots: number): number => 4 * (slots + 2 + (slots + 1));
