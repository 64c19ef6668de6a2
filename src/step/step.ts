// A step. All that can be refused is checked before anything changes. The CPU step must not allocate, so loops are indexed
// (`for...of` may allocate an iterator) and options are read into fields.

import type { GpuMemory } from '../backends/memory.js';
import { expect, expectOptions, isRecord } from '../errors.js';
import { checkGradients, release, take, takeOwn } from './gradients.js';
import { checkTraining, forgetSums, type OptimizerState, type StepRequest } from './state.js';

/** How a step is to be taken. */
export interface StepOptions {
  /**
   * Whether more of this step's gradients come with the next call. Every call without it completes a step. Default false.
   */
  more?: boolean;
  /** The factor of this call's gradients, at least 0, besides the groups' own `gradScale`: to clip, say. Default 1. */
  gradScale?: number;
}

/** What is recorded with a step that completes so many: if it throws, the step is not counted. */
export type Also = (completed: number) => void;

/** A step by the gradients handed over; without any, or with `optimizer.grads` itself, by the optimizer's own. */
export function step(
  state: OptimizerState,
  isHandedOver: boolean,
  grads: unknown,
  encoder: GPUCommandEncoder | undefined,
  options: StepOptions | undefined,
  also?: Also,
): void {
  const { groups, plans, backend, request } = state;
  state.isBusy = true;
  try {
    read(request, options);
    checkTraining(state);
    // 1. Check the gradients, and note each with its tensor.
    const isGiven = isHandedOver && grads !== backend.grads;
    checkGradients(state, isGiven, encoder !== undefined);
    if (isGiven) take(state, grads, encoder !== undefined);
    else takeOwn(state);
    // 2. Find the runs of each group, and write their scalars.
    const factor = request.gradScale / Math.max(state.batches, 1);
    for (let g = 0; g < groups.length; g++) groups[g].prepare(state.completed, factor);
    state.changes += 1;
    backend.run(plans, encoder);
    if (!request.more) also?.(state.completed + 1);
    // 3. Count the step.
    for (let g = 0; g < groups.length; g++) groups[g].count(!request.more);
    state.isUnfinished = request.more;
    if (!request.more) state.completed += 1;
    if (state.batches > 0) forgetSums(state);
  } finally {
    release(state);
    state.isBusy = false;
  }
}

/** The arguments of `encode` after the encoder. */
export type EncodeArguments = [
  grads?: Readonly<Record<string, GpuMemory | null | undefined>> | undefined,
  options?: StepOptions | undefined,
];

/** A step that is recorded into the caller's encoder. */
export function encode(
  state: OptimizerState,
  encoder: GPUCommandEncoder,
  given: Readonly<EncodeArguments>,
  also?: Also,
): void {
  expect(typeof encoder?.beginComputePass === 'function', 'the encoder', 'a GPUCommandEncoder', encoder);
  step(state, given.length > 0, given[0], encoder, given[1], also);
}

const names = ['more', 'gradScale'];

/** Reads and checks the options of a step, each once: a getter may return another value the next time. */
function read(request: StepRequest, options: StepOptions | undefined): void {
  request.more = false;
  request.gradScale = 1;
  if (options === undefined) return;
  const given: StepOptions = options;
  expect(isRecord(options), 'the options of a step', 'a record', options);
  // By a loop, which allocates nothing.
  for (const name in options) {
    if (Object.hasOwn(options, name) && !names.includes(name)) expectOptions(options, 'a step', names);
  }
  const more = Object.hasOwn(given, 'more') ? given.more : undefined;
  const gradScale = Object.hasOwn(given, 'gradScale') ? given.gradScale : undefined;
  expect(more === undefined || typeof more === 'boolean', 'more', 'true or false', more);
  const isScale = gradScale === undefined || (Number.isFinite(gradScale) && gradScale >= 0);
  expect(isScale, 'gradScale', 'a finite number of at least 0 (maximize steps up the gradient)', gradScale);
  if (more !== undefined) request.more = more;
  if (gradScale !== undefined) request.gradScale = gradScale;
}
