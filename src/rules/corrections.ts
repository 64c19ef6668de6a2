// Bias corrections that the GPU computes. Used where only the GPU knows how many steps were taken.

/**
 * The functions of t, the number of a tensor's step, that scalars are multiplied by: c1 is 1 - beta1^t, c2 is 1 -
 * beta2^t, and `flush` is the limit below which moments are flushed. wgsl/corrections.wgsl has them in this order.
 */
export const corrections = ['none', 'sqrt(c2)/c1', 'sqrt(c2)', 'sqrt(c2)/next c1', 'c2', 'flush'] as const;
export type Correction = (typeof corrections)[number];

/** The corrections of a rule's scalars, in their order, and the decay rates of the moments. */
export interface Corrections {
  readonly ofScalars: readonly Correction[];
  readonly betas: readonly [number, number];
}
