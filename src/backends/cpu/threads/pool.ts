// The threads of an optimizer, which run kernels together with the main thread. Each optimizer has its own: a thread
// that sleeps collects no garbage, so it would keep the memory of optimizers that were disposed of.

import { Unavailable } from '../../backend.js';
import type { Call } from '../call.js';
import type { RunKernel } from '../machine.js';
import { Jobs } from './jobs.js';
import { Pace } from './pace.js';
import { startThread, type Thread } from './thread.js';
import type { Message } from './worker.js';

/** The fewest bytes per array to share: for less, the main thread is done before others start. */
const LEAST_BYTES = 65536;

export class ThreadPool {
  readonly #jobs: Jobs;
  readonly #threads: readonly Thread[];
  /** All calls on the main thread. */
  readonly #runs: RunKernel[] = [];
  /** The indices of calls, by the memory that they run on. */
  readonly #callsOver = new Map<ArrayBufferLike, number[]>();

  /** Starts all threads except the main one. If one of them fails, ends the others and throws Unavailable. */
  static async start(size: number): Promise<ThreadPool> {
    if (typeof SharedArrayBuffer === 'undefined') {
      throw new Unavailable('there is no SharedArrayBuffer (a page needs cross-origin isolation)');
    }
    const started = await Promise.allSettled(Array.from({ length: size - 1 }, startThread));
    const threads = started.flatMap((each) => (each.status === 'fulfilled' ? each.value : []));
    const failed = started.find((each) => each.status === 'rejected');
    if (failed === undefined) return new ThreadPool(size, threads);
    for (const thread of threads) thread.end();
    throw new Unavailable(`a thread cannot be started here (${failed.reason})`);
  }

  private constructor(size: number, threads: readonly Thread[]) {
    const jobs = new SharedArrayBuffer(Jobs.bytes(size));
    this.#jobs = new Jobs(jobs, size);
    this.#threads = threads;
    for (const [i, thread] of threads.entries()) thread.post({ jobs, size, thread: i + 1 });
    this.#jobs.notifyMessage();
  }

  /**
   * Sends a call to all threads. Returns the function that runs it on the main thread and shares it if that is faster.
   */
  share(alone: RunKernel, call: Call, module: WebAssembly.Module, memory: WebAssembly.Memory): RunKernel {
    const index = this.#runs.push(alone) - 1;
    const { buffer } = memory;
    this.#callsOver.set(buffer, [...(this.#callsOver.get(buffer) ?? []), index]);
    this.#post({ index, call, module, memory });
    const jobs = this.#jobs;
    const runs = this.#runs;
    const pace = new Pace();
    return (scalars, start, bytes, grad) => {
      if (bytes < LEAST_BYTES) return alone(scalars, start, bytes, grad);
      const isShared = pace.prefersShared(bytes);
      const begun = performance.now();
      if (isShared) jobs.run(runs, index, scalars, start, bytes, grad);
      else alone(scalars, start, bytes, grad);
      pace.record(bytes, isShared, performance.now() - begun);
    };
  }

  /** Removes the calls on a memory, on all threads. */
  drop(buffer: ArrayBufferLike): void {
    for (const index of this.#callsOver.get(buffer) ?? []) {
      delete this.#runs[index];
      this.#post({ index });
    }
    this.#callsOver.delete(buffer);
  }

  #post(message: Message): void {
    for (const thread of this.#threads) thread.post(message);
    this.#jobs.notifyMessage();
  }

  end(): void {
    for (const thread of this.#threads) thread.end();
    // Some runtimes do not end a thread that sleeps.
    this.#jobs.notifyMessage();
  }
}
