// What a step uses of a gradient scaler. The scaler itself is another file, which programs without one do not load.

import { unexpected } from '../errors.js';

/** The key of a scaler's part for steps. Registered: `twinstep/checkpoint` may be bundled separately. */
export const SCALING: unique symbol = /* @__PURE__ */ Symbol.for('twinstep.scaling');

/**
 * The part of a scaler for steps. A round is one step of each of its optimizers, all with the same scale; after the last
 * one, the scale is updated.
 */
export interface Scaling {
  /** Throws unless `optimizer`, on this device or on the CPU, can step in this round. Changes nothing. */
  enter(optimizer: object, device: GPUDevice | undefined): void;
  /** The scale of this round. On the CPU only. */
  readonly scale: number;
  /** Whether the next step is the last one of its round. */
  readonly isLast: boolean;
  /** Returns the state on the GPU, a `Scaler` of wgsl/scaler.wgsl. Allocates it at first use. */
  memory(device: GPUDevice): GPUBuffer;
  /**
   * Counts the step of an optimizer that has entered, and on the CPU updates the scale after the last one of the round.
   * `found`: whether its gradients had an infinity or NaN; not used on the GPU, where the kernel knows it.
   */
  commit(optimizer: object, device: GPUDevice | undefined, found: boolean): void;
  /** Throws unless `dict` can be loaded now. Changes nothing. */
  checkDict(dict: unknown): void;
}

/** Returns the part for steps of the option `scaler`. Throws unless it is a scaler that has not been disposed of. */
export function scalingOf(scaler: unknown): Scaling {
  const scaling = (scaler as { [SCALING]?: Scaling } | null | undefined)?.[SCALING];
  if (scaling === undefined) throw unexpected('scaler', 'one that gradScaler() made', scaler);
  return scaling;
}
