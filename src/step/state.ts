// The state of an optimizer: its fields, how to look up and register groups and tensors, and checks before calls.

import type { AnyAlgorithm, GroupOptions } from '../algorithms/algorithm.js';
import type { Floats } from '../platform.js';
import type { Backend, Outcomes, WasmSource } from '../backends/backend.js';
import type { ByteRange } from '../backends/memory.js';
import type { Plan, TensorEntry } from '../backends/plan.js';
import { expect, list, noParameter, show, suggest } from '../errors.js';
import type { Shapes } from '../inputs/shapes.js';
import type { Group, LiveGroup } from './group.js';
import { newRequest, type StepRequest } from './request.js';

/** Everything that an optimizer holds until it is disposed of. */
export interface OptimizerState {
  readonly algorithm: AnyAlgorithm;
  /** Undefined for an algorithm without train and eval mode. */
  readonly modes: Modes | undefined;
  /** The options of every group that does not set its own. */
  readonly common: Record<string, unknown>;
  /** Where the first parameters were. */
  readonly memory: ByteRange['kind'];
  /** Whether there is memory for all gradients. */
  readonly keepGrads: boolean;
  /** The WebAssembly kernels that the caller passed, if any. */
  readonly wasm: WasmSource | undefined;
  readonly backend: Backend;
  readonly groups: Group[];
  /** What a step runs: one plan for each group. */
  readonly plans: Plan[];
  /** The number of sections, and of tensors, that were ever added. */
  sections: number;
  tensors: number;
  /** What `optimizer.groups` shows. */
  readonly liveGroups: LiveGroup<GroupOptions>[];
  /** The entry of each tensor, by name. */
  readonly entries: Map<string, TensorEntry>;
  /** The same entries in the caller's order: gradients usually come in this order. */
  entriesInOrder: TensorEntry[];
  /** What `optimizer.shapes` shows, once it was read; undefined again after tensors were added or removed. */
  shapes: Shapes | undefined;
  /** Names of removed tensors: a decay mask may still list them. */
  readonly removed: Set<string>;
  /** The number of completed steps, as schedules count them. */
  completed: number;
  /** The number of skipped steps among them, on the CPU. */
  skipped: number;
  /** The norm of the gradients at the latest step that needed it, and the one of the current step, on the CPU. */
  readonly norm: Float64Array;
  /** Whether there was such a step. */
  hasNorm: boolean;
  /** Whether a step may have been skipped on the GPU, so that counters of steps are of calls, taken or skipped. */
  isDeferred: boolean;
  /** The number of different histories that tensors have had. */
  histories: number;
  /** Whether a Lookahead counts the steps. */
  hasLookahead: boolean;
  /** What the GPU decided, if it was read after the latest step. */
  outcomes: Outcomes | undefined;
  /** The number of batches of gradients that were accumulated since the last step. */
  batches: number;
  /** The options of the current step. */
  readonly request: StepRequest;
  /** Whether the latest step had `more: true`: the next call continues it. */
  isUnfinished: boolean;
  /** Whether parameters are being added. */
  isAdding: boolean;
  /** Whether a call is running that may call the caller's functions: a schedule, a decay mask, a getter. */
  isBusy: boolean;
  /** The number of changes of the state. */
  changes: number;
}

/** Switches groups between train mode and eval mode, and reads and records the averages of parameters. */
export interface Modes {
  /** With an encoder, records the change. */
  switchTo(
    state: OptimizerState,
    groups: readonly Group[],
    isTraining: boolean,
    encoder: GPUCommandEncoder | undefined,
  ): void;
  readAverage(state: OptimizerState, entry: TensorEntry): Promise<Floats>;
  /** Records averages into the caller's buffers, on the GPU. */
  encodeAverages(
    state: OptimizerState,
    destinations: ReadonlyMap<TensorEntry, unknown>,
    encoder: GPUCommandEncoder,
  ): void;
}

/** The fields of an optimizer's state that are known before it has groups. */
export type Setup = Pick<
  OptimizerState,
  'algorithm' | 'modes' | 'common' | 'memory' | 'keepGrads' | 'wasm' | 'backend'
>;

/** Returns the state of a new optimizer without groups. */
export const newState = (setup: Setup, liveGroups: LiveGroup<GroupOptions>[]): OptimizerState => ({
  ...setup,
  groups: [],
  plans: [],
  sections: 0,
  tensors: 0,
  liveGroups,
  entries: new Map(),
  entriesInOrder: [],
  shapes: undefined,
  removed: new Set(),
  completed: 0,
  batches: 0,
  skipped: 0,
  norm: new Float64Array(2),
  hasNorm: false,
  isDeferred: false,
  histories: 0,
  hasLookahead: false,
  outcomes: undefined,
  request: newRequest(),
  isUnfinished: false,
  isAdding: false,
  isBusy: false,
  changes: 0,
});

/** Adds a new group, with its tensors. */
export function registerGroup(state: OptimizerState, group: Group): void {
  state.groups.push(group);
  state.plans.push(group.plan);
  state.liveGroups.push(group.liveOptions.view as LiveGroup<GroupOptions>);
  registerEntries(state, group.entries);
}

/** Adds the entries of a new section, by name and in the caller's order. */
export function registerEntries(state: OptimizerState, entries: readonly TensorEntry[]): void {
  state.sections += 1;
  state.tensors += entries.length;
  state.shapes = undefined;
  // Not the history of the others, which may have skipped steps.
  if (state.isDeferred) beginHistory(state, entries);
  const sorted = [...entries];
  sorted.sort((a, b) => a.tensor.index - b.tensor.index);
  for (const entry of sorted) {
    state.entries.set(entry.tensor.name, entry);
    state.entriesInOrder.push(entry);
  }
}

/** Gives these tensors a history of their own. */
export function beginHistory(state: OptimizerState, entries: readonly TensorEntry[]): void {
  state.histories += 1;
  for (const { tensor } of entries) tensor.history = state.histories;
}

/** Returns the entry of a tensor. Throws if there is no tensor of that name. */
export function entryOf({ entries }: OptimizerState, name: string): TensorEntry {
  const entry = entries.get(name);
  if (entry !== undefined) return entry;
  expect(typeof name === 'string', 'the parameter', 'a name', name);
  const names = [...entries.keys()];
  throw new RangeError(noParameter([name], '', names));
}

/** Returns the slots of a tensor where they lie. Throws if there is no tensor of that name. */
export function slotsOf(state: OptimizerState, name: string): Readonly<Record<string, unknown>> {
  const { group, section, tensor } = entryOf(state, name);
  const { slots } = state.groups[group].rule;
  return Object.freeze(
    Object.fromEntries(slots.map((array) => [array, state.backend.memory({ section, tensor, array })])),
  );
}

/** Returns the entries of a tensor, by its name, or of a group, by its index. Throws if there is none. */
export function entriesIn(state: OptimizerState, which: unknown): readonly TensorEntry[] {
  if (typeof which !== 'string') {
    expect(typeof which === 'number', 'the argument', 'the name of a tensor or the index of a group', which);
    return groupOf(state, which).entries;
  }
  const index = state.groups.findIndex(({ spec }) => spec.name === which);
  if (index < 0 || state.entries.has(which)) return [entryOf(state, which)];
  throw new RangeError(`${show(which)} is the name of a group, not of a parameter: pass its index, ${index}.`);
}

/** Returns the index of a group by its name. Throws if there is none. */
export function indexOfGroup(groups: readonly Pick<LiveGroup<GroupOptions>, 'name'>[], name: unknown): number {
  expect(typeof name === 'string', 'the group', 'a name', name);
  const index = groups.findIndex((group) => group.name === name);
  if (index >= 0) return index;
  const names = groups.flatMap((group) => group.name ?? []);
  const there = names.length > 0 ? `there are ${list(names)}.${suggest(name, names)}` : 'no group has a name.';
  throw new RangeError(`There is no group ${show(name)}; ${there}`);
}

/** Returns the group of an index or a name. Throws if there is none. */
export function groupOf({ groups, liveGroups }: OptimizerState, which: unknown): Group {
  const index = typeof which === 'string' ? indexOfGroup(liveGroups, which) : which;
  const isOne = Number.isInteger(index) && groups[index as number] !== undefined;
  expect(isOne, 'the group', `an index below ${groups.length}`, index);
  return groups[index as number];
}

/**
 * Throws if the optimizer was disposed of, its memory is lost, or the device reported an error. `ignoreFailure`:
 * accepts a reported error, for calls that replace the state.
 */
export function checkUsable({ backend }: OptimizerState, ignoreFailure = false): void {
  if (backend.lost !== undefined) throw new Error(backend.lost);
  if (backend.failed !== undefined && !ignoreFailure) throw backend.failed;
}

/** Resolves to the values of `read`. Rejects if the optimizer can no longer be used by then. */
export async function awaitRead<Read>(state: OptimizerState, read: Promise<Read>): Promise<Read> {
  const values = await read;
  checkUsable(state);
  return values;
}

/** Throws in an unfinished step, or if there are accumulated gradients: a state dict would lack them. */
export function checkBetweenSteps(state: OptimizerState): void {
  checkFinished(state);
  if (state.batches === 0) return;
  const how = 'which are not part of the state: step() uses their mean, zeroGrad() drops them';
  throw new Error(`There are accumulated gradients (batches: ${state.batches}), ${how}.`);
}

/** Throws in an unfinished step. */
export function checkFinished({ isUnfinished }: OptimizerState): void {
  if (!isUnfinished) return;
  throw new Error('A step is unfinished: complete it with a step() without `more`.');
}

/** Throws in eval mode: gradients are computed at the parameters of train mode. */
export function checkTraining({ groups }: OptimizerState): void {
  if (groups.every(({ isTraining }) => isTraining)) return;
  throw new Error(
    'Cannot use gradients in eval mode, where the parameters are averages: call train() before computing gradients.',
  );
}

/** Throws on re-entry: a schedule must not call the optimizer that is calling it. */
export function checkIdle({ isBusy }: OptimizerState, method: string): void {
  if (isBusy) throw reentered(method);
}

const reentered = (method: string): Error =>
  new Error(`${method}() was called during another call: a schedule must not call its own optimizer.`);

/**
 * Runs `work`, and refuses re-entry until it returns: async work, until its first `await`. Later changes show in
 * `changesOf`.
 */
export function whileBusy<Result>(state: OptimizerState, work: (state: OptimizerState) => Result): Result {
  state.isBusy = true;
  try {
    return work(state);
  } finally {
    state.isBusy = false;
  }
}

/** Returns the number of changes of the state and of options. A slow call compares it, so that no change is lost. */
export function changesOf({ changes, groups }: OptimizerState): number {
  return groups.reduce((sum, { liveOptions }) => sum + liveOptions.assignments, changes);
}

/** Forgets accumulated gradients. */
export function forgetSums(state: OptimizerState): void {
  state.batches = 0;
  for (const entry of state.entries.values()) entry.hasSum = false;
}

/** Forgets an unfinished step, and accumulated gradients. */
export function forgetStep(state: OptimizerState): void {
  state.isUnfinished = false;
  for (const entry of state.entries.values()) entry.isDone = false;
  forgetSums(state);
}
