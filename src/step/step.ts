// Runs a step. Checks everything before it changes anything. The CPU step must not allocate, so loops are indexed
// (`for...of` may allocate an iterator) and options are read into fields.

import { expect, expectOptions, isRecord } from '../errors.js';
import { assignGrads, assignOwnGrads, checkAccumulated, clearGrads } from './gradients.js';
import { checkTraining, forgetSums, type OptimizerState, type StepRequest } from './state.js';

/** The options of a step. */
export interface StepOptions {
  /**
   * true: this call has only some of the step's gradients, and the next call continues the same step. false: this call
   * completes the step. Default false.
   */
  more?: boolean | undefined;
  /**
   * Multiplies the gradients of this call, in addition to the groups' own `gradScale`: for clipping, for example. At
   * least 0. Default 1.
   */
  gradScale?: number | undefined;
}

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
    readOptions(request, options);
    checkTraining(state);
    // 1. Check the gradients, and assign each to its tensor.
    const isOwn = !isPassed || grads === backend.grads;
    checkAccumulated(state, isOwn, isEncoded);
    if (isOwn) assignOwnGrads(state);
    else assignGrads(state, grads, isEncoded);
    // 2. Find the runs of each group, write their scalars, and run the kernels.
    const factor = request.gradScale / Math.max(state.batches, 1);
    for (let g = 0; g < groups.length; g++) groups[g].prepare(state.completed, factor);
    state.changes += 1;
    backend.run(plans, encoder);
    if (!request.more) onComplete?.(state.completed + 1);
    // 3. Count the step.
    if (isEncoded) backend.countRecorded!();
    for (let g = 0; g < groups.length; g++) groups[g].count(!request.more);
    state.isUnfinished = request.more;
    if (!request.more) state.completed += 1;
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

const optionNames = ['more', 'gradScale'];

/** Reads and checks the options of a step. Reads each once: a getter may return another value the next time. */
function readOptions(request: StepRequest, options: StepOptions | undefined): void {
  request.more = false;
  request.gradScale = 1;
  if (options === undefined) return;
  // `expect` would widen the types of `options`.
  const given: StepOptions = options;
  expect(isRecord(options), 'the options of a step', 'a record', options);
  // A for...in loop allocates nothing.
  for (const name in options) {
    if (Object.hasOwn(options, name) && !optionNames.includes(name)) expectOptions(options, 'a step', optionNames);
  }
  const more = Object.hasOwn(given, 'more') ? given.more : undefined;
  const gradScale = Object.hasOwn(given, 'gradScale') ? given.gradScale : undefined;
  expect(more === undefined || typeof more === 'boolean', 'more', 'true or false', more);
  const isScale = gradScale === undefined || (Number.isFinite(gradScale) && gradScale >= 0);
  expect(isScale, 'gradScale', 'a finite number of at least 0 (maximize steps up the gradient)', gradScale);
  if (more !== undefined) request.more = more;
  if (gradScale !== undefined) request.gradScale = gradScale;
}
