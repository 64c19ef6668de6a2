// Gradients on their way to a step.

import type { ArrayOf } from '../backends/backend.js';
import type { GpuMemory } from '../backends/memory.js';
import { checkFinished, checkTraining, entryOf, forgetSums, settle, type OptimizerState } from './state.js';
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
export function take(state: OptimizerState, grads: unknown, encoded = false): void {
  expect(isRecord(grads), 'gradients', 'a record by name', grads);
  release(state);
  let i = 0;
  for (const name in grads) {
    // Not Object.hasOwn: of this form V8 knows the answer for a key of the loop.
    if (!Object.prototype.hasOwnProperty.call(grads, name)) continue;
    const grad = grads[name];
    const next = state.entriesInOrder[i++];
    if (grad === null || grad === undefined) continue;
    // To look it up takes as long as all else that is asked of a gradient.
    const entry = next?.tensor.name === name ? next : entryOf(state, name);
    state.backend.check(entry.tensor, grad, encoded);
    if (!entry.tensor.isFrozen) note(entry, grad);
  }
  state.backend.checkTogether?.(state.entries);
}

/** Notes for each tensor the gradient in the optimizer's own memory; if any were accumulated, only those that were. */
export function takeOwn({ keepGrads, groups, batches }: OptimizerState): void {
  if (!keepGrads) throw new Error('This optimizer keeps no gradients (keepGrads: false): hand them over.');
  for (let g = 0; g < groups.length; g++) {
    const { entries } = groups[g];
    for (let i = 0; i < entries.length; i++) {
      const entry = entries[i];
      const isPart = !entry.tensor.isFrozen && (batches === 0 || entry.hasSum);
      if (isPart) note(entry, OWN);
      else entry.grad = undefined;
    }
  }
}

/** Notes the gradient of a tensor. Throws if it had one before in a step that is not finished. */
function note(entry: TensorEntry, grad: unknown): void {
  if (entry.isDone) {
    throw new Error(`The gradient of ${show(entry.tensor.name)} came a second time within one step.`);
  }
  entry.grad = grad;
}

/** Forgets the gradients, so that none of the caller's arrays is kept alive. */
export function release({ groups }: OptimizerState): void {
  for (let g = 0; g < groups.length; g++) {
    const { entries } = groups[g];
    for (let i = 0; i < entries.length; i++) entries[i].grad = undefined;
  }
}

/** Adds gradients to those that were accumulated. */
export function accumulate(state: OptimizerState, grads: unknown): void {
  const { keepGrads, backend, entries } = state;
  checkFinished(state);
  checkTraining(state);
  if (!keepGrads) throw new Error('This optimizer keeps no gradients (keepGrads: false): none can be accumulated.');
  try {
    take(state, grads);
    const added = [...entries.values()].filter(({ grad }) => grad !== undefined);
    for (const { tensor, grad } of added) {
      if (!backend.isOwn(tensor, grad)) continue;
      throw new TypeError(
        `The gradient of ${show(tensor.name)} is that of optimizer.grads, to which it would be added.`,
      );
    }
    backend.accumulate(added);
    for (const entry of added) entry.hasSum = true;
    state.batches += 1;
  } finally {
    release(state);
  }
}

/** Fills the optimizer's own gradients with zeros, and forgets what was accumulated. */
export function zeroGrad(state: OptimizerState): void {
  state.backend.zeroGrad();
  forgetSums(state);
}

/** The norms of parameters and of the gradients given, or without any of the optimizer's own. */
export async function norms(
  state: OptimizerState,
  grads: { given: unknown } | undefined,
): Promise<Record<string, Norms>> {
  const ofGrads = gradSources(state, grads);
  const ofParams = [...state.entries.values()].map(({ section, tensor }) => ({ section, tensor, array: 'param' }));
  const batches = grads === undefined ? Math.max(state.batches, 1) : 1;
  const values = await settle(state, state.backend.norms([...ofParams, ...ofGrads]));
  const byName = new Map(ofParams.map(({ tensor }, i): [string, Norms] => [tensor.name, { param: values[i] }]));
  for (const [i, { tensor }] of ofGrads.entries()) {
    byName.get(tensor.name)!.grad = values[ofParams.length + i] / batches;
  }
  return Object.fromEntries(byName);
}

/** Where the gradients are that a step would take. */
function gradSources(
  state: OptimizerState,
  grads: { given: unknown } | undefined,
): (ArrayOf & { readonly grad?: unknown })[] {
  try {
    if (grads !== undefined) take(state, grads.given);
    else if (state.keepGrads) takeOwn(state);
    const withGrad = [...state.entries.values()].filter(({ grad }) => grad !== undefined);
    return withGrad.map(({ section, tensor, grad }) => {
      return { section, tensor, array: 'grad', grad: grads === undefined ? undefined : grad };
    });
  } finally {
    release(state);
  }
}
