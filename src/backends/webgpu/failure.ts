// Errors that the device reports late. The first one is final: every later call throws it, until the state is replaced.

import type { Kernels } from './kernels.js';

export class Failure {
  readonly #kernels: Kernels;
  /** Resolves once the outcome of everything so far is known. */
  #settled: Promise<unknown> | undefined;
  #error: Error | undefined;
  /** How often the state was replaced as a whole: errors of work from before are ignored. */
  #replaced = 0;

  constructor(kernels: Kernels) {
    this.#kernels = kernels;
  }

  /** The error that every call throws until the state is replaced. */
  get error(): Error | undefined {
    return this.#error;
  }

  /** Keeps the error that work turns out to have, if it is the first. */
  watch(outcome: Promise<Error | undefined>): void {
    const replaced = this.#replaced;
    const settled = outcome.then((error) => {
      // The loss of the device is an error of its own.
      if (error !== undefined && replaced === this.#replaced && this.#kernels.lost === undefined) this.set(error);
    });
    this.#settled = Promise.all([this.#settled, settled]).then(() => undefined);
  }

  /** Keeps an error, if it is the first. */
  set(error: Error): void {
    const message = `${error.message.replace(/\.$/, '')}. Load a state dict to go on.`;
    this.#error ??= new Error(message, { cause: error });
  }

  /** Resolves once the outcome of everything so far is known; rejects with the error, if there is one. */
  async settled(): Promise<void> {
    await this.#settled;
    if (this.#error !== undefined) throw this.#error;
  }

  /** Forgets the error, and ignores those of earlier work: the state was replaced. */
  clear(): void {
    this.#replaced += 1;
    this.#error = undefined;
  }
}
