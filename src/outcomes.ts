// Asking a machine to do something, and what it tells only later: whether it was done.

import type { Backend } from './backends/backend.js';

/**
 * Has a backend do something: wholly, as far as it can tell by now, or not at all. What it is about is handed to `work`,
 * since a function that held on to it would be one more object of each step.
 */
export function perform<Task>(
  backend: Backend,
  encoder: GPUCommandEncoder | undefined,
  task: Task,
  work: (backend: Backend, task: Task) => void,
): ReturnType<Backend['end']> {
  backend.begin(encoder);
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
  /** Kept once it is certain what of all so far was done. */
  #settled: Promise<unknown> | undefined;
  /** What was not done, and whether a caller has heard of it. */
  #failures: Error[] = [];
  #heard = 0;
  #isDisposed = false;
  /** How often all was replaced: what comes to light of before counts no more. */
  #replaced = 0;

  /** Has `undo` take back what turns out not to have been done, and the next call throw why. */
  watch(outcome: Promise<Error | undefined> | undefined, undo: () => void): void {
    if (outcome === undefined) return;
    const replaced = this.#replaced;
    const settled = outcome.then((error) => {
      if (error === undefined || replaced !== this.#replaced) return;
      undo();
      this.#failures.push(error);
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

  /** What was read, once it is certain that all before it was done; else why not, whoever has heard of it already. */
  async settle<Read>(read: Promise<Read>): Promise<Read> {
    const before = this.#failures.length;
    const [values] = await Promise.all([read, this.#settled]);
    this.check();
    if (this.#failures.length > before) throw this.#failures[before];
    return values;
  }

  /** Throws what has come to light, once; and whenever the optimizer has been disposed of. */
  check(): void {
    if (this.#isDisposed) throw new Error('This optimizer has been disposed of.');
    if (this.#failures.length === this.#heard) return;
    const failure = this.#failures[this.#heard];
    this.#heard = this.#failures.length;
    throw failure;
  }

  dispose(): void {
    this.#isDisposed = true;
  }

  /** Whatever was not done before is of no matter any more. */
  replace(): void {
    this.#replaced += 1;
  }
}
