// Powers with the same bits on every engine: the last bit of Math.pow is each engine's choice, that of a product or a
// square root is not. This is what keeps the scalars, and so the parameters, the same bits everywhere.

/** base**exponent: the nearest number, and what that rounds off. */
interface Power {
  base: number;
  exponent: number;
  high: number;
  low: number;
}

const none = (): Power => ({ base: NaN, exponent: 0, high: 1, low: 0 });

/** Next to overflow what was rounded off is NaN, while the power is not. */
const nearest = ({ high, low }: Power): number => (Number.isFinite(low) ? high + low : high);

/** Here, since an object of each call would be one of each step. */
const single = /* @__PURE__ */ none();

/**
 * base**exponent for a whole exponent of at least 0, by squaring. What each product rounds off is carried along, so
 * that the result is the nearest number but for rare ties: RAdam's rho cancels all but the last digits of beta2^t.
 */
export function power(base: number, exponent: number): number {
  square(single, base, exponent);
  return nearest(single);
}

function square(found: Power, base: number, exponent: number): void {
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
  found.base = base;
  found.exponent = exponent;
  found.high = high;
  found.low = low;
}

/** Whether base**exponent, of a base below 1, counts for nothing beside 1 in f64: it is below e^-40, and so 2^-57. */
export const vanishes = (base: number, exponent: number): boolean => (1 - base) * exponent > 40;

/** The latest powers of decay rates, and which of them makes room for another. */
const latest: readonly Power[] = /* @__PURE__ */ Array.from({ length: 4 }, none);
let oldest = 0;

/** Of so many consecutive powers the first is found by squaring, each other from the one before. */
const STRETCH = 16;

/**
 * base**exponent for a base of at most 1, or 0 where that counts for nothing beside 1. Consecutive exponents take one
 * product each, squaring ten times as long; the result does not depend on what was asked for before.
 */
export function decayed(base: number, exponent: number): number {
  if (vanishes(base, exponent)) return 0;
  const start = exponent - (exponent % STRETCH);
  let k = 0;
  while (k < latest.length && !isBefore(latest[k], base, start, exponent)) k++;
  if (k === latest.length) {
    k = oldest;
    oldest = (oldest + 1) % latest.length;
    square(latest[k], base, start);
  }
  const found = latest[k];
  for (let left = exponent - found.exponent; left > 0; left--) {
    const product = found.high * base;
    found.low = roundedOff(found.high, base, product) + found.low * base;
    found.high = product;
  }
  found.exponent = exponent;
  return nearest(found);
}

const isBefore = (found: Power, base: number, start: number, exponent: number): boolean =>
  found.base === base && found.exponent >= start && found.exponent <= exponent;

/** 1 - base**exponent: what a bias correction divides by. After the first steps it is exactly 1, and costs nothing. */
export const complement = (base: number, exponent: number): number => 1 - decayed(base, exponent);

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
  // What Schedule-Free asks for at every step, unless it is told otherwise.
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
