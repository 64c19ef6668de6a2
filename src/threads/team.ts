// Threads that run kernels together with the main one. Optimizers that want as many of them share a team, and it ends
// with the last of them.

import { Unavailable } from '../backends/backend.js';
import type { Call } from '../backends/call.js';
import type { RunKernel } from '../backends/cpu.js';
import { Board } from './board.js';
import { Pace } from './pace.js';
import { startThread, type Thread } from './thread.js';
import type { Message } from './worker.js';

/** Below so many bytes of each array the main thread is done before the others have begun. */
const LEAST_BYTES = 65536;

export class Team {
  static readonly #teams = new Map<number, Promise<Team>>();

  readonly size: number;
  readonly #board: Board;
  readonly #threads: readonly Thread[];
  /** The calls of all optimizers, as the main thread makes them. */
  readonly #runs: RunKernel[] = [];
  #calls = 0;
  #users = 0;

  /** The team of `size` threads, started if there is none. Leave it by `leave`. */
  static async join(size: number): Promise<Team> {
    const teams = Team.#teams;
    const starting = teams.get(size) ?? Team.#start(size);
    teams.set(size, starting);
    try {
      const team = await starting;
      // It may have ended meanwhile.
      if (teams.get(size) !== starting) return await Team.join(size);
      team.#users += 1;
      return team;
    } catch (error) {
      if (teams.get(size) === starting) teams.delete(size);
      throw error;
    }
  }

  static async #start(size: number): Promise<Team> {
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
    this.size = size;
    this.#board = new Board(board, size);
    this.#threads = threads;
    for (const [i, thread] of threads.entries()) thread.post({ board, size, thread: i + 1 });
    this.#board.announceMail();
  }

  /** Has all threads take part in a call; gives it as the main thread makes it, and its number. */
  share(alone: RunKernel, call: Call, module: WebAssembly.Module, memory: WebAssembly.Memory) {
    const index = this.#calls++;
    this.#runs[index] = alone;
    this.#sendAll({ index, call, module, memory });
    const board = this.#board;
    const runs = this.#runs;
    const pace = new Pace();
    const run: RunKernel = (by, start, bytes, grad) => {
      if (bytes < LEAST_BYTES) return alone(by, start, bytes, grad);
      const isShared = pace.prefersShared(bytes);
      const begun = performance.now();
      if (isShared) board.share(runs, index, by, start, bytes, grad);
      else alone(by, start, bytes, grad);
      pace.took(bytes, isShared, performance.now() - begun);
    };
    return { index, run };
  }

  /** Has calls, and the memory behind them, be forgotten; the last one to leave ends the threads. */
  leave(calls: readonly number[]): void {
    for (const index of calls) delete this.#runs[index];
    this.#users -= 1;
    if (this.#users > 0) return this.#sendAll({ forget: calls });
    Team.#teams.delete(this.size);
    for (const thread of this.#threads) thread.end();
  }

  #sendAll(message: Message): void {
    for (const thread of this.#threads) thread.post(message);
    this.#board.announceMail();
  }
}
