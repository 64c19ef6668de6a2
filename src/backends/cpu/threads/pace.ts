// Decides whether a call runs on the main thread alone or shared. Which is faster depends on its size, on the load of
// the machine, and on whether the other threads sleep: waking them takes about 10 us. So both ways are measured all the
// time.

/** The fraction of the time that trials of the slower way may cost. */
const TRIAL_COST = 0.01;
/** The most jobs between two trials. */
const MAX_WAIT = 4096;
/** Sharing must take less than this fraction of the time alone: a smaller gain may be clock error. */
const MAX_SHARED_TIME = 0.9;
/** A trial is 3 jobs; only the last is timed, when all threads are awake. */
const TRIAL = 3;

/**
 * Times of jobs in milliseconds per byte, and the number of jobs until the next trial; all by size, in powers of two.
 */
export class Pace {
  readonly #alone = new Float64Array(32).fill(Infinity);
  readonly #shared = new Float64Array(32).fill(Infinity);
  /** Jobs until the next trial; negative during a trial. */
  readonly #wait = new Float64Array(32);
  readonly #trials = new Float64Array(32);

  /** Returns whether to share the next job. */
  prefersShared(bytes: number): boolean {
    const size = Math.clz32(bytes);
    const isFaster = this.#shared[size] < MAX_SHARED_TIME * this.#alone[size];
    this.#wait[size] -= 1;
    return this.#wait[size] >= 0 ? isFaster : !isFaster;
  }

  /** Records the time of a job. */
  record(bytes: number, isShared: boolean, milliseconds: number): void {
    const size = Math.clz32(bytes);
    const wait = this.#wait[size];
    if (wait < 0 && wait > -TRIAL) return;
    // The clock of a page may be too coarse; ignore such a time.
    if (milliseconds <= 0) {
      if (wait < 0) this.#wait[size] = MAX_WAIT;
      return;
    }
    const times = isShared ? this.#shared : this.#alone;
    const before = times[size];
    // Limit the effect of a single delay, however long.
    const time = Math.min(milliseconds / bytes, 2 * before);
    times[size] = time < before ? time : before + (time - before) / 16;
    if (wait < 0) this.#wait[size] = this.#waitAfterTrial(size, times[size], isShared ? this.#alone : this.#shared);
  }

  #waitAfterTrial(size: number, time: number, others: Float64Array): number {
    const other = others[size];
    if (other === Infinity) return 0;
    const loss = TRIAL * (Math.max(time, other) / Math.min(time, other) - 1);
    // The first times are of code that is not optimized yet, so the first trials come soon after each other.
    const most = Math.min(2 ** this.#trials[size]++, MAX_WAIT);
    return Math.min(Math.ceil(loss / TRIAL_COST), most);
  }
}
