// Making a step: all that can be refused comes first, so that a refusal finds everything as it was.

import type { GroupOptions } from './algorithms/algorithm.js';
import type { Backend } from './backends/backend.js';
import { collect, collectOwn, forgetSums, release } from './gradients.js';
import { perform } from './outcomes.js';
import { checkFinished, checkTraining, stepperOf, type Parts } from './parts.js';
import type { Rule } from './rules/rule.js';
import { expect, list, show } from './sentences.js';
import type { Stepper } from './stepper.js';

/** How a step is to be taken. */
export interface StepOptions {
  /** Whether more of this step's gradients are to come with the next call. Default false. */
  more?: boolean;
  /** What the gradients of this call are multiplied by, besides the groups' own `gradScale`: to clip, say. Default 1. */
  gradScale?: number;
}

/** A step by the gradients given, or by the optimizer's own. */
export function advance<Options extends GroupOptions>(
  parts: Parts<Options>,
  isGiven: boolean,
  grads: unknown,
  encoder: GPUCommandEncoder | undefined,
  options: StepOptions,
): void {
  const { steppers, backend, batches } = parts;
  checkOptions(options);
  const { more = false, gradScale = 1 } = options;
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
  try {
    if (isGiven) collect(parts, grads, encoder !== undefined);
    else collectOwn(parts);
    const step = isNext(parts) ? parts.step + 1 : parts.step;
    for (const stepper of steppers) stepper.prepare(step, gradScale / Math.max(batches, 1));
    parts.changes += 1;
    const outcome = update(backend, steppers, encoder);
    if (outcome === undefined) for (const stepper of steppers) stepper.commit(!more, step);
    else commitForNow(parts, outcome, !more, step);
    parts.step = step;
  } finally {
    release(parts);
  }
  if (batches > 0) forgetSums(parts);
  parts.isUnfinished = more;
}

/** Commits what may turn out not to have been done, and then takes it back. */
function commitForNow<Options extends GroupOptions>(
  parts: Parts<Options>,
  outcome: Promise<Error | undefined>,
  isLast: boolean,
  step: number,
): void {
  const { steppers, batches, isUnfinished, sums } = parts;
  const summed = batches > 0 ? [...parts.members.values()].filter(({ hasSum }) => hasSum) : [];
  const undo = steppers.map((stepper) => stepper.commitForNow(isLast, step));
  const changes = parts.changes;
  const giveBack = (): void => {
    if (parts.changes === changes) parts.isUnfinished = isUnfinished;
    // Gradients that were summed up stand where they stood, unless others have come.
    if (summed.length === 0 || parts.sums !== sums + 1 || parts.batches > 0) return;
    parts.batches = batches;
    for (const member of summed) member.hasSum = true;
  };
  watch(parts, outcome, [giveBack, ...undo]);
}

const stepOptions = ['more', 'gradScale'];

function checkOptions(options: StepOptions): void {
  expect(typeof options === 'object' && options !== null, 'the options of a step', 'a record', options);
  const { more = false, gradScale = 1 } = options;
  for (const name in options) {
    if (!stepOptions.includes(name))
      throw new TypeError(`A step has the options ${list(stepOptions)}, got ${show(name)}.`);
  }
  expect(typeof more === 'boolean', 'more', 'true or false', more);
  const isFinite = Number.isFinite(gradScale);
  expect(isFinite, 'gradScale', 'a finite number', gradScale);
}

/** Whether a tensor has its second gradient since this step began; none may within a step in parts. */
function isNext<Options extends GroupOptions>({ steppers, step }: Parts<Options>): boolean {
  let isRepeated = false;
  for (const { members } of steppers) {
    for (const { grad, isDone, latest, tensor } of members) {
      if (grad === undefined) continue;
      if (isDone) throw new Error(`The gradient of ${show(tensor.name)} came a second time within one step.`);
      isRepeated ||= latest === step;
    }
  }
  return isRepeated;
}

/** Has the parameters of all groups, or of one, be what is trained, or the average. */
export function switchMode<Options extends GroupOptions>(
  parts: Parts<Options>,
  isTraining: boolean,
  group: number | undefined,
): void {
  const { algorithm, steppers, backend } = parts;
  checkFinished(parts);
  const chosen = group === undefined ? steppers : [stepperOf(parts, group)];
  const changing = chosen.filter((stepper) => stepper.isTraining !== isTraining);
  if (algorithm.average === undefined || changing.length === 0) return;
  // A step that was refused may have left gradients behind, and none takes part in this.
  release(parts);
  for (const stepper of changing) stepper.prepareSwitch(!isTraining);
  parts.changes += 1;
  const outcome = update(backend, changing, undefined, algorithm.average.rule);
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
    parts.changes += 1;
  });
}

/**
 * Runs what the steppers have prepared: their gradients are taken, all of them before the first update, and then each
 * run goes by `rule`, or its group's own.
 */
function update<Options extends GroupOptions>(
  backend: Backend,
  steppers: readonly Stepper<Options>[],
  encoder: GPUCommandEncoder | undefined,
  rule?: Rule,
): Promise<Error | undefined> | undefined {
  return perform(backend, encoder, () => {
    for (const { members } of steppers) {
      for (const { section, tensor, grad } of members) {
        if (grad !== undefined) backend.accept(section, tensor, grad);
      }
    }
    for (const { sections, rule: own } of steppers) {
      for (const { section, runs, count } of sections) {
        for (let k = 0; k < count; k++) backend.update(section.index, rule ?? own, runs[k]);
      }
    }
  });
}
