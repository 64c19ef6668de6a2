// Gradients on their way to a step.

import type { ArrayOf } from '../backends/backend.js';
import { locate, overlap, type GpuMemory } from '../backends/memory.js';
import { checkFinished, checkTraining, forgetSums, memberOf, type OptimizerState } from './state.js';
import { OWN, type TensorEntry } from '../backends/plan.js';
import { expect, isRecord, show } from '../errors.js';

/** A gradient: values to copy or upload, or a GPU buffer to bind. Null and undefined are no gradient at all. */
export type Gradient = Float32Array | GpuMemory | null | undefined;

/** Gradients by name. */
export type Gradients = Readonly<Record<string, Gradient>>;

/** The L2 norms of a tensor. */
export interface Norms {
  param: number;
  /** Absent where the tensor has no gradient. */
  grad?: number;
}

/** Throws where these gradients cannot be taken beside those that were accumulated. */
export function checkGradients({ batches }: OptimizerState, isGiven: boolean, isEncoded: boolean): void {
  if (batches === 0) return;
  if (isGiven) {
    throw new Error(
      `There are accumulated gradients (batches: ${batches}): step() takes their mean, zeroGrad() drops it.`,
    );
  }
  if (isEncoded) {
    throw new Error(
      'Accumulated gradients are taken by step(): what encode() records may be submitted after the next batch has come.',
    );
  }
}

/** Checks the gradients handed over, and notes each with its tensor. Frozen tensors take none. */
export function take(parts: OptimizerState, grads: unknown, encoded = false): void {
  expect(isRecord(grads), 'gradients', 'a record by name', grads);
  release(parts);
  let i = 0;
  for (const name in grads) {
    // Not Object.hasOwn: of this form V8 knows the answer for a key of the loop.
    if (!Object.prototype.hasOwnProperty.call(grads, name)) continue;
    const grad = grads[name];
    const next = parts.inOrder[i++];
    if (grad === null || grad === undefined) continue;
    // To look it up takes as long as all else that is asked of a gradient.
    const member = next?.tensor.name === name ? next : memberOf(parts, name);
    parts.backend.check(member.tensor, grad, encoded);
    if (!member.tensor.isFrozen) note(member, grad);
  }
  parts.backend.checkTogether?.(parts.members);
}

/** Notes for each tensor the gradient in the optimizer's own memory; if any were accumulated, only those that were. */
export function takeOwn({ keepGrads, steppers, batches }: OptimizerState): void {
  if (!keepGrads) throw new Error('This optimizer keeps no gradients (keepGrads: false): hand them over.');
  for (let g = 0; g < steppers.length; g++) {
    const { members } = steppers[g];
    for (let i = 0; i < members.length; i++) {
      const member = members[i];
      const isPart = !member.tensor.isFrozen && (batches === 0 || member.hasSum);
      if (isPart) note(member, OWN);
      else member.grad = undefined;
    }
  }
}

/** Notes the gradient of a tensor. Throws if it had one before in a step that is not finished. */
function note(member: TensorEntry, grad: unknown): void {
  if (member.isDone) {
    throw new Error(`The gradient of ${show(member.tensor.name)} came a second time within one step.`);
  }
  member.grad = grad;
}

/** Forgets the gradients, so that none of the caller's arrays is kept alive. */
export function release({ steppers }: OptimizerState): void {
  for (let g = 0; g < steppers.length; g++) {
    const { members } = steppers[g];
    for (let i = 0; i < members.length; i++) members[i].grad = undefined;
  }
}

/** Adds gradients to those that were accumulated. */
export function accumulate(parts: OptimizerState, grads: unknown): void {
  const { keepGrads, backend, members } = parts;
  checkFinished(parts);
  checkTraining(parts);
  if (!keepGrads) throw new Error('This optimizer keeps no gradients (keepGrads: false): none can be accumulated.');
  try {
    take(parts, grads);
    const added = [...members.values()].filter(({ grad }) => grad !== undefined);
    for (const { tensor, grad } of added) {
      const { name } = tensor;
      if (!overlap(locate(grad, 'gradient', name), locate(backend.grads[name], 'gradient', name))) continue;
      throw new TypeError(`The gradient of ${show(name)} is that of optimizer.grads, to which it would be added.`);
    }
    parts.failure.watch(backend.accumulate(added));
    for (const member of added) member.hasSum = true;
    parts.batches += 1;
  } finally {
    release(parts);
  }
}

/** Fills the optimizer's own gradients with zeros, and forgets what was accumulated. */
export function zeroGrad(parts: OptimizerState): void {
  parts.failure.watch(parts.backend.zeroGrad());
  forgetSums(parts);
}

/** The norms of parameters and of the gradients given, or without any of the optimizer's own. */
export async function norms(
  parts: OptimizerState,
  grads: { given: unknown } | undefined,
): Promise<Record<string, Norms>> {
  const ofGrads = gradSources(parts, grads);
  const ofParams = [...parts.members.values()].map(({ section, tensor }) => ({ section, tensor, array: 'param' }));
  const batches = grads === undefined ? Math.max(parts.batches, 1) : 1;
  const values = await parts.failure.settle(parts.backend.norms([...ofParams, ...ofGrads]));
  const byName = new Map(ofParams.map(({ tensor }, i): [string, Norms] => [tensor.name, { param: values[i] }]));
  for (const [i, { tensor }] of ofGrads.entries()) {
    byName.get(tensor.name)!.grad = values[ofParams.length + i] / batches;
  }
  return Object.fromEntries(byName);
}

/** Where the gradients are that a step would take. */
function gradSources(
  parts: OptimizerState,
  grads: { given: unknown } | undefined,
): (ArrayOf & { readonly grad?: unknown })[] {
  try {
    if (grads !== undefined) take(parts, grads.given);
    else if (parts.keepGrads) takeOwn(parts);
    const withGrad = [...parts.members.values()].filter(({ grad }) => grad !== undefined);
    return withGrad.map(({ section, tensor, grad }) => {
      return { section, tensor, array: 'grad', grad: grads === undefined ? undefined : grad };
    });
  } finally {
    release(parts);
  }
}
