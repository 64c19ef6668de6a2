// Gradients: checks them, assigns each to its tensor for a step, accumulates them, and computes norms.

import type { ArrayOf } from '../backends/backend.js';
import type { GpuMemory } from '../backends/memory.js';
import { awaitRead, checkFinished, checkTraining, entryOf, forgetSums, type OptimizerState } from './state.js';
import { OWN, type TensorEntry } from '../backends/plan.js';
import type { Tensors } from '../inputs/given.js';
import { expect, isRecord, show } from '../errors.js';

/** A gradient: values to copy or upload, or a GPU buffer to bind. Null and undefined mean no gradient. */
export type Gradient = Float32Array | GpuMemory | null | undefined;

/** Gradients by name. */
export type Gradients<Names extends string = string> = { readonly [Name in Names]?: Gradient };

/**
 * Gradients as a method takes them, whose values are of the type `Of`. Where the names of the tensors are not known, an
 * interface is accepted, too, which has no index signature.
 */
export type GivenGradients<Names extends string, Given, Of = Gradient> = string extends Names
  ? Tensors<Of> | (Given & { readonly [Name in keyof Given]: Of })
  : { readonly [Name in Names]?: Of };

/** The L2 norms of a tensor. */
export interface Norms {
  /** The norm of the parameter. */
  param: number;
  /** The norm of its gradient. Absent if the tensor has no gradient. */
  grad?: number;
}

/** Throws if gradients were accumulated and a step cannot use them: it was given others, or it is encoded. */
export function checkAccumulated({ batches }: OptimizerState, isOwn: boolean, isEncoded: boolean): void {
  if (batches === 0) return;
  if (!isOwn) {
    throw new Error(
      `There are accumulated gradients (batches: ${batches}): step() uses their mean, zeroGrad() drops them.`,
    );
  }
  if (isEncoded) {
    throw new Error(
      'Accumulated gradients need step(): what encode() records may be submitted after the next batch was added.',
    );
  }
}

const RECORD = 'a record by name';
const RECORD_OR_OWN = `${RECORD} (such as optimizer.grads)`;

/** Checks the caller's gradients, and assigns each to its tensor. Frozen tensors get none. */
export function assignGrads(state: OptimizerState, grads: unknown, isEncoded = false): void {
  expect(isRecord(grads), 'gradients', state.keepGrads ? RECORD_OR_OWN : RECORD, grads);
  clearGrads(state);
  let i = 0;
  for (const name in grads) {
    // V8 optimizes this form in a for...in loop, but not Object.hasOwn.
    if (!Object.prototype.hasOwnProperty.call(grads, name)) continue;
    const grad = grads[name];
    const next = state.entriesInOrder[i++];
    if (grad === null || grad === undefined) continue;
    // Gradients usually come in order. A lookup by name would take as long as all checks of a gradient.
    const entry = next?.tensor.name === name ? next : entryOf(state, name);
    state.backend.check(entry.tensor, grad, isEncoded);
    if (!entry.tensor.isFrozen) assign(entry, grad);
  }
  state.backend.checkTogether?.(state.entries);
}

/** Assigns the optimizer's own gradient to each tensor; after accumulation, only to those that have a sum. */
export function assignOwnGrads({ keepGrads, groups, batches }: OptimizerState): void {
  if (!keepGrads) throw new Error('This optimizer keeps no gradients (keepGrads: false): pass them to the call.');
  for (let g = 0; g < groups.length; g++) {
    const { entries } = groups[g];
    for (let i = 0; i < entries.length; i++) {
      const entry = entries[i];
      const isPart = !entry.tensor.isFrozen && (batches === 0 || entry.hasSum);
      if (isPart) assign(entry, OWN);
      else entry.grad = undefined;
    }
  }
}

/** Assigns a gradient to a tensor. Throws if an earlier call of the same step had one for it. */
function assign(entry: TensorEntry, grad: unknown): void {
  if (entry.isDone) throw new Error(`Got a second gradient of ${show(entry.tensor.name)} in the same step.`);
  entry.grad = grad;
}

/** Clears the gradients of all tensors, so that the caller's arrays can be freed. */
export function clearGrads({ groups }: OptimizerState): void {
  for (let g = 0; g < groups.length; g++) {
    const { entries } = groups[g];
    for (let i = 0; i < entries.length; i++) entries[i].grad = undefined;
  }
}

/** Adds the gradients of a batch to the accumulated ones. */
export function accumulate(state: OptimizerState, grads: unknown): void {
  const { keepGrads, backend, entries } = state;
  checkFinished(state);
  checkTraining(state);
  if (!keepGrads) throw new Error('This optimizer keeps no gradients (keepGrads: false): it cannot accumulate them.');
  // Does not name optimizer.grads, which cannot be added to itself.
  expect(isRecord(grads), 'gradients', RECORD, grads);
  try {
    assignGrads(state, grads);
    const added = [...entries.values()].filter(({ grad }) => grad !== undefined);
    for (const { tensor, grad } of added) {
      if (!backend.isOwn(tensor, grad)) continue;
      throw new TypeError(`The gradient of ${show(tensor.name)} is in optimizer.grads: cannot add it to itself.`);
    }
    backend.accumulate(added);
    for (const entry of added) entry.hasSum = true;
    state.batches += 1;
  } finally {
    clearGrads(state);
  }
}

/** Fills the optimizer's own gradients with zeros, and forgets accumulated ones. */
export function zeroGrad(state: OptimizerState): void {
  state.backend.zeroGrad();
  forgetSums(state);
}

/** Resolves to the norms of all parameters, and of the given gradients, or else of the optimizer's own. */
export async function norms(
  state: OptimizerState,
  grads: { given: unknown } | undefined,
): Promise<Record<string, Norms>> {
  const ofGrads = gradSources(state, grads);
  const ofParams = [...state.entries.values()].map(({ section, tensor }) => ({
    section,
    tensor,
    array: 'param',
    grad: undefined,
  }));
  const batches = grads === undefined ? Math.max(state.batches, 1) : 1;
  const values = await awaitRead(state, state.backend.norms([...ofParams, ...ofGrads]));
  const byName = new Map(ofParams.map(({ tensor }, i): [string, Norms] => [tensor.name, { param: values[i] }]));
  for (const [i, { tensor }] of ofGrads.entries()) {
    byName.get(tensor.name)!.grad = values[ofParams.length + i] / batches;
  }
  return Object.fromEntries(byName);
}

/** Returns where the gradients are that a step would use. */
function gradSources(
  state: OptimizerState,
  grads: { given: unknown } | undefined,
): (ArrayOf & { readonly grad?: unknown })[] {
  try {
    if (grads !== undefined) assignGrads(state, grads.given);
    else if (state.keepGrads) assignOwnGrads(state);
    const withGrad = [...state.entries.values()].filter(({ grad }) => grad !== undefined);
    return withGrad.map(({ section, tensor, grad }) => {
      return { section, tensor, array: 'grad', grad: grads === undefined ? undefined : grad };
    });
  } finally {
    clearGrads(state);
  }
}
