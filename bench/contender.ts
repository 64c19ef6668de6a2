// The interface of a contender: it takes steps over one tensor of n parameters.

import type { OptimizerName } from './truth.js';

/** The initial values of a contender, which then owns the arrays. */
export interface Model {
  readonly length: number;
  /** Fills the array with parameters, starting at index `from` of the tensor, and returns it. */
  param(into: Float32Array, from?: number): Float32Array;
  /** Does the same with gradients. */
  grad(into: Float32Array, from?: number): Float32Array;
}

/** A contender over a model, ready to step. */
export interface Opened {
  /** Takes a step. If it returns a promise, the bench awaits it. */
  step(): unknown;
  /** How many steps one call of `step` takes. Default 1. */
  readonly steps?: number;
  /** Returns the current parameters. A probe has none. */
  read?(): ArrayLike<number> | Promise<ArrayLike<number>>;
  /** Returns peak bytes. If absent, the bench measures the memory of the process. */
  peak?(): number;
  close(): void;
}

/** The largest size to measure. */
export interface SizeLimit {
  readonly size: number;
  /** The reason, worded to follow "because". */
  readonly because: string;
}

export interface System {
  /** A version, or the name of an adapter. */
  readonly version: string;
  /** Set if this machine allows less than the contender's own `sizeLimit`. */
  readonly sizeLimit?: SizeLimit;
  /** Number of parameters to measure memory with, if fewer than usual are enough. */
  readonly memoryLength?: number;
  open(model: Model): Opened | Promise<Opened>;
}

export interface Contender {
  readonly name: string;
  /** Contenders of one optimizer compute the same update and are measured in the same rounds. A probe computes none. */
  readonly optimizer: OptimizerName | 'probe';
  /** By label, lists of contenders. The slowest of a list is the limit of this contender's speed. */
  readonly limits: Readonly<Record<string, readonly string[]>>;
  /** Whether it clips gradients by their norm. */
  readonly isClipped?: boolean;
  readonly sizeLimit?: SizeLimit;
  /** What to install if it is missing. */
  readonly install?: string;
  /** Loads it (throws a sentence if it is not available), or the arguments of bench/peers/pytorch.py. */
  readonly system: (() => Promise<System>) | readonly string[];
}

/** Bytes of memory traffic per parameter: a step reads each array, and writes all except the gradient. */
export const bytesMoved = (slots: number): number => 4 * (slots + 2 + (slots + 1));
