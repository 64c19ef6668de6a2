// What a step does with gradients before it uses them.

import type { GpuMemory } from './memory.js';

/** The scaler of a step. */
export interface StepScaler {
  /** The scale of the loss. On the CPU only. */
  readonly scale: number;
  /** Whether the step is the last one before the scale is updated. */
  readonly isLast: boolean;
  /** Returns its state in GPU memory, a `Scaler` of wgsl/scaler.wgsl. */
  memory(device: GPUDevice): GPUBuffer;
}

/** The options of a step that are about gradients, each read once and checked. */
export interface GradientOptions {
  /** Multiplies the gradients. */
  gradScale: number;
  /** A number in GPU memory that multiplies them, too. */
  scaleBuffer: GpuMemory | undefined;
  /** Multiplied by its inverse, too. Skips the step if a gradient is not finite. */
  scaler: StepScaler | undefined;
  /** Whether to skip the step if a gradient is not finite. */
  ifFinite: boolean;
  /** The largest magnitude of a scaled gradient; 0 for any. */
  maxValue: number;
  /** The largest norm: of all gradients together, or of each; 0 for any. */
  maxNorm: number;
  isPerTensor: boolean;
  /** Whether to divide each gradient by its norm. */
  normalizes: boolean;
}

/** Whether norms are needed: one that is not finite skips the step. */
export const needsNorm = ({ maxNorm, normalizes }: GradientOptions): boolean => maxNorm > 0 || normalizes;

/** Whether the step is skipped if a gradient is not finite, before it is clamped. */
export const needsFinite = ({ ifFinite, scaler }: GradientOptions): boolean => ifFinite || scaler !== undefined;

/** Whether the step depends on the values of gradients: it may be skipped. */
export const maySkip = (options: GradientOptions): boolean => needsNorm(options) || needsFinite(options);

/** Whether each tensor has a coefficient of its own. */
export const isEachClipped = ({ isPerTensor, normalizes }: GradientOptions): boolean => isPerTensor || normalizes;
