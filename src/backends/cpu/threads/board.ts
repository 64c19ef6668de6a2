// What the threads of a team tell each other: a few numbers in shared memory. The main thread opens a job, all threads
// take pieces of it until none is left, and the main thread waits for those that still have one. So it never waits for
// a thread to wake, and a thread that is late or never comes costs nothing but its help.

import type { RunKernel } from '../cpu.js';

// Where each number stands.
const EPOCH = 0; // goes up whenever there is something new: threads sleep on it
const OPEN = 1; // the epoch of the job that is open, or 0
const ACTIVE = 2; // how many threads may have a piece
const ASLEEP = 3; // how many threads are to be woken
const MAIL = 4; // how many messages each thread was sent
const JOB = 5; // the arguments of the call, and the bytes of a piece
const NEXT = 16; // of each range, the first piece that nobody has taken, a cache line apart
const LINE = 16;

/**
 * Milliseconds for which a thread that has nothing to do looks out for something, before it sleeps. The main one does so
 * for less: a thread that it waits for may have to have its core.
 */
const LOOKOUT = 0.05;
const MAIN_LOOKOUT = 0.005;
/** The smallest piece, in bytes of each array: taking one costs some 20 ns, stepping it some 500. */
const LEAST_PIECE = 4096;

/** A page's main thread must not sleep. */
const canSleep = ((): boolean => {
  try {
    return Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 1) === 'not-equal';
  } catch {
    return false;
  }
})();

const pause = (Atomics as { pause?: () => void }).pause ?? (() => {});

export class Board {
  readonly #words: Int32Array<SharedArrayBuffer>;
  readonly #size: number;

  /** Of a team of `size` threads, the main one included. */
  constructor(memory: SharedArrayBuffer, size: number) {
    this.#words = new Int32Array(memory);
    this.#size = size;
  }

  static bytes(size: number): number {
    return Int32Array.BYTES_PER_ELEMENT * (NEXT + size * LINE);
  }

  /** Runs `runs[call]` over all of its bytes, on the main thread, and on those others that are there. */
  share(runs: readonly RunKernel[], call: number, by: number, start: number, bytes: number, grad: number): void {
    const words = this.#words;
    const size = this.#size;
    words[JOB] = call;
    words[JOB + 1] = by;
    words[JOB + 2] = start;
    words[JOB + 3] = bytes;
    words[JOB + 4] = grad;
    // Large pieces for the prefetcher's sake, and yet so many that none is waited for long.
    words[JOB + 5] = Math.max(LEAST_PIECE, LEAST_PIECE * Math.floor(bytes / (LEAST_PIECE * size * 16)));
    for (let range = 0; range < size; range++) Atomics.store(words, NEXT + range * LINE, 0);
    const epoch = nextEpoch(words[EPOCH]);
    Atomics.store(words, OPEN, epoch);
    this.#announce(epoch);
    try {
      this.#take(0, runs);
    } finally {
      Atomics.store(words, OPEN, 0);
      for (let active; (active = Atomics.load(words, ACTIVE)) > 0;) {
        if (!this.#changes(ACTIVE, active, MAIN_LOOKOUT) && canSleep) Atomics.wait(words, ACTIVE, active, 1);
      }
    }
  }

  /** Tells the other threads to look for a message. */
  announceMail(): void {
    Atomics.add(this.#words, MAIL, 1);
    this.#announce(nextEpoch(this.#words[EPOCH]));
  }

  /** Takes part in jobs until there is a message that is not among the `read` ones. */
  serve(thread: number, runs: readonly RunKernel[], read: number): void {
    const words = this.#words;
    // A message may be read before it is announced.
    const isAllRead = (): boolean => Atomics.load(words, MAIL) <= read;
    for (let seen = Atomics.load(words, EPOCH); isAllRead(); seen = Atomics.load(words, EPOCH)) {
      Atomics.add(words, ACTIVE, 1);
      if (isAllRead() && Atomics.load(words, OPEN) === seen) this.#take(thread, runs);
      if (Atomics.sub(words, ACTIVE, 1) === 1) Atomics.notify(words, ACTIVE);
      if (this.#changes(EPOCH, seen, LOOKOUT)) continue;
      Atomics.add(words, ASLEEP, 1);
      Atomics.wait(words, EPOCH, seen);
      Atomics.sub(words, ASLEEP, 1);
    }
  }

  /** Takes pieces of the job: of a thread's own range first, which is in its cache since the last step. */
  #take(thread: number, runs: readonly RunKernel[]): void {
    const words = this.#words;
    const size = this.#size;
    const run = runs[words[JOB]];
    const by = words[JOB + 1];
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
        run(by, start + at, Math.min(piece, bytes - at), grad + at);
      }
    }
  }

  #announce(epoch: number): void {
    Atomics.store(this.#words, EPOCH, epoch);
    if (Atomics.load(this.#words, ASLEEP) > 0) Atomics.notify(this.#words, EPOCH);
  }

  /** Whether a number changes within so many milliseconds. */
  #changes(index: number, value: number, milliseconds: number): boolean {
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
