// Decides by name or shape which tensors decay.

import type { Shape } from './shapes.js';
import { expect, show, unexpected } from '../errors.js';

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

/**
 * A `decayMask` for tensors of at least two dimensions: matrices, embeddings and kernels of convolutions decay, biases
 * and the weights of norms do not, as in nanoGPT. The option `shapes` must have the shape of every tensor.
 *
 * @param name - The name of a tensor.
 * @param shape - The sizes of its dimensions, rows first.
 * @returns Whether the tensor decays.
 * @throws TypeError if the shape is not known.
 * @example
 *   const shapes = { weight: [8, 4], bias: [8] };
 *   const optimizer = await adamw(params, { shapes, weightDecay: 0.1, decayMask: decayMatricesOnly });
 */
export function decayMatricesOnly(name: string, shape: Shape | undefined): boolean {
  const wanted = 'an array, from the option `shapes`';
  if (!Array.isArray(shape)) throw unexpected(`the shape of ${show(name)} for decayMatricesOnly`, wanted, shape);
  return shape.length >= 2;
}
