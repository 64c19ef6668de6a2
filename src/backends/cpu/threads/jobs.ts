// How the threads of a pool share jobs: by a few numbers in shared memory. The main thread starts a job, all threads
// run pieces of it until none is left, and the main thread waits for threads that are still running one. So it never
// waits for a thread to wake, and a thread that wakes late or never does not delay it.

import type { RunKernel } from '../machine.js';

// Indices of the numbers.
const EPOCH = 0; // incremented for each job and message; threads sleep on it
const OPEN = 1; // the epoch of the current job, or 0
const ACTIVE = 2; // the number of threads that may be running a piece
const ASLEEP = 3; // the number of threads that sleep
const MESSAGES = 4; // the number of messages sent to each thread
const JOB = 5; // the index and the arguments of the call, then the bytes of a piece
const NEXT = 16; // for each range its next piece; each number has a cache line of its own
const LINE = 16;

/**
 * Milliseconds that an idle thread spins before it sleeps. The main thread spins for less: the thread that it waits for
 * may need its core.
 */
const SPIN = 0.05;
const MAIN_SPIN = 0.005;
/** The smallest piece, in bytes of each array: taking one costs about 20 ns, running it about 500. */
const MIN_PIECE = 4096;

/** Whether this thread may sleep: the main thread of a page must not. */
const canSleep = ((): boolean => {
  try {
    return Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 1) === 'not-equal';
  } catch {
    return false;
  }
})();

const pause = (Atomics as { pause?: () => void }).pause ?? (() => {});

export class Jobs {
  readonly #words: Int32Array<SharedArrayBuffer>;
  readonly #size: number;

  /** For a pool of `size` threads, including the main thread. */
  constructor(memory: SharedArrayBuffer, size: number) {
    this.#words = new Int32Array(memory);
    this.#size = size;
  }

  /** Returns the bytes of memory for `size` threads. */
  static bytes(size: number): number {
    return Int32Array.BYTES_PER_ELEMENT * (NEXT + size * LINE);
  }

  /** Runs `runs[call]` over all bytes, on the main thread and on the other threads that wake in time. */
  run(runs: readonly RunKernel[], call: number, scalars: number, start: number, bytes: number, grad: number): void {
    const words = this.#words;
    const size = this.#size;
    words[JOB] = call;
    words[JOB + 1] = scalars;
    words[JOB + 2] = start;
    words[JOB + 3] = bytes;
    words[JOB + 4] = grad;
    // Large pieces, for the prefetcher, but enough of them that the wait for the last is short.
    words[JOB + 5] = Math.max(MIN_PIECE, MIN_PIECE * Math.floor(bytes / (MIN_PIECE * size * 16)));
    for (let range = 0; range < size; range++) Atomics.store(words, NEXT + range * LINE, 0);
    const epoch = nextEpoch(words[EPOCH]);
    Atomics.store(words, OPEN, epoch);
    this.#advance(epoch);
    try {
      this.#runPieces(0, runs);
    } finally {
      Atomics.store(words, OPEN, 0);
      for (let active; (active = Atomics.load(words, ACTIVE)) > 0;) {
        if (!this.#spin(ACTIVE, active, MAIN_SPIN) && canSleep) Atomics.wait(words, ACTIVE, active, 1);
      }
    }
  }

  /** Makes the other threads receive a message. */
  notifyMessage(): void {
    Atomics.add(this.#words, MESSAGES, 1);
    this.#advance(nextEpoch(this.#words[EPOCH]));
  }

  /** Runs pieces of jobs until there are more than `read` messages. */
  runUntilMessage(thread: number, runs: readonly RunKernel[], read: number): void {
    const words = this.#words;
    // A message may be received before it is counted.
    const isAllRead = (): boolean => Atomics.load(words, MESSAGES) <= read;
    for (let seen = Atomics.load(words, EPOCH); isAllRead(); seen = Atomics.load(words, EPOCH)) {
      Atomics.add(words, ACTIVE, 1);
      if (isAllRead() && Atomics.load(words, OPEN) === seen) this.#runPieces(thread, runs);
      if (Atomics.sub(words, ACTIVE, 1) === 1) Atomics.notify(words, ACTIVE);
      if (this.#spin(EPOCH, seen, SPIN)) continue;
      Atomics.add(words, ASLEEP, 1);
      Atomics.wait(words, EPOCH, seen);
      Atomics.sub(words, ASLEEP, 1);
    }
  }

  /** Runs pieces of the job, first of the thread's own range, which is in its cache since the last step. */
  #runPieces(thread: number, runs: readonly RunKernel[]): void {
    const words = this.#words;
    const size = this.#size;
    const run = runs[words[JOB]];
    const scalars = words[JOB + 1];
    const start = words[JOB + 2];
    const bytes = words[JOB + 3] >>> 0;
    const grad = words[JOB + 4];
    const piece = words[JOB + 5];
    const pieces = Math.ceil(bytes / piece);
    for (let k = 0; k < size; k++) {
      const range = (thread + k) % size;
      const first = Math.floor((pieces * range) / size);
      const end = Math.floor((pieces * (range + 1)) / size);
      for (let i; (i = first + Atomics.add(words, NEXT + range * LINE, 1)) < end;) {
        const at = i * piece;
        run(scalars, start + at, Math.min(piece, bytes - at), grad + at);
      }
    }
  }

  /** Sets the epoch, and wakes the threads that sleep. */
  #advance(epoch: number): void {
    Atomics.store(this.#words, EPOCH, epoch);
    if (Atomics.load(this.#words, ASLEEP) > 0) Atomics.notify(this.#words, EPOCH);
  }

  /** Spins until a number changes. Returns whether it did within the given milliseconds. */
  #spin(index: number, value: number, milliseconds: number): boolean {
    const words = this.#words;
    const end = performance.now() + milliseconds;
    do {
      for (let k = 0; k < 100; k++) {
        if (Atomics.load(words, index) !== value) return true;
        pause();
      }
    } while (performance.now() < end);
    return false;
  }
}

const nextEpoch = (epoch: number): number => (epoch % 0x7fff_ffff) + 1;
