// Whether a call is faster alone or shared, which depends on more than its size: whether the other threads sleep when
// it comes, which costs some 10 us, and what else the machine has to do. So it is measured, all the time.

/** What trying the slower way may cost, as a part of the time. */
const PRICE = 0.01;
const MOST_WAIT = 4096;
/** Sharing must take less than this part of the time alone: a smaller gain may be clock error. */
const WORTH = 0.9;
/** Jobs of a trial, of which the last one counts: when it comes, the threads that the first one woke are awake. */
const TRIAL = 3;

/** Of jobs of a size, by powers of two: milliseconds a byte, and how many are to come before the slower way is tried. */
export class Pace {
  readonly #alone = new Float64Array(32).fill(Infinity);
  readonly #shared = new Float64Array(32).fill(Infinity);
  /** Below zero in a trial. */
  readonly #wait = new Float64Array(32);
  readonly #trials = new Float64Array(32);

  prefersShared(bytes: number): boolean {
    const size = Math.clz32(bytes);
    const isFaster = this.#shared[size] < WORTH * this.#alone[size];
    this.#wait[size] -= 1;
    return this.#wait[size] >= 0 ? isFaster : !isFaster;
  }

  took(bytes: number, isShared: boolean, milliseconds: number): void {
    const size = Math.clz32(bytes);
    const wait = this.#wait[size];
    if (wait < 0 && wait > -TRIAL) return;
    // The clock of a page may be too coarse to tell: then nothing is learnt.
    if (milliseconds <= 0) {
      if (wait < 0) this.#wait[size] = MOST_WAIT;
      return;
    }
    const times = isShared ? this.#shared : this.#alone;
    const before = times[size];
    // What held a job up once, for however long, need not do so again.
    const time = Math.min(milliseconds / bytes, 2 * before);
    times[size] = time < before ? time : before + (time - before) / 16;
    if (wait < 0) this.#wait[size] = this.#waitAfterTrial(size, times[size], isShared ? this.#alone : this.#shared);
  }

  #waitAfterTrial(size: number, time: number, others: Float64Array): number {
    const other = others[size];
    if (other === Infinity) return 0;
    const loss = TRIAL * (Math.max(time, other) / Math.min(time, other) - 1);
    // The first times are those of code that is not optimized yet: at first a trial follows another soon.
    const most = Math.min(2 ** this.#trials[size]++, MOST_WAIT);
    return Math.min(Math.ceil(loss / PRICE), most);
  }
}
