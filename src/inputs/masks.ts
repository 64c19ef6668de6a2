// Decides by name which tensors decay.

import { expect } from '../errors.js';

/** Matches the lower-case names that Hugging Face's Trainer excludes from decay. */
const excluded = /bias|layernorm|rmsnorm|(^|\.)norm($|\.)|_norm($|\.)/;

/**
 * A `decayMask` that excludes biases and the weights of norms. Returns false for names that contain "bias", "layernorm"
 * or "rmsnorm" and for modules called "norm" or "..._norm", as Hugging Face's Trainer does
 * (`get_decay_parameter_names`). If your norms have other names (GPT-2's "ln_1"), write a function of your own.
 *
 * @param name - The name of a tensor.
 * @returns Whether the tensor decays.
 * @throws TypeError for anything else than a string.
 * @example const optimizer = await adamw(params, { weightDecay: 0.1, decayMask: noDecayOnBiasAndNorm });
 */
export function noDecayOnBiasAndNorm(name: string): boolean {
  expect(typeof name === 'string', 'the parameter', 'a name', name);
  return !excluded.test(name.toLowerCase());
}
