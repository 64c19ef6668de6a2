// Gradients on their way to a step.

import type { GroupOptions } from '../algorithms/algorithm.js';
import type { ArrayOf, Backend } from '../backends/backend.js';
import { locate, overlap, type GpuMemory } from '../backends/memory.js';
import { perform } from '../backends/outcomes.js';
import { checkFinished, checkTraining, memberOf, type Parts } from './state.js';
import type { TensorEntry } from '../backends/plan.js';
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

/** Gives every tensor the gradient that it takes this step with. Those that are frozen take none. */
export function collect<Options extends GroupOptions>(parts: Parts<Options>, grads: unknown, encoded = false): void {
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
    if (!member.tensor.isFrozen) member.grad = grad;
  }
  parts.backend.checkTogether?.(parts.members);
}

/** Stands for the gradient in the optimizer's own memory, which a backend needs not be told of. */
const OWN = true;

/** Gives every tensor the gradient that stands in the optimizer's own memory; if any were accumulated, those that were. */
export function collectOwn<Options extends GroupOptions>({ keepGrads, steppers, batches }: Parts<Options>): void {
  if (!keepGrads) throw new Error('This optimizer keeps no gradients (keepGrads: false): hand them over.');
  for (let g = 0; g < steppers.length; g++) {
    const { members } = steppers[g];
    for (let i = 0; i < members.length; i++) {
      const takesPart = !members[i].tensor.isFrozen && (batches === 0 || members[i].hasSum);
      members[i].grad = takesPart ? OWN : undefined;
    }
  }
}

/** Forgets the gradients, so that none of the caller's arrays is kept alive. */
export function release<Options extends GroupOptions>({ steppers }: Parts<Options>): void {
  for (let g = 0; g < steppers.length; g++) {
    const { members } = steppers[g];
    for (let i = 0; i < members.length; i++) members[i].grad = undefined;
  }
}

/** Adds gradients to those that were accumulated. */
export function accumulate<Options extends GroupOptions>(parts: Parts<Options>, grads: unknown): void {
  const { keepGrads, backend, members } = parts;
  checkFinished(parts);
  checkTraining(parts);
  if (!keepGrads) throw new Error('This optimizer keeps no gradients (keepGrads: false): none can be accumulated.');
  try {
    collect(parts, grads);
    const added = [...members.values()].filter(({ grad }) => grad !== undefined);
    for (const { tensor, grad } of added) {
      const { name } = tensor;
      if (!overlap(locate(grad, 'gradient', name), locate(backend.grads[name], 'gradient', name))) continue;
      throw new TypeError(`The gradient of ${show(name)} is that of optimizer.grads, to which it would be added.`);
    }
    const outcome = perform(backend, undefined, added, add, 'a batch of gradients');
    for (const member of added) member.hasSum = true;
    parts.batches += 1;
    // Should the device refuse this batch later, the sum is dropped, unless it has been taken or dropped since.
    const { sums } = parts;
    parts.outcomes.watch(outcome, () => {
      if (parts.sums === sums) forgetSums(parts);
    });
  } finally {
    release(parts);
  }
}

function add(backend: Backend, added: readonly TensorEntry[]): void {
  for (const { section, tensor, grad, hasSum } of added) backend.accumulate(section, tensor, grad, !hasSum);
}

/** Fills the optimizer's own gradients with zeros, and forgets what was accumulated. */
export function zeroGrad<Options extends GroupOptions>(parts: Parts<Options>): void {
  const outcome = perform(parts.backend, undefined, undefined, (backend) => backend.zeroGrad(), 'zeroGrad()');
  parts.outcomes.watch(outcome, () => {});
  forgetSums(parts);
}

/** Forgets what was accumulated. */
export function forgetSums<Options extends GroupOptions>(parts: Parts<Options>): void {
  parts.batches = 0;
  parts.sums += 1;
  for (const member of parts.members.values()) member.hasSum = false;
}

/** The norms of parameters and of the gradients given, or without any of the optimizer's own. */
export async function norms<Options extends GroupOptions>(
  parts: Parts<Options>,
  grads: { given: unknown } | undefined,
): Promise<Record<string, Norms>> {
  const ofGrads = gradSources(parts, grads);
  const ofParams = [...parts.members.values()].map(({ section, tensor }) => ({ section, tensor, array: 'param' }));
  const batches = grads === undefined ? Math.max(parts.batches, 1) : 1;
  const values = await parts.outcomes.settle(parts.backend.norms([...ofParams, ...ofGrads]));
  const byName = new Map(ofParams.map(({ tensor }, i): [string, Norms] => [tensor.name, { param: values[i] }]));
  for (const [i, { tensor }] of ofGrads.entries()) {
    byName.get(tensor.name)!.grad = values[ofParams.length + i] / batches;
  }
  return Object.fromEntries(byName);
}

/** Where the gradients are that a step would take. */
function gradSources<Options extends GroupOptions>(
  parts: Parts<Options>,
  grads: { given: unknown } | undefined,
): (ArrayOf & { readonly grad?: unknown })[] {
  try {
    if (grads !== undefined) collect(parts, grads.given);
    else if (parts.keepGrads) collectOwn(parts);
    const withGrad = [...parts.members.values()].filter(({ grad }) => grad !== undefined);
    return withGrad.map(({ section, tensor, grad }) => {
      return { section, tensor, array: 'grad', grad: grads === undefined ? undefined : grad };
    });
  } finally {
    release(parts);
  }
}
