// Which tensors decay, told by their names.

import { expect } from '../errors.js';

/** What Hugging Face's Trainer spares, matched against the name in lower case. */
const spared = /bias|layernorm|rmsnorm|(^|\.)norm($|\.)|_norm($|\.)/;

/**
 * A `decayMask` that spares biases and the weights of norms, by their names as Hugging Face's Trainer does
 * (`get_decay_parameter_names`): whatever has "bias", "layernorm" or "rmsnorm" in it, and modules called "norm" or
 * "..._norm". Where norms go by other names (GPT-2's "ln_1"), write a predicate of your own.
 */
export function noDecayOnBiasAndNorm(name: string): boolean {
  expect(typeof name === 'string', 'the parameter', 'a name', name);
  return !spared.test(name.toLowerCase());
}
