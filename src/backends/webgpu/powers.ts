// Powers of a decay rate for wgsl/corrections.wgsl, which multiplies those of a step count's bits.

/** How many powers of a decay rate `powersOf` returns: one for each bit of a step count. */
export const POWERS = 32;

/**
 * Returns beta^(2^k) for k = 0 to 31 and a beta of at least 0 and less than 1: 64-bit fractions of 1, each as a pair
 * (low word, high word). The squares keep 128 bits, so each power is the nearest fraction.
 */
export function powersOf(beta: number): Uint32Array {
  const pairs = new Uint32Array(2 * POWERS);
  // Exact for a beta of at least 2^-11.
  let power = BigInt(Math.round(beta * 2 ** 64)) << 64n;
  for (let k = 0; k < POWERS; k++) {
    const rounded = (power + (1n << 63n)) >> 64n;
    pairs[2 * k] = Number(rounded & 0xffffffffn);
    pairs[2 * k + 1] = Number(rounded >> 32n);
    power = (power * power) >> 128n;
  }
  return pairs;
}
