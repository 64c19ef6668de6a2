// Runs work on a backend; tracks errors that the GPU reports later.

import type { Backend } from './backend.js';

/**
 * Calls `work` between the backend's `begin` and `end`; if it throws, cancels and rethrows. `task` is an
 * argument, since a closure would be one more object per step. `what` names the work in the error of a late refusal.
 */
export function perform<Task>(
  backend: Backend,
  encoder: GPUCommandEncoder | undefined,
  task: Task,
  work: (backend: Backend, task: Task) => void,
  what = 'a step, and nothing of it was done',
): ReturnType<Backend['end']> {
  backend.begin(encoder, what);
  try {
    work(backend, task);
    return backend.end();
  } catch (error) {
    backend.cancel();
    throw error;
  }
}

/** Work whose outcome is not known yet, errors that came late, and whether the optimizer can be used. */
export class Outcomes {
  /** Undefined after `dispose`, so that its memory can be freed. */
  #backend: Backend | undefined;
  /** Resolves once the outcome of everything so far is known. */
  #settled: Promise<unknown> | undefined;
  /** Errors that came late, and how many of them `check` does not throw again. */
  #failures: Error[] = [];
  #heard = 0;
  /** Set if only a part of a state dict was written. */
  #broken: Error | undefined;
  /** How often the state was replaced as a whole: failures from before are ignored. */
  #replaced = 0;

  constructor(backend: Backend) {
    this.#backend = backend;
  }

  /** If the work fails, calls `undo`, and the next `check` throws the error. */
  watch(outcome: Promise<Error | undefined> | undefined, undo: (error: Error) => void): void {
    if (outcome === undefined) return;
    const replaced = this.#replaced;
    const settled = outcome.then((error) => {
      if (error === undefined || replaced !== this.#replaced) return;
      undo(error);
      // `checkAlive` throws the loss of the device.
      if (this.#backend?.lost === undefined) this.#failures.push(error);
    });
    this.#settled = Promise.all([this.#settled, settled]).then(() => undefined);
  }

  /** Calls `work` once the outcome of everything so far is known. */
  afterwards(work: () => void): void {
    const replaced = this.#replaced;
    void this.#settled?.then(() => {
      if (replaced === this.#replaced) work();
    });
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

  /** Resolves to the values once everything before is known to be done; rejects if not, even if `check` threw that. */
  async settle<Read>(read: Promise<Read>): Promise<Read> {
    const before = this.#failures.length;
    const [values] = await Promise.all([read, this.#settled]);
    this.check();
    if (this.#failures.length > before) throw this.#failures[before];
    return values;
  }

  /** Throws if the optimizer has been disposed of, or its device is lost. */
  checkAlive(): void {
    if (this.#backend === undefined) throw new Error('This optimizer has been disposed of.');
    if (this.#backend.lost !== undefined) throw new Error(this.#backend.lost);
  }

  /** Throws a late error, once. Throws at every call if the optimizer cannot be used. */
  check(): void {
    this.checkAlive();
    this.checkCounts();
  }

  /** The same, except for a lost device: counters, and where memory was, can still be read. */
  checkCounts(): void {
    if (this.#backend === undefined) throw new Error('This optimizer has been disposed of.');
    if (this.#broken !== undefined) throw this.#broken;
    if (this.#failures.length > this.#heard) throw this.#hear();
  }

  #hear(): Error {
    const failure = this.#failures[this.#heard];
    this.#heard = this.#failures.length;
    return failure;
  }

  dispose(): void {
    this.#backend = undefined;
  }

  /** Makes every `check` throw, until the state is replaced. */
  break(error: Error): void {
    this.#broken = error;
  }

  /** Ignores failures of earlier steps: the state was replaced. */
  replace(): void {
    this.#replaced += 1;
    this.#heard = this.#failures.length;
    this.#broken = undefined;
  }
}
