// Errors that a device reports late. The first one is final: every later call throws it, until the state is replaced.

import type { Backend, Outcome } from '../backends/backend.js';

/** Whether an optimizer can be used. */
export class Failure {
  /** Undefined after `dispose`, so that its memory can be freed. */
  #backend: Backend | undefined;
  /** Resolves once the outcome of everything so far is known. */
  #settled: Promise<unknown> | undefined;
  #error: Error | undefined;
  /** How often the state was replaced as a whole: errors of work from before are ignored. */
  #replaced = 0;

  constructor(backend: Backend) {
    this.#backend = backend;
  }

  /** Whether every call throws until the state is replaced. */
  get isFinal(): boolean {
    return this.#error !== undefined;
  }

  /** Keeps the error of this work, if it is the first. */
  watch(outcome: Outcome): void {
    if (outcome === undefined) return;
    const replaced = this.#replaced;
    const settled = outcome.then((error) => {
      // `checkAlive` throws the loss of the device.
      if (error !== undefined && replaced === this.#replaced && this.#backend?.lost === undefined) this.set(error);
    });
    this.#settled = Promise.all([this.#settled, settled]).then(() => undefined);
  }

  /** Keeps an error, if it is the first: every later call throws it. */
  set(error: Error): void {
    const message = `${error.message.replace(/\.$/, '')}. Load a state dict to go on.`;
    this.#error ??= new Error(message, { cause: error });
  }

  /** Resolves once everything so far is known to be done; rejects with the error if not. */
  async settled(): Promise<void> {
    await this.#settled;
    this.check();
  }

  /** Calls `work` while nothing is in flight, at once if nothing is. Rejects if something before fails. */
  async onceSettled<Result>(work: () => Result): Promise<Result> {
    // More may come while it waits.
    for (let settled: Promise<unknown> | undefined; settled !== this.#settled;) await (settled = this.#settled);
    this.check();
    return work();
  }

  /** Resolves to the values once everything before is known to be done; rejects if not. */
  async settle<Read>(read: Promise<Read>): Promise<Read> {
    const [values] = await Promise.all([read, this.#settled]);
    this.check();
    return values;
  }

  /** Throws if the optimizer has been disposed of, or its device is lost. */
  checkAlive(): void {
    this.#checkThere();
    if (this.#backend!.lost !== undefined) throw new Error(this.#backend!.lost);
  }

  /** Throws if the optimizer cannot be used. */
  check(): void {
    this.checkAlive();
    this.checkCounts();
  }

  /** The same, except for a lost device: counters, and where memory was, can still be read. */
  checkCounts(): void {
    this.#checkThere();
    if (this.#error !== undefined) throw this.#error;
  }

  #checkThere(): void {
    if (this.#backend === undefined) throw new Error('This optimizer has been disposed of.');
  }

  dispose(): void {
    this.#backend = undefined;
  }

  /** Forgets the error: the state was replaced. */
  clear(): void {
    this.#replaced += 1;
    this.#error = undefined;
  }
}
