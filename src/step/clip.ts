// Clips the gradients of a step on the CPU, and decides whether the step is taken. On the GPU: wgsl/decide.wgsl.

import { needsFinite, needsNorm } from '../backends/gradient-options.js';
import { LARGEST } from '../backends/sums.js';
import type { StepRequest } from './request.js';
import type { OptimizerState } from './state.js';

/** Added to a norm before it divides, as in torch.nn.utils.clip_grad_norm_. */
const EPS = 1e-6;

/**
 * Measures the gradients of a step that depends on their values, and multiplies the factor of the request, or each
 * tensor's coefficient. Returns whether the step is taken: not if a norm, or a gradient that must be, is not finite.
 */
export function clip(state: OptimizerState): boolean {
  const { request, norm } = state;
  if (request.scaler !== undefined) request.factor /= request.scaler.scale;
  const isStrict = needsFinite(request);
  const sum = measure(state, isStrict);
  const isFinite = Number.isFinite(sum);
  // The norm is that of the clamped gradients, even if one was infinite.
  if (needsNorm(request)) norm[1] = Math.sqrt(isStrict && !isFinite ? measure(state, false) : sum);
  if (!isFinite) return false;
  if (request.isEachClipped || request.maxNorm === 0) return true;
  const coefficient = coefficientOf(request, Math.sqrt(sum), 1);
  request.factor *= coefficient;
  request.maxValue *= coefficient;
  return true;
}

/**
 * Returns the sum of the squares of all scaled and clamped gradients, and sets each tensor's coefficient. If `isStrict`,
 * the sum is NaN if a gradient is not finite before it is clamped.
 */
function measure({ request, groups, plans, backend }: OptimizerState, isStrict: boolean): number {
  const { maxValue, isEachClipped: isEach } = request;
  let sum = 0;
  for (let g = 0; g < groups.length; g++) {
    const { arithmetic, entries } = groups[g];
    const scale = arithmetic.gradScale * request.factor;
    backend.measure!(plans[g], maxValue > 0 ? maxValue / scale : Infinity, isStrict);
    for (let i = 0; i < entries.length; i++) {
      const entry = entries[i];
      if (entry.grad === undefined) continue;
      const squares = scale * scale * entry.squares;
      if (isEach) entry.coefficient = coefficientOf(request, Math.sqrt(squares), scale);
      sum += squares;
    }
  }
  return sum;
}

/** Returns the factor of gradients whose norm, once multiplied by `scale`, is `norm`. */
function coefficientOf({ normalizes, maxNorm }: StepRequest, norm: number, scale: number): number {
  if (!normalizes) return Math.min(1, maxNorm / (norm + EPS));
  // The product with `scale` must be an f32.
  return norm > 0 ? Math.min(1 / norm, LARGEST / scale) : 1;
}
