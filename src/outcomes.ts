// Asking a machine to do something, and what it tells only later: whether it was done.

import type { Backend } from './backends/backend.js';

/**
 * Calls `work` between the backend's `begin` and `end`; if it throws, cancels and rethrows. `task` is handed on, since
 * a closure over it would be one more object per step. `what` is what a device that refuses it late is said to refuse.
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

/** What was asked for, and whether anything is to be asked for at all. */
export class Outcomes {
  /** Undefined once it has been disposed of, so that its memory is let go of. */
  #backend: Backend | undefined;
  /** Resolves once the outcome of everything so far is known. */
  #settled: Promise<unknown> | undefined;
  /** Errors that came late, and how many of them `check` need not throw any more. */
  #failures: Error[] = [];
  #heard = 0;
  /** Why the state is neither what it was nor what it was to be. */
  #broken: Error | undefined;
  /** How often the state was replaced as a whole: failures from before are ignored. */
  #replaced = 0;

  constructor(backend: Backend) {
    this.#backend = backend;
  }

  /** If it turns out not to have been done, calls `undo`, and the next `check` throws why. */
  watch(outcome: Promise<Error | undefined> | undefined, undo: (error: Error) => void): void {
    if (outcome === undefined) return;
    const replaced = this.#replaced;
    const settled = outcome.then((error) => {
      if (error === undefined || replaced !== this.#replaced) return;
      undo(error);
      // The loss of the device is thrown as such.
      if (this.#backend?.lost === undefined) this.#failures.push(error);
    });
    this.#settled = Promise.all([this.#settled, settled]).then(() => undefined);
  }

  /** Does something once it is certain which of all so far was done. */
  afterwards(work: () => void): void {
    const replaced = this.#replaced;
    void this.#settled?.then(() => {
      if (replaced === this.#replaced) work();
    });
  }

  /** Resolves once all so far is known to be done; else throws why not. */
  async settled(): Promise<void> {
    await this.#settled;
    this.check();
  }

  /** The values read, once all before is known to be done; else throws why not, even if `check` threw it already. */
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

  /** Throws what has come to light, once, and whenever the optimizer cannot be used. */
  check(): void {
    this.checkAlive();
    this.checkCounts();
  }

  /** The same, but for a lost device: what is counted, and where memory was, can still be told. */
  checkCounts(): void {
    if (this.#backend === undefined) throw new Error('This optimizer has been disposed of.');
    if (this.#broken !== undefined) throw this.#broken;
    if (this.#failures.length === this.#heard) return;
    const failure = this.#failures[this.#heard];
    this.#heard = this.#failures.length;
    throw failure;
  }

  dispose(): void {
    this.#backend = undefined;
  }

  /** Makes every `check` throw, until the state is replaced. */
  break(error: Error): void {
    this.#broken = error;
  }

  /** Ignores what was not done before: the state is replaced. */
  replace(): void {
    this.#replaced += 1;
    this.#heard = this.#failures.length;
    this.#broken = undefined;
  }
}
