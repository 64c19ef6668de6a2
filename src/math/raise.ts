// Powers with any exponent, with the same bits on every engine.

import { power, type Powers } from './power.js';

/** Returns base**exponent for an exponent >= 0. If the exponent is not whole, the base must be >= 0. */
export function raise(base: number, exponent: number): number {
  // A fast path for Schedule-Free's default exponents.
  if (exponent === 0) return 1;
  if (exponent === 2) return base * base;
  const whole = Math.floor(exponent);
  return whole === exponent ? power(base, exponent) : power(base, whole) * part(Math.sqrt(base), exponent - whole);
}

/**
 * Returns (root*root)**exponent for 0 <= exponent < 1, from the exponent's last binary digit to its first. Each square
 * root halves the error so far, so that the result has the error of two roundings for any number of digits.
 */
function part(root: number, exponent: number): number {
  if (exponent === 0) return 1;
  return exponent < 0.5 ? Math.sqrt(part(root, 2 * exponent)) : root * Math.sqrt(part(root, 2 * exponent - 1));
}

/** The same, computed again only for another base or exponent. */
export function raised({ latestRaised }: Powers, base: number, exponent: number): number {
  if (latestRaised.base !== base || latestRaised.exponent !== exponent) {
    latestRaised.value = raise(base, exponent);
    latestRaised.base = base;
    latestRaised.exponent = exponent;
  }
  return latestRaised.value;
}
