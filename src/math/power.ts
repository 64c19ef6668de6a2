// Powers with the same bits on every engine: the last bit of Math.pow is each engine's choice, that of a product or a
// square root is not. This is what keeps the scalars, and so the parameters, the same bits everywhere.

/** What to return of a power: its nearest number, or the two numbers whose sum it is. */
type Part = 'nearest' | 'high' | 'low';

/** Next to overflow what was rounded off is NaN, while the power is not. */
const nearest = (high: number, low: number): number => (Number.isFinite(low) ? high + low : high);

/**
 * base**exponent for a whole exponent of at least 0, by squaring. What each product rounds off is carried along, so
 * that the result is the nearest number except for rare ties: RAdam's rho cancels all but the last digits of beta2^t.
 */
export const power = (base: number, exponent: number): number => square(base, exponent, 'nearest');

/** One part of base**exponent: a step must not allocate, so no object has both. */
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

/** Whether base**exponent, of a base below 1, counts for nothing beside 1 in f64: it is below e^-40, and so 2^-57. */
export const vanishes = (base: number, exponent: number): boolean => (1 - base) * exponent > 40;

/** A power, as the sum of its nearest number and of what that rounds off. */
interface Power {
  base: number;
  exponent: number;
  high: number;
  low: number;
}

/** A block of consecutive powers: the first is found by squaring, each other one from the one before. */
const BLOCK = 16;

/** Powers for one user of them, who asks for one exponent after another. Remembers the latest; results do not depend on them. */
export class Powers {
  /** The latest powers of decay rates, and which of them the next one replaces. */
  readonly #latest: readonly Power[] = Array.from({ length: 4 }, () => ({ base: NaN, exponent: 0, high: 1, low: 0 }));
  #oldest = 0;
  readonly #raised = { base: NaN, exponent: NaN, value: NaN };

  /**
   * base**exponent for a base of at most 1, or 0 where that counts for nothing beside 1. Consecutive exponents take one
   * product each; squaring takes ten times as long.
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

  /** 1 - base**exponent: the divisor of a bias correction. After the first steps it is exactly 1, and costs nothing. */
  complement(base: number, exponent: number): number {
    return 1 - this.decayed(base, exponent);
  }

  /** What the function `raise` returns, computed again only for another base or exponent. */
  raise(base: number, exponent: number): number {
    const raised = this.#raised;
    if (raised.base !== base || raised.exponent !== exponent) {
      raised.value = raise(base, exponent);
      raised.base = base;
      raised.exponent = exponent;
    }
    return raised.value;
  }
}

const isBefore = (found: Power, base: number, start: number, exponent: number): boolean =>
  found.base === base && found.exponent >= start && found.exponent <= exponent;

/** a*b - product, exactly (Dekker 1971). */
function roundedOff(a: number, b: number, product: number): number {
  const aHigh = upperHalf(a);
  const bHigh = upperHalf(b);
  const aLow = a - aHigh;
  const bLow = b - bHigh;
  return aLow * bLow - (product - aHigh * bHigh - aLow * bHigh - aHigh * bLow);
}

/** The upper 26 bits of a number (Veltkamp). */
function upperHalf(a: number): number {
  const scaled = a * (2 ** 27 + 1);
  return scaled - (scaled - a);
}

/** base**exponent for any exponent of at least 0, and a base of at least 0 where it is not whole. */
export function raise(base: number, exponent: number): number {
  // Schedule-Free's default exponents, at every step.
  if (exponent === 0) return 1;
  if (exponent === 2) return base * base;
  const whole = Math.floor(exponent);
  return whole === exponent ? power(base, exponent) : power(base, whole) * part(Math.sqrt(base), exponent - whole);
}

/**
 * (root*root)**exponent for 0 <= exponent < 1, from its last binary digit to its first: each square root halves the
 * error so far, so that two roundings remain, however many digits there are.
 */
function part(root: number, exponent: number): number {
  if (exponent === 0) return 1;
  return exponent < 0.5 ? Math.sqrt(part(root, 2 * exponent)) : root * Math.sqrt(part(root, 2 * exponent - 1));
}
