// The options of the current step, as a step uses them.

import type { GradientOptions } from '../backends/gradient-options.js';
import type { Scaling } from './scaling.js';

/** The options of the current step. Each was read once. */
export interface StepRequest extends GradientOptions {
  more: boolean;
  scaler: Scaling | undefined;
  /** Whether the step has no options. */
  isPlain: boolean;
  /** Whether the step is skipped if gradients are not finite. */
  maySkip: boolean;
  /** Whether each tensor has a coefficient of its own. */
  isEachClipped: boolean;
  /** The factor of all gradients. */
  factor: number;
}

/** Returns the options of a step that has none. */
export const newRequest = (): StepRequest => ({
  isPlain: true,
  more: false,
  maySkip: false,
  isEachClipped: false,
  factor: 1,
  gradScale: 1,
  scaleBuffer: undefined,
  scaler: undefined,
  ifFinite: false,
  maxValue: 0,
  maxNorm: 0,
  isPerTensor: false,
  normalizes: false,
});

/** Sets the options of a step that has none. */
export function reset(request: StepRequest): void {
  Object.assign(request, none);
}

const none = /* @__PURE__ */ newRequest();
