// Making a step: all that can be refused comes first, so that a refusal finds everything as it was.

import type { GroupOptions } from './algorithms/algorithm.js';
import type { Backend } from './backends/backend.js';
import { collect, collectOwn, forgetSums, release } from './gradients.js';
import { perform } from './outcomes.js';
import { checkFinished, stepperOf, type Parts } from './parts.js';
import type { Rule } from './rules/rule.js';
import { expect } from './sentences.js';
import type { Stepper } from './stepper.js';

/** How a step is to be taken. */
export interface StepOptions {
  /** Whether more of this step's gradients are to come with the next call. Default false. */
  more?: boolean;
}

/** A step by the gradients given, or by the optimizer's own. */
export function advance<Options extends GroupOptions>(
  parts: Parts<Options>,
  isGiven: boolean,
  grads: unknown,
  encoder: GPUCommandEncoder | undefined,
  { more = false }: StepOptions,
): void {
  const { steppers, backend, batches } = parts;
  expect(typeof more === 'boolean', 'more', 'true or false', more);
  if (!steppers.every(({ isTraining }) => isTraining)) {
    throw new Error('A step was taken in eval mode, where the parameters are averages: call train() before gradients.');
  }
  if (isGiven && batches > 0) {
    throw new Error(
      `There are accumulated gradients (batches: ${batches}): step() takes their mean, zeroGrad() drops it.`,
    );
  }
  if (isGiven) collect(parts, grads, encoder !== undefined);
  else collectOwn(parts);
  for (const stepper of steppers) stepper.prepare(Math.max(batches, 1));
  parts.changes += 1;
  const outcome = update(backend, steppers, encoder);
  if (outcome === undefined) {
    for (const stepper of steppers) stepper.commit(!more);
  } else {
    const undo = steppers.map((stepper) => stepper.commitForNow(!more));
    watch(parts, outcome, undo);
  }
  release(parts);
  if (batches > 0) forgetSums(parts);
  parts.isUnfinished = more;
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
    parts.changes += 1;
    for (const each of undo) each();
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
