// What an optimizer is made of.

import type { AnyAlgorithm, GroupOptions } from '../algorithms/algorithm.js';
import type { Backend, WasmSource } from '../backends/backend.js';
import type { ByteRange } from '../backends/memory.js';
import type { Failure } from './failure.js';
import type { Plan, TensorEntry } from '../backends/plan.js';
import { expect, noParameter } from '../errors.js';
import type { LiveGroup, Stepper } from './group.js';

/** The options of the step that is being made, each read once. */
export interface StepRequest {
  more: boolean;
  gradScale: number;
}

/** All that an optimizer holds until it is disposed of. */
export interface OptimizerState {
  readonly algorithm: AnyAlgorithm;
  /** The options that groups have unless they have their own. */
  readonly common: Record<string, unknown>;
  /** Where the parameters were that it was made from. */
  readonly memory: ByteRange['kind'];
  /** Whether there is memory for all gradients. */
  readonly keepGrads: boolean;
  /** The kernels of the CPU, if the caller brought them. */
  readonly wasm: WasmSource | undefined;
  readonly backend: Backend;
  readonly failure: Failure;
  readonly steppers: Stepper[];
  /** What a step runs, one for each group. */
  readonly plans: Plan[];
  /** How many sections, and tensors, there have been so far. */
  sections: number;
  tensors: number;
  /** What `optimizer.groups` shows of them. */
  readonly groups: LiveGroup<GroupOptions>[];
  readonly members: Map<string, TensorEntry>;
  /** The same in the caller's order, in which gradients are likely to come, too. */
  inOrder: TensorEntry[];
  /** Names of tensors that were removed: a decay mask may still have them. */
  readonly removed: Set<string>;
  /** Completed steps of the optimizer, as schedules count them. */
  completed: number;
  /** How many batches of gradients were accumulated since the last step. */
  batches: number;
  /** The options of the step that is being made. */
  readonly request: StepRequest;
  /** Whether the latest step has gradients still to come. */
  isUnfinished: boolean;
  /** Whether parameters are being added. */
  isAdding: boolean;
  /** Whether functions of the caller's may be running within a call: a schedule, a decay mask, a getter. */
  isBusy: boolean;
  /** How often the state was changed. */
  changes: number;
}

/** Takes in a group that is new. */
export function takeGroup(parts: OptimizerState, stepper: Stepper): void {
  parts.steppers.push(stepper);
  parts.plans.push(stepper.plan);
  parts.groups.push(stepper.live);
  register(parts, stepper.members);
}

/** Makes the members of a new section known by name, and in the caller's order. */
export function register(parts: OptimizerState, members: readonly TensorEntry[]): void {
  parts.sections += 1;
  parts.tensors += members.length;
  for (const member of members.toSorted((a, b) => a.tensor.index - b.tensor.index)) {
    parts.members.set(member.tensor.name, member);
    parts.inOrder.push(member);
  }
}

export function memberOf({ members }: OptimizerState, name: string): TensorEntry {
  const member = members.get(name);
  if (member !== undefined) return member;
  expect(typeof name === 'string', 'the parameter', 'a name', name);
  const names = [...members.keys()];
  throw new RangeError(noParameter([name], '', names));
}

export function groupOf({ steppers }: OptimizerState, group: unknown): Stepper {
  const isOne = Number.isInteger(group) && steppers[group as number] !== undefined;
  expect(isOne, 'the group', `an index below ${steppers.length}`, group);
  return steppers[group as number];
}

/** Throws where what is saved or loaded would not be the whole: in the midst of a step, or of several batches. */
export function checkWhole(parts: OptimizerState): void {
  checkFinished(parts);
  if (parts.batches === 0) return;
  const how = 'they are no part of the state: step() takes their mean, zeroGrad() drops it';
  throw new Error(`There are accumulated gradients (batches: ${parts.batches}), and ${how}.`);
}

/** How often the state or an option was changed: an assignment that comes meanwhile must not be lost. */
export function changesOf({ changes, steppers }: OptimizerState): number {
  return steppers.reduce((sum, { liveOptions }) => sum + liveOptions.assignments, changes);
}

/** Forgets what was accumulated. */
export function forgetSums(parts: OptimizerState): void {
  parts.batches = 0;
  for (const member of parts.members.values()) member.hasSum = false;
}

/** Forgets the parts of an unfinished step, and what was accumulated. */
export function endStep(parts: OptimizerState): void {
  parts.isUnfinished = false;
  for (const member of parts.members.values()) member.isDone = false;
  forgetSums(parts);
}

/** Runs `work`, while `isBusy`. */
export function busily<Result>(parts: OptimizerState, work: (parts: OptimizerState) => Result): Result {
  parts.isBusy = true;
  try {
    return work(parts);
  } finally {
    parts.isBusy = false;
  }
}

/** Throws on re-entry: a schedule must not call the optimizer that is calling it. */
export function checkIdle({ isBusy }: OptimizerState, method: string): void {
  if (isBusy) throw reentered(method);
}

const reentered = (method: string): Error =>
  new Error(`${method}() was called in the midst of another call: a schedule must not call its own optimizer.`);

/** Throws between the parts of a step, for what must not be done there. */
export function checkFinished({ isUnfinished }: OptimizerState): void {
  if (!isUnfinished) return;
  throw new Error('A step is unfinished: its last gradients are to come, by a step() without `more`.');
}

/** Throws where parameters are averages, at which no gradients are taken. */
export function checkTraining({ steppers }: OptimizerState): void {
  if (steppers.every(({ isTraining }) => isTraining)) return;
  throw new Error(
    'Gradients came in eval mode, where the parameters are averages: call train() before they are taken.',
  );
}
