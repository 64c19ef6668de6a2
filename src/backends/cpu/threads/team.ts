// The threads of an optimizer that run kernels together with the main one. No two optimizers share them: a thread that
// sleeps collects no garbage, and so would keep the memory of those that are gone.

import { Unavailable } from '../../backend.js';
import type { Call } from '../call.js';
import type { RunKernel } from '../cpu.js';
import { Board } from './board.js';
import { Pace } from './pace.js';
import { startThread, type Thread } from './thread.js';
import type { Message } from './worker.js';

/** Below so many bytes of each array the main thread is done before the others have begun. */
const LEAST_BYTES = 65536;

export class Team {
  readonly #board: Board;
  readonly #threads: readonly Thread[];
  /** All calls, as the main thread makes them. */
  readonly #runs: RunKernel[] = [];
  /** Their indices, by the memory that they run over. */
  readonly #callsOver = new Map<ArrayBufferLike, number[]>();

  /** Starts all threads but the main one, or none. */
  static async start(size: number): Promise<Team> {
    if (typeof SharedArrayBuffer === 'undefined') {
      throw new Unavailable('there is no SharedArrayBuffer, which a page has under cross-origin isolation');
    }
    const started = await Promise.allSettled(Array.from({ length: size - 1 }, startThread));
    const threads = started.flatMap((each) => (each.status === 'fulfilled' ? each.value : []));
    const failed = started.find((each) => each.status === 'rejected');
    if (failed === undefined) return new Team(size, threads);
    for (const thread of threads) thread.end();
    throw new Unavailable(`a thread cannot be started here (${failed.reason})`);
  }

  private constructor(size: number, threads: readonly Thread[]) {
    const board = new SharedArrayBuffer(Board.bytes(size));
    this.#board = new Board(board, size);
    this.#threads = threads;
    for (const [i, thread] of threads.entries()) thread.post({ board, size, thread: i + 1 });
    this.#board.announceMail();
  }

  /** Makes a call known to all threads, and gives the function by which the main thread makes it. */
  share(alone: RunKernel, call: Call, module: WebAssembly.Module, memory: WebAssembly.Memory): RunKernel {
    const index = this.#runs.push(alone) - 1;
    const { buffer } = memory;
    this.#callsOver.set(buffer, [...(this.#callsOver.get(buffer) ?? []), index]);
    this.#post({ index, call, module, memory });
    const board = this.#board;
    const runs = this.#runs;
    const pace = new Pace();
    return (by, start, bytes, grad) => {
      if (bytes < LEAST_BYTES) return alone(by, start, bytes, grad);
      const isShared = pace.prefersShared(bytes);
      const begun = performance.now();
      if (isShared) board.share(runs, index, by, start, bytes, grad);
      else alone(by, start, bytes, grad);
      pace.took(bytes, isShared, performance.now() - begun);
    };
  }

  /** Makes all threads forget the calls over a memory. */
  drop(buffer: ArrayBufferLike): void {
    for (const index of this.#callsOver.get(buffer) ?? []) {
      delete this.#runs[index];
      this.#post({ index });
    }
    this.#callsOver.delete(buffer);
  }

  #post(message: Message): void {
    for (const thread of this.#threads) thread.post(message);
    this.#board.announceMail();
  }

  end(): void {
    for (const thread of this.#threads) thread.end();
    // Not every runtime ends a thread that sleeps.
    this.#board.announceMail();
  }
}
