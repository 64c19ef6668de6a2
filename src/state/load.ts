// Loads a state dict: all of it, or, with an error, nothing.

import type { ArrayOf, Write } from '../backends/backend.js';
import type { TensorEntry } from '../backends/plan.js';
import type { Group } from '../step/group.js';
import {
  beginHistory,
  changesOf,
  checkBetweenSteps,
  checkUsable,
  forgetStep,
  whileBusy,
  type OptimizerState,
} from '../step/state.js';
import { readLoadOptions, type IncompatibleNames } from './load-options.js';
import { parse, parseParams, type Parsed, type ParsedGroup } from './parse.js';

/** A state dict that was read and checked. */
export interface Loading {
  /** On the GPU rejects if the memory cannot be written, and changes nothing. Undefined on the CPU. */
  ready(): Promise<void> | undefined;
  /** Throws if the optimizer cannot be used, or has changed since the state dict was read. */
  check(): void;
  /** Loads the states of schedules, then calls `work`. Restores them if anything throws. */
  withSchedules(work: () => void): void;
  /** Writes everything except the states of schedules. `isBegun`: another Loading was already written. */
  write(isBegun: boolean): void;
  /** Resolves once the device has accepted the writes. */
  done(): Promise<void>;
  readonly names: IncompatibleNames;
}

/** Loads a state dict into an optimizer. `before` is the result of `changesOf` when the caller passed the dict. */
export async function loadStateDict(
  state: OptimizerState,
  dict: unknown,
  options: unknown,
  before: number | undefined,
): Promise<IncompatibleNames> {
  const loading = load(state, dict, options, before);
  await writeTogether([loading]);
  return loading.names;
}

/**
 * Writes all of `loadings`, or none, then calls `onWritten`: on the CPU before it returns, on the GPU once it has
 * checked that all can be written.
 */
export async function writeTogether(loadings: readonly Loading[], onWritten: () => void = () => {}): Promise<void> {
  const ready = loadings.flatMap((loading) => loading.ready() ?? []);
  if (ready.length > 0) await Promise.all(ready);
  const checkAll = (): void => loadings.forEach((loading) => loading.check());
  const writeAll = (): void => {
    // Schedules, which are the caller's code, may have changed the optimizer.
    checkAll();
    for (const [i, loading] of loadings.entries()) loading.write(i > 0);
    onWritten();
  };
  checkAll();
  const from = (i: number): void => (i === loadings.length ? writeAll() : loadings[i].withSchedules(() => from(i + 1)));
  from(0);
  await Promise.all(loadings.map((loading) => loading.done()));
}

/** Reads and checks a state dict and parameters. Changes nothing. `before`: the result of `changesOf` at the call. */
export function load(state: OptimizerState, dict: unknown, given: unknown, before = changesOf(state)): Loading {
  const { algorithm, groups, backend } = state;
  checkReplaceable(state);
  const { params, ...how } = readLoadOptions(given, 'loadStateDict', ['params']);
  const parsed = parse(algorithm, groups, dict, how);
  const { values, ...others } =
    params === undefined ? { values: [], missing: [], unexpected: [] } : parseParams(groups, params, how.strict);
  for (const [source] of values) backend.checkWrite(source);
  const writes: Write[] = values.map(([source, array]) => [source, array]);
  for (const { group, tensors } of parsed.groups) {
    for (const { entry, slots } of tensors) {
      const { section, tensor } = entry;
      for (const array of group.rule.slots) writes.push([{ section, tensor, array }, slots?.[array]]);
    }
  }
  const ready = (): Promise<void> | undefined => backend.checkWritable?.(writes.map(([source]) => source));
  const check = (): void => {
    // The caller's code may have run while the GPU was checked.
    checkUsable(state, true);
    checkReplaceable(state);
    if (changesOf(state) !== before) throw new Error('The optimizer changed while its state dict was being loaded.');
  };
  const withSchedules = (work: () => void): void => whileBusy(state, () => loadSchedules(parsed.groups, work));
  const union = (key: keyof IncompatibleNames): string[] => [...new Set([...parsed[key], ...others[key]])];
  const names = { missing: union('missing'), unexpected: union('unexpected') };
  const done = async (): Promise<void> => {
    if (backend.settled === undefined) return;
    await backend.settled();
    checkUsable(state);
  };
  return { ready, check, withSchedules, write: (isBegun) => write(state, writes, parsed, isBegun), done, names };
}

/** Throws during a step or while gradients are accumulated. An error of the device has ended both. */
function checkReplaceable(state: OptimizerState): void {
  if (state.backend.failed === undefined) checkBetweenSteps(state);
}

/** Writes the arrays, then counters, options and modes. */
function write(state: OptimizerState, writes: readonly Write[], parsed: Parsed, isBegun: boolean): void {
  const steps = new Map(parsed.groups.flatMap(({ tensors }) => tensors.map(({ entry, step }) => [entry, step])));
  const copies = state.groups.flatMap((group) => fromParam(group, (entry) => steps.get(entry) ?? entry.tensor.step));
  const loaded = parsed.groups.flatMap(({ tensors }) => tensors.map(({ entry }) => entry.tensor));
  state.backend.write(writes, copies, isBegun, loaded);
  applyParsed(state, parsed);
}

/** Returns the arrays that start as a copy of the parameter, of tensors that have not stepped yet. */
function fromParam({ entries, rule }: Group, stepOf: (entry: TensorEntry) => number): ArrayOf[] {
  const unstepped = entries.filter((entry) => stepOf(entry) === 0 && entry.tensor.length > 0);
  return unstepped.flatMap(({ section, tensor }) => rule.fromParam.map((array) => ({ section, tensor, array })));
}

function applyParsed(state: OptimizerState, parsed: Parsed): void {
  state.changes += 1;
  if (parsed.completed !== undefined) state.completed = parsed.completed;
  forgetStep(state);
  state.skipped = 0;
  state.hasNorm = false;
  state.outcomes = undefined;
  // Tensors that were not loaded keep their counters on the GPU.
  const loaded = parsed.groups.flatMap(({ tensors }) => tensors.map(({ entry }) => entry));
  state.isDeferred &&= loaded.length < state.entries.size;
  beginHistory(state, loaded);
  for (const { group, options, groupState, skipped, isTraining, tensors } of parsed.groups) {
    group.liveOptions.assign(options);
    group.arithmetic.load(groupState, skipped);
    group.isTraining = isTraining;
    for (const { entry, step, isFrozen } of tensors) Object.assign(entry.tensor, { step, isFrozen });
  }
}

/** Loads the states of schedules, then calls `work`. Restores them if anything throws. */
function loadSchedules(parsed: readonly ParsedGroup[], work: () => void): void {
  const undo: (() => void)[] = [];
  try {
    for (const { where, scheduleState } of parsed) {
      if (scheduleState === undefined) continue;
      const { schedule, state } = scheduleState;
      try {
        const before = schedule.stateDict();
        undo.unshift(() => schedule.loadStateDict(before));
        schedule.loadStateDict(state);
      } catch (error) {
        throw new TypeError(`Cannot load the schedule${where}: ${(error as Error).message}`, { cause: error });
      }
    }
    work();
  } catch (error) {
    for (const each of undo) each();
    throw error;
  }
}
