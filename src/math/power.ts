// Powers with the same bits on every engine, from products and square roots: the last bit of Math.pow differs between
// engines. Scalars, and so parameters, have the same bits everywhere because of this.

/** Which part of a power to return: the nearest number, or one of the two numbers that add up to it. */
type Part = 'nearest' | 'high' | 'low';

/** Close to overflow `low` is NaN, although the power is finite. */
const nearest = (high: number, low: number): number => (Number.isFinite(low) ? high + low : high);

/**
 * Returns base**exponent for a whole exponent >= 0, by squaring. Carries the rounding error of each product, so that
 * the result is the nearest number except for rare ties: RAdam's rho cancels all but the last digits of beta2^t.
 */
export const power = (base: number, exponent: number): number => square(base, exponent, 'nearest');

/** Returns one part of base**exponent. Returning both would allocate an object, which a step must not do. */
function square(base: number, exponent: number, which: Part): number {
  let high = 1;
  let low = 0;
  let factor = base;
  let factorLow = 0;
  for (let rest = exponent; rest > 0; rest = Math.floor(rest / 2)) {
    if (rest % 2 === 1) {
      const product = high * factor;
      low = roundedOff(high, factor, product) + high * factorLow + low * (factor + factorLow);
      high = product;
    }
    const product = factor * factor;
    factorLow = roundedOff(factor, factor, product) + factorLow * (2 * factor + factorLow);
    factor = product;
  }
  return which === 'nearest' ? nearest(high, low) : which === 'high' ? high : low;
}

/** Whether 1 - base**exponent is 1 in f64, for a base below 1: the power is less than e^-40, and so than 2^-57. */
export const vanishes = (base: number, exponent: number): boolean => (1 - base) * exponent > 40;

/** A power as the sum of the nearest number and its rounding error. */
interface Power {
  base: number;
  exponent: number;
  high: number;
  low: number;
}

/** In each block of consecutive exponents the first power comes from squaring, every other from the one before. */
const BLOCK = 16;

/** Powers of one group. Caches the latest, for consecutive exponents; results do not depend on the cache. */
export class Powers {
  /** The latest powers of decay rates, and the index of the one to replace next. */
  readonly #latest: readonly Power[] = Array.from({ length: 4 }, () => ({ base: NaN, exponent: 0, high: 1, low: 0 }));
  #oldest = 0;
  /** The latest power that `raised` returned. */
  readonly latestRaised = { base: NaN, exponent: NaN, value: NaN };

  /**
   * Returns base**exponent for a base of at most 1, or 0 if 1 - base**exponent is 1 in f64. Consecutive exponents take
   * one product each; squaring takes ten times as long.
   */
  decayed(base: number, exponent: number): number {
    if (vanishes(base, exponent)) return 0;
    const latest = this.#latest;
    const start = exponent - (exponent % BLOCK);
    let k = 0;
    while (k < latest.length && !isBefore(latest[k], base, start, exponent)) k++;
    if (k === latest.length) {
      k = this.#oldest;
      this.#oldest = (k + 1) % latest.length;
      latest[k].base = base;
      latest[k].exponent = start;
      latest[k].high = square(base, start, 'high');
      latest[k].low = square(base, start, 'low');
    }
    const found = latest[k];
    for (let left = exponent - found.exponent; left > 0; left--) {
      const product = found.high * base;
      found.low = roundedOff(found.high, base, product) + found.low * base;
      found.high = product;
    }
    found.exponent = exponent;
    return nearest(found.high, found.low);
  }

  /** Returns 1 - base**exponent, the divisor of a bias correction. For large exponents it is exactly 1. */
  complement(base: number, exponent: number): number {
    return 1 - this.decayed(base, exponent);
  }
}

const isBefore = (found: Power, base: number, start: number, exponent: number): boolean =>
  found.base === base && found.exponent >= start && found.exponent <= exponent;

/** Returns a*b - product, exactly (Dekker 1971). */
function roundedOff(a: number, b: number, product: number): number {
  const aHigh = upperHalf(a);
  const bHigh = upperHalf(b);
  const aLow = a - aHigh;
  const bLow = b - bHigh;
  return aLow * bLow - (product - aHigh * bHigh - aLow * bHigh - aHigh * bLow);
}

/** Returns the upper 26 bits of a number (Veltkamp). */
function upperHalf(a: number): number {
  const scaled = a * (2 ** 27 + 1);
  return scaled - (scaled - a);
}
