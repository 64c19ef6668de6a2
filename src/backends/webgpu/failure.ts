// Keeps the first error that the device reports late. Every later call throws it, until the state is replaced.

import { reasonOf } from '../backend.js';
import type { Kernels } from './kernels.js';

export class Failure {
  readonly #kernels: Kernels;
  /** Resolves when the outcome of all work so far is known. */
  #settled: Promise<unknown> | undefined;
  #error: Error | undefined;
  /** Incremented when the state is replaced. Errors of earlier work are ignored. */
  #replaced = 0;

  constructor(kernels: Kernels) {
    this.#kernels = kernels;
  }

  /** The error that every call throws until the state is replaced. */
  get error(): Error | undefined {
    return this.#error;
  }

  /** Keeps the error that `outcome` resolves to, if it is the first. */
  watch(outcome: Promise<Error | undefined>): void {
    const replaced = this.#replaced;
    const settled = outcome.then((error) => {
      // The loss of the device is reported separately.
      if (error !== undefined && replaced === this.#replaced && this.#kernels.lost === undefined) this.set(error);
    });
    this.#settled = Promise.all([this.#settled, settled]).then(() => undefined);
  }

  /** Keeps an error, if it is the first. */
  set(error: Error): void {
    const message = `${reasonOf(error)}. Load a state dict to go on.`;
    this.#error ??= new Error(message, { cause: error });
  }

  /** Resolves when the device has accepted all work so far. Rejects with the error, if any. */
  async settled(): Promise<void> {
    await this.#settled;
    if (this.#error !== undefined) throw this.#error;
  }

  /** Clears the error, and ignores later reports about earlier work: the state was replaced. */
  clear(): void {
    this.#replaced += 1;
    this.#error = undefined;
  }
}
