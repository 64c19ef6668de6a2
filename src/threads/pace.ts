// Whether a call is faster alone or shared, which depends on more than its size: whether the other threads sleep when
// it comes, which costs some 10 us, and what else the machine has to do. So it is measured, all the time.

/** What trying the slower way may cost, as a part of the time. */
const PRICE = 0.01;
const MOST_WAIT = 4096;

/** Of jobs of a size, by powers of two: milliseconds a byte, and how many are to come before the slower way is tried. */
export class Pace {
  readonly #alone = new Float64Array(32).fill(Infinity);
  readonly #shared = new Float64Array(32).fill(Infinity);
  readonly #wait = new Float64Array(32);
  readonly #trials = new Float64Array(32);

  prefersShared(bytes: number): boolean {
    const size = Math.clz32(bytes);
    const isFaster = this.#shared[size] < this.#alone[size];
    this.#wait[size] -= 1;
    return this.#wait[size] >= 0 ? isFaster : !isFaster;
  }

  took(bytes: number, isShared: boolean, milliseconds: number): void {
    const size = Math.clz32(bytes);
    const times = isShared ? this.#shared : this.#alone;
    const other = isShared ? this.#alone[size] : this.#shared[size];
    const time = milliseconds / bytes;
    // What held a job up once need not do so again.
    times[size] = time < times[size] || times[size] === Infinity ? time : (times[size] + time) / 2;
    if (this.#wait[size] >= 0 || other === Infinity) return;
    const loss = Math.max(times[size], other) / Math.min(times[size], other) - 1;
    // The first times are those of code that is not optimized yet: at first a trial follows another soon.
    const most = Math.min(2 ** this.#trials[size]++, MOST_WAIT);
    this.#wait[size] = Math.min(Math.ceil(loss / PRICE), most);
  }
}
