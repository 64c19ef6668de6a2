// What the bench says of its measurements.

/** The number below which so great a part of all lies, between two of them in proportion. */
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
 * How many times as long the one takes as the other, round by round: a machine's drift is in both sides of a ratio that
 * was measured within a moment, and not in that of two medians.
 */
export function pairedRatio(above: readonly number[], below: readonly number[]): Quartiles {
  if (above.length !== below.length)
    throw new RangeError(`Expected ${above.length} rounds of both, got ${below.length} of one.`);
  const ratios = above.map((time, round) => time / below[round]);
  return [quantile(ratios, 0.25), median(ratios), quantile(ratios, 0.75)];
}

/** Round by round the longest of all: what none can be faster than. */
export const roof = (probes: readonly (readonly number[])[]): number[] =>
  probes[0].map((_, round) => Math.max(...probes.map((times) => times[round])));
