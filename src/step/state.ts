// What an optimizer is made of.

import type { AnyAlgorithm, GroupOptions } from '../algorithms/algorithm.js';
import type { Backend, WasmSource } from '../backends/backend.js';
import type { ByteRange } from '../backends/memory.js';
import type { Plan, TensorEntry } from '../backends/plan.js';
import { expect, noParameter } from '../errors.js';
import type { Group, LiveGroup } from './group.js';

/** The options of the step that is being made, each read once. */
export interface StepRequest {
  more: boolean;
  gradScale: number;
}

/** How to change between training and the average to evaluate, and how to read the latter. */
export interface Modes {
  switchTo(state: OptimizerState, groups: readonly Group[], isTraining: boolean): void;
  readAverage(state: OptimizerState, entry: TensorEntry): Promise<Float32Array>;
}

/** All that an optimizer holds until it is disposed of. */
export interface OptimizerState {
  readonly algorithm: AnyAlgorithm;
  /** Undefined for an algorithm without modes. */
  readonly modes: Modes | undefined;
  /** The options that groups have unless they have their own. */
  readonly common: Record<string, unknown>;
  /** Where the parameters were that it was made from. */
  readonly memory: ByteRange['kind'];
  /** Whether there is memory for all gradients. */
  readonly keepGrads: boolean;
  /** The kernels of the CPU, if the caller brought them. */
  readonly wasm: WasmSource | undefined;
  readonly backend: Backend;
  readonly groups: Group[];
  /** What a step runs, one for each group. */
  readonly plans: Plan[];
  /** How many sections, and tensors, there have been so far. */
  sections: number;
  tensors: number;
  /** What `optimizer.groups` shows of them. */
  readonly shownGroups: LiveGroup<GroupOptions>[];
  readonly entries: Map<string, TensorEntry>;
  /** The same in the caller's order, in which gradients are likely to come, too. */
  entriesInOrder: TensorEntry[];
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

/**
 * Throws if the optimizer cannot be used: it was disposed of, its memory is lost, or the device reported an error, which
 * does not matter to what `mends` the state.
 */
export function checkUsable({ backend }: OptimizerState, mends = false): void {
  if (backend.lost !== undefined) throw new Error(backend.lost);
  if (backend.failed !== undefined && !mends) throw backend.failed;
}

/** Resolves to what is read, if the optimizer can still be used by then. */
export async function settle<Read>(state: OptimizerState, read: Promise<Read>): Promise<Read> {
  const values = await read;
  checkUsable(state);
  return values;
}

/** Takes in a group that is new. */
export function takeGroup(state: OptimizerState, group: Group): void {
  state.groups.push(group);
  state.plans.push(group.plan);
  state.shownGroups.push(group.liveOptions.shown as LiveGroup<GroupOptions>);
  register(state, group.entries);
}

/** Makes the entries of a new section known by name, and in the caller's order. */
export function register(state: OptimizerState, entries: readonly TensorEntry[]): void {
  state.sections += 1;
  state.tensors += entries.length;
  for (const entry of entries.toSorted((a, b) => a.tensor.index - b.tensor.index)) {
    state.entries.set(entry.tensor.name, entry);
    state.entriesInOrder.push(entry);
  }
}

export function entryOf({ entries }: OptimizerState, name: string): TensorEntry {
  const entry = entries.get(name);
  if (entry !== undefined) return entry;
  expect(typeof name === 'string', 'the parameter', 'a name', name);
  const names = [...entries.keys()];
  throw new RangeError(noParameter([name], '', names));
}

export function groupOf({ groups }: OptimizerState, index: unknown): Group {
  const isOne = Number.isInteger(index) && groups[index as number] !== undefined;
  expect(isOne, 'the group', `an index below ${groups.length}`, index);
  return groups[index as number];
}

/** Throws where what is saved or loaded would not be the whole: in the midst of a step, or of several batches. */
export function checkWhole(state: OptimizerState): void {
  checkFinished(state);
  if (state.batches === 0) return;
  const how = 'they are no part of the state: step() takes their mean, zeroGrad() drops it';
  throw new Error(`There are accumulated gradients (batches: ${state.batches}), and ${how}.`);
}

/** How often the state or an option was changed: an assignment that comes meanwhile must not be lost. */
export function changesOf({ changes, groups }: OptimizerState): number {
  return groups.reduce((sum, { liveOptions }) => sum + liveOptions.assignments, changes);
}

/** Forgets what was accumulated. */
export function forgetSums(state: OptimizerState): void {
  state.batches = 0;
  for (const entry of state.entries.values()) entry.hasSum = false;
}

/** Forgets the parts of an unfinished step, and what was accumulated. */
export function endStep(state: OptimizerState): void {
  state.isUnfinished = false;
  for (const entry of state.entries.values()) entry.isDone = false;
  forgetSums(state);
}

/** Runs `work`, while `isBusy`. */
export function busily<Result>(state: OptimizerState, work: (state: OptimizerState) => Result): Result {
  state.isBusy = true;
  try {
    return work(state);
  } finally {
    state.isBusy = false;
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
export function checkTraining({ groups }: OptimizerState): void {
  if (groups.every(({ isTraining }) => isTraining)) return;
  throw new Error(
    'Gradients came in eval mode, where the parameters are averages: call train() before they are taken.',
  );
}
