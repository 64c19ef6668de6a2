// Making a step: all that can be refused comes first, so that a refusal changes nothing. The CPU step must not allocate,
// so loops are indexed (`for...of` may allocate an iterator).

import type { GroupOptions } from '../algorithms/algorithm.js';
import type { Backend } from '../backends/backend.js';
import { collect, collectOwn, forgetSums, release } from './gradients.js';
import { keepBooks, stepToTake } from './journal.js';
import { perform } from '../backends/outcomes.js';
import { checkFinished, checkTraining, stepperOf, type Parts } from './state.js';
import type { Rule } from '../rules/rule.js';
import { expect, expectOptions, isRecord, show } from '../errors.js';
import type { Stepper } from './group.js';

/** How a step is to be taken. */
export interface StepOptions {
  /** Whether more of this step's gradients are to come with the next call. Default false. */
  more?: boolean;
  /** The factor of this call's gradients, at least 0, besides the groups' own `gradScale`: to clip, say. Default 1. */
  gradScale?: number;
}

/** What is recorded with a step that completes so many: if it throws, the step is not counted. */
export type Also = (completed: number) => void;

/** A step by the gradients handed over; without any, or with `optimizer.grads` itself, by the optimizer's own. */
export function advance<Options extends GroupOptions>(
  parts: Parts<Options>,
  isHandedOver: boolean,
  grads: unknown,
  encoder: GPUCommandEncoder | undefined,
  options: StepOptions | undefined,
  also?: Also,
): void {
  // Not `busily`, whose closure would be an object per step.
  parts.isBusy = true;
  try {
    const isGiven = isHandedOver && grads !== parts.backend.grads;
    if (options === undefined) take(parts, isGiven, grads, encoder, also);
    else takeBy(options, parts, isGiven, grads, encoder, also);
  } finally {
    release(parts);
    parts.isBusy = false;
  }
}

/** Reads and checks the options. Not in `advance`: engines inline short functions. */
function takeBy<Options extends GroupOptions>(
  options: StepOptions,
  parts: Parts<Options>,
  isGiven: boolean,
  grads: unknown,
  encoder: GPUCommandEncoder | undefined,
  also: Also | undefined,
): void {
  checkNames(options);
  // Each is read once, since a getter may say something else the next time.
  const more = Object.hasOwn(options, 'more') ? options.more : undefined;
  const gradScale = Object.hasOwn(options, 'gradScale') ? options.gradScale : undefined;
  expect(more === undefined || typeof more === 'boolean', 'more', 'true or false', more);
  const isScale = gradScale === undefined || (Number.isFinite(gradScale) && gradScale >= 0);
  expect(isScale, 'gradScale', 'a finite number of at least 0 (maximize steps up the gradient)', gradScale);
  take(parts, isGiven, grads, encoder, also, more, gradScale);
}

function take<Options extends GroupOptions>(
  parts: Parts<Options>,
  isGiven: boolean,
  grads: unknown,
  encoder: GPUCommandEncoder | undefined,
  also: Also | undefined,
  more = false,
  gradScale = 1,
): void {
  const { steppers, backend, batches } = parts;
  checkTraining(parts);
  if (isGiven && batches > 0) {
    throw new Error(
      `There are accumulated gradients (batches: ${batches}): step() takes their mean, zeroGrad() drops it.`,
    );
  }
  if (encoder !== undefined && batches > 0) {
    throw new Error(
      'Accumulated gradients are taken by step(): what encode() records may be submitted after the next batch has come.',
    );
  }
  if (isGiven) collect(parts, grads, encoder !== undefined);
  else collectOwn(parts);
  if (parts.isUnfinished) checkOnce(parts);
  const step = stepToTake(parts, more);
  const factor = gradScale / Math.max(batches, 1);
  for (let g = 0; g < steppers.length; g++) steppers[g].prepare(step, factor);
  parts.changes += 1;
  // Gradients handed over may overwrite the sums: void them for late undos.
  if (isGiven) parts.sums += 1;
  const outcome = perform(backend, encoder, steppers, isGiven ? updateByGiven : update);
  if (!more) also?.(completedBy(parts, step));
  if (outcome === undefined) for (let g = 0; g < steppers.length; g++) steppers[g].commit(!more);
  else commitForNow(parts, outcome, more);
  keepBooks(parts, step, more);
  if (batches > 0) forgetSums(parts);
}

/** How many steps are completed once that of this number is counted. */
function completedBy<Options extends GroupOptions>({ steppers }: Parts<Options>, step: number): number {
  const isTaken = steppers.some(({ members }) =>
    members.some(({ grad, latest }) => grad !== undefined || latest === step),
  );
  return isTaken ? step + 1 : step;
}

/** Commits a step on the GPU, and undoes that if the device refuses the step late. */
function commitForNow<Options extends GroupOptions>(
  parts: Parts<Options>,
  outcome: Promise<Error | undefined>,
  more: boolean,
): void {
  const { steppers, batches, sums, outcomes, journal } = parts;
  const summed = batches > 0 ? [...parts.members.values()].filter(({ hasSum }) => hasSum) : [];
  const undo = steppers.map((stepper) => stepper.commitForNow(!more));
  const settle = journal.enter(parts, more);
  const giveBack = (): void => {
    settle(true);
    // The accumulated sum is still intact unless it was overwritten.
    if (summed.length === 0 || parts.sums !== sums + 1 || parts.batches > 0) return;
    parts.batches = batches;
    for (const member of summed) member.hasSum = true;
  };
  watch(parts, outcome, [...undo, giveBack]);
  outcomes.afterwards(() => settle(false));
}

const stepOptions = ['more', 'gradScale'];

/** Throws unless these are options of a step: by a loop, which allocates nothing. */
function checkNames(options: StepOptions): void {
  expect(isRecord(options), 'the options of a step', 'a record', options);
  for (const name in options) {
    if (Object.hasOwn(options, name) && !stepOptions.includes(name)) expectOptions(options, 'a step', stepOptions);
  }
}

/** Throws where a tensor has its second gradient within a step in parts. */
function checkOnce<Options extends GroupOptions>({ steppers }: Parts<Options>): void {
  for (let g = 0; g < steppers.length; g++) {
    const { members } = steppers[g];
    for (let i = 0; i < members.length; i++) {
      const { grad, isDone, tensor } = members[i];
      if (grad === undefined || !isDone) continue;
      throw new Error(`The gradient of ${show(tensor.name)} came a second time within one step.`);
    }
  }
}

/** Switches all groups, or one, to train mode or to eval mode. */
export function switchMode<Options extends GroupOptions>(
  parts: Parts<Options>,
  isTraining: boolean,
  group: number | undefined,
): void {
  const { algorithm, steppers, backend } = parts;
  // A late refusal may have reopened a step in parts, even in eval mode; only train mode can finish it.
  if (!isTraining) checkFinished(parts);
  const chosen = group === undefined ? steppers : [stepperOf(parts, group)];
  const changing = chosen.filter((stepper) => stepper.isTraining !== isTraining);
  if (algorithm.average === undefined || changing.length === 0) return;
  // A step that was refused may have left gradients behind, and none takes part in this.
  release(parts);
  for (const stepper of changing) stepper.prepareSwitch(!isTraining);
  parts.changes += 1;
  const { rule } = algorithm.average;
  const outcome = perform(backend, undefined, changing, () => update(backend, changing, rule));
  for (const stepper of changing) stepper.isTraining = isTraining;
  const undo = changing.map((stepper) => () => {
    stepper.isTraining = !isTraining;
  });
  watch(parts, outcome, undo);
}

function watch<Options extends GroupOptions>(
  parts: Parts<Options>,
  outcome: Promise<Error | undefined> | undefined,
  undo: readonly (() => void)[],
): void {
  parts.outcomes.watch(outcome, () => {
    for (const each of undo) each();
    parts.undone += 1;
  });
}

/** What the steppers have prepared, by gradients that were given: all of them are taken before the first update. */
function updateByGiven<Options extends GroupOptions>(backend: Backend, steppers: readonly Stepper<Options>[]): void {
  for (let g = 0; g < steppers.length; g++) {
    const { members } = steppers[g];
    for (let i = 0; i < members.length; i++) {
      const { section, tensor, grad } = members[i];
      if (grad !== undefined) backend.accept(section, tensor, grad);
    }
  }
  update(backend, steppers);
}

/** Runs what the steppers have prepared, each run by `rule`, or its group's own. */
function update<Options extends GroupOptions>(
  backend: Backend,
  steppers: readonly Stepper<Options>[],
  rule?: Rule,
): void {
  for (let g = 0; g < steppers.length; g++) {
    const { sections, rule: own } = steppers[g];
    for (let s = 0; s < sections.length; s++) {
      const { section, runs, count } = sections[s];
      for (let k = 0; k < count; k++) backend.update(section.index, rule ?? own, runs[k]);
    }
  }
}
