// The interface of what runs kernels on the CPU: WebAssembly, on one or more threads, or the reference.

import type { Rule } from '../../rules/rule.js';
import type { Block } from '../layout.js';

/**
 * Runs a kernel on `bytes` bytes of each array of a section, from byte `start` of the array. `scalars` and `grad` are
 * addresses.
 */
export type RunKernel = (scalars: number, start: number, bytes: number, grad: number) => void;

/**
 * Returns the sum of squares of `bytes` bytes at the address `grad`, each element clamped to +-limit, in f64. If
 * `isStrict`, it is NaN if an element is infinite or NaN. `bytes` is a multiple of 32, with zeros after the last element.
 */
export type Squares = (grad: number, bytes: number, limit: number, isStrict: boolean) => number;

/** A buffer, and the kernels that run on it. */
export interface Opened {
  readonly buffer: ArrayBufferLike;
  /** Returns the kernel of a rule for a section's block of the buffer. */
  kernel(rule: Rule, block: Block): RunKernel;
  /** Returns the sum of squares over the buffer. It runs on the calling thread alone. */
  squares(): Squares;
}

export interface Machine {
  readonly threads: number;
  /** A sentence to add to the reason for the choice of the backend, if any. */
  readonly remark?: string;
  /** Loads the kernels of rules. */
  load?(rules: readonly Rule[]): Promise<void> | void;
  /** Allocates a zeroed buffer of at least `bytes`. Throws Unavailable if it cannot. */
  open(bytes: number): Opened;
  /** Removes the kernels on a buffer, so that it can be freed. */
  drop?(buffer: ArrayBufferLike): void;
  /** Ends the threads. */
  close?(): void;
}
