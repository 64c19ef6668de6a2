// Runs a step. Checks everything before it changes anything. The CPU step must not allocate, so loops are indexed
// (`for...of` may allocate an iterator) and options are read into fields.

import { expect } from '../errors.js';
import { clip } from './clip.js';
import { assignGrads, assignOwnGrads, checkAccumulated, clearGrads } from './gradients.js';
import { recordSkippable } from './outcomes.js';
import { readStepOptions, type StepOptions } from './options.js';
import { checkTraining, forgetSums, type OptimizerState } from './state.js';

/** Runs when a step completes, before it is counted, with the new number of steps. If it throws, nothing is counted. */
type OnComplete = (completed: number) => void;

/**
 * Runs a step, or records it into `encoder`. Uses the optimizer's own gradients if `grads` was not passed or is
 * `optimizer.grads` itself.
 */
export function step(
  state: OptimizerState,
  isPassed: boolean,
  grads: unknown,
  encoder: GPUCommandEncoder | undefined,
  options: StepOptions | undefined,
  onComplete?: OnComplete,
): void {
  const { groups, plans, backend, request } = state;
  const isEncoded = encoder !== undefined;
  state.isBusy = true;
  try {
    readStepOptions(state, options);
    checkTraining(state);
    // 1. Check the gradients, and assign each to its tensor.
    const isOwn = !isPassed || grads === backend.grads;
    checkAccumulated(state, isOwn, isEncoded);
    if (isOwn) assignOwnGrads(state);
    else assignGrads(state, grads, isEncoded);
    // 2. Find the runs of each group, clip, write the scalars, and run the kernels. The GPU clips while it runs.
    for (let g = 0; g < groups.length; g++) groups[g].begin(state.completed, request, backend);
    request.factor = request.gradScale / Math.max(state.batches, 1);
    const isTaken = !request.maySkip || backend.measure === undefined || isEncoded || clip(state);
    state.changes += 1;
    if (isTaken) {
      for (let g = 0; g < groups.length; g++) groups[g].write(request, state.isDeferred);
      backend.run(plans, encoder, request);
      if (!request.more) onComplete?.(state.completed + 1);
    }
    // 3. Count the step.
    if (isEncoded) backend.countRecorded!();
    for (let g = 0; g < groups.length; g++) groups[g].count(!request.more, isTaken);
    state.isUnfinished = request.more;
    if (!request.more) state.completed += 1;
    if (request.maySkip) recordSkippable(state, isTaken);
    state.outcomes = undefined;
    if (state.batches > 0) forgetSums(state);
  } finally {
    clearGrads(state);
    state.isBusy = false;
  }
}

/** The arguments of `encode` after the encoder: gradients and options. */
export type EncodeArguments = readonly [grads?: unknown, options?: StepOptions];

/** Records a step into the caller's encoder. */
export function encode(
  state: OptimizerState,
  encoder: GPUCommandEncoder,
  rest: EncodeArguments,
  onComplete?: OnComplete,
): void {
  checkEncoder(encoder);
  step(state, rest.length > 0, rest[0], encoder, rest[1], onComplete);
}

/** Throws for anything else than an encoder. */
export function checkEncoder(encoder: GPUCommandEncoder): void {
  expect(typeof encoder?.beginComputePass === 'function', 'the encoder', 'a GPUCommandEncoder', encoder);
}
