// Powers with the same bits on every engine: the last bit of Math.pow is each engine's choice, that of a product or a
// square root is not. This is what keeps the scalars, and so the parameters, the same bits everywhere.

/**
 * base**exponent for a whole exponent of at least 0, by squaring. What each product rounds off is carried along, so
 * that the result is the nearest number but for rare ties: RAdam's rho cancels all but the last digits of beta2^t.
 */
export function power(base: number, exponent: number): number {
  let result = 1;
  let low = 0;
  let square = base;
  let squareLow = 0;
  for (let rest = exponent; rest > 0; rest = Math.floor(rest / 2)) {
    if (rest % 2 === 1) {
      const product = result * square;
      low = roundedOff(result, square, product) + result * squareLow + low * square;
      result = product;
    }
    const product = square * square;
    squareLow = roundedOff(square, square, product) + 2 * square * squareLow;
    square = product;
  }
  // Next to overflow what was rounded off is NaN, while the result is not.
  return Number.isFinite(low) ? result + low : result;
}

/** Whether base**exponent, of a base below 1, counts for nothing beside 1 in f64: it is below e^-40, and so 2^-57. */
export const vanishes = (base: number, exponent: number): boolean => (1 - base) * exponent > 40;

/** 1 - base**exponent: what a bias correction divides by. After the first steps it is exactly 1, and costs nothing. */
export const complement = (base: number, exponent: number): number =>
  vanishes(base, exponent) ? 1 : 1 - power(base, exponent);

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
