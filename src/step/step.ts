// A step. All that can be refused is checked before anything changes. The CPU step must not allocate, so loops are indexed
// (`for...of` may allocate an iterator) and options are read into fields.

import { expect, expectOptions, isRecord } from '../errors.js';
import { checkGradients, release, take, takeOwn } from './gradients.js';
import { checkFinished, checkTraining, forgetSums, groupOf, type OptimizerState, type StepRequest } from './state.js';

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
  parts: OptimizerState,
  isHandedOver: boolean,
  grads: unknown,
  encoder: GPUCommandEncoder | undefined,
  options: StepOptions | undefined,
  also?: Also,
): void {
  const { steppers, plans, backend, request } = parts;
  parts.isBusy = true;
  try {
    read(request, options);
    checkTraining(parts);
    // 1. Check the gradients, and note each with its tensor.
    const isGiven = isHandedOver && grads !== backend.grads;
    checkGradients(parts, isGiven, encoder !== undefined);
    if (isGiven) take(parts, grads, encoder !== undefined);
    else takeOwn(parts);
    // 2. Find the runs of each group, and write their scalars.
    const factor = request.gradScale / Math.max(parts.batches, 1);
    for (let g = 0; g < steppers.length; g++) steppers[g].prepare(parts.completed, factor);
    parts.changes += 1;
    const outcome = backend.run(plans, encoder);
    if (!request.more) also?.(parts.completed + 1);
    // 3. Count the step.
    for (let g = 0; g < steppers.length; g++) steppers[g].count(!request.more);
    parts.isUnfinished = request.more;
    if (!request.more) parts.completed += 1;
    if (parts.batches > 0) forgetSums(parts);
    parts.failure.watch(outcome);
  } finally {
    release(parts);
    parts.isBusy = false;
  }
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

/** Switches all groups, or one, to train mode or to eval mode. */
export function switchMode(parts: OptimizerState, isTraining: boolean, group: number | undefined): void {
  const { algorithm, steppers, backend } = parts;
  if (!isTraining) checkFinished(parts);
  const chosen = group === undefined ? steppers : [groupOf(parts, group)];
  const changing = chosen.filter((stepper) => stepper.isTraining !== isTraining);
  if (algorithm.average === undefined || changing.length === 0) return;
  parts.changes += 1;
  const outcome = backend.run(
    changing.map((stepper) => stepper.prepareSwitch(!isTraining)),
    undefined,
  );
  for (const stepper of changing) stepper.isTraining = isTraining;
  parts.failure.watch(outcome);
}
