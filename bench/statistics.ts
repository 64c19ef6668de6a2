// Statistics of measurements.

/** Quantile with linear interpolation: `part` (0 to 1) of the numbers lie below it. */
export function quantile(numbers: readonly number[], part: number): number {
  if (numbers.length === 0) throw new RangeError('Expected numbers to take a quantile of, got none.');
  const sorted = numbers.toSorted((a, b) => a - b);
  const at = part * (sorted.length - 1);
  const [below, above] = [sorted[Math.floor(at)], sorted[Math.ceil(at)]];
  return below + (at - Math.floor(at)) * (above - below);
}

export const median = (numbers: readonly number[]): number => quantile(numbers, 0.5);

/** The first quartile, the median and the third. */
export type Quartiles = readonly [number, number, number];

/**
 * Ratios `above / below`, round by round. A slowdown of the machine affects both times of a round, so it cancels, which
 * it does not in the ratio of two medians.
 */
export function pairedRatio(above: readonly number[], below: readonly number[]): Quartiles {
  if (above.length !== below.length)
    throw new RangeError(`Expected as many rounds of both, got ${above.length} and ${below.length}.`);
  const ratios = above.map((time, round) => time / below[round]);
  return [quantile(ratios, 0.25), median(ratios), quantile(ratios, 0.75)];
}

/** Returns the longest time of each round: the limit that the probes set. */
export const roof = (probes: readonly (readonly number[])[]): number[] =>
  probes[0].map((_, round) => Math.max(...probes.map((times) => times[round])));
