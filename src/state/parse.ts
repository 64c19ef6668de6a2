// Reads a state dict: copies and checks all of it, and changes nothing.

import type { AnyAlgorithm, GroupOptions, GroupState } from '../algorithms/algorithm.js';
import type { ArrayOf } from '../backends/backend.js';
import { bounded, LARGEST } from '../math/f32.js';
import type { Tensor } from '../backends/layout.js';
import type { Rule } from '../rules/rule.js';
import type { TensorEntry } from '../backends/plan.js';
import { hasMemory } from '../algorithms/schedule.js';
import { canCount, countFrom, expect, list, noParameter, ownOf, show, unexpected } from '../errors.js';
import type { Group } from '../step/group.js';
import { copyValues, ownProperties } from './capture.js';
import { checkNoDecay, completedOf, namesIn, parseState, type SourceGroup } from './saved-group.js';
import { TO_LOAD_COMMON, type IncompatibleNames, type LoadOptions } from './load-options.js';
import { readDict, sourceOf, type SourceDict } from './match.js';
import {
  checkAlgorithm,
  checkAverage,
  parseScheduleState,
  parseOptions,
  readOptions,
  type ScheduleState,
} from './parse-options.js';

/** What to load into a group of the optimizer. Checked. */
export interface ParsedGroup {
  readonly group: Group;
  /** Its place in the dict, for errors: " in param_groups[0]". */
  readonly where: string;
  /** Options to load, with our names. */
  readonly options: GroupOptions;
  readonly groupState: Readonly<GroupState>;
  /** The skipped steps of Schedule-Free. */
  readonly skipped: number;
  readonly isTraining: boolean;
  /** Undefined to keep the state of its schedule, if it has one. */
  readonly scheduleState: ScheduleState | undefined;
  readonly tensors: readonly ParsedTensor[];
}

interface ParsedTensor {
  readonly entry: TensorEntry;
  readonly isFrozen: boolean;
  readonly step: number;
  /** Undefined if it has not stepped yet. */
  readonly slots: Readonly<Record<string, Float32Array>> | undefined;
}

/** What to load from a state dict. Checked. */
export interface Parsed extends IncompatibleNames {
  readonly groups: readonly ParsedGroup[];
  /**
   * Completed steps, the argument of schedules. Undefined if the dict has neither them nor a tensor of the optimizer.
   */
  readonly completed: number | undefined;
}

/** Reads a state dict for these groups. Throws an Error if it does not fit them. */
export function parse(
  algorithm: AnyAlgorithm,
  groups: readonly Group[],
  dict: unknown,
  { options, strict }: Required<LoadOptions>,
): Parsed {
  const source = readDict(dict, strict ? groups.map(({ names }) => names) : undefined);
  const loaded = groups.flatMap((group, g): ParsedGroup[] => {
    const isOne = options === 'saved' || algorithm.group !== undefined;
    const saved = strict ? source.groups[g] : sourceOf(group, source, isOne);
    return saved === undefined ? [] : [parseGroup(algorithm, group, saved, source, options === 'current')];
  });
  const indices = new Set(Array.from(source.byName.values(), ({ index }) => String(index)));
  const unknown = Object.keys(source.state).filter((index) => !indices.has(index));
  if (unknown.length > 0) throw new TypeError(`The state dict has state for ${list(unknown)}, which is in no group.`);
  const saved = source.groups.flatMap((each) => completedOf(each) ?? []);
  // Dicts of other systems have no completed_steps: use the largest counter of the groups, or of the tensors.
  const counts = loaded.flatMap(({ groupState: { k }, tensors }) => k ?? tensors.map(({ step }) => step));
  const names = groups.flatMap((group) => group.names);
  const known = new Set(names);
  return {
    groups: loaded,
    completed: (saved.length > 0 ? saved : counts).reduce(
      (most: number | undefined, count) => Math.max(most ?? 0, count),
      undefined,
    ),
    missing: names.filter((name) => !source.byName.has(name)),
    unexpected: [...source.byName.keys()].filter((name) => !known.has(name)),
  };
}

function parseGroup(
  algorithm: AnyAlgorithm,
  group: Group,
  saved: SourceGroup,
  { byName }: SourceDict,
  keepsOptions: boolean,
): ParsedGroup {
  const { spec, entries, rule } = group;
  checkAlgorithm(algorithm, saved);
  const loaded = keepsOptions ? {} : parseOptions(algorithm, spec, saved);
  const options: GroupOptions = { ...spec.options, ...loaded };
  const { groupState, skipped, isTraining } = parseState(algorithm, options, saved);
  const hasSchedule = !keepsOptions || hasMemory(options.schedule);
  const scheduleState = hasSchedule ? parseScheduleState(options.schedule, saved) : undefined;
  const frozen = keepsOptions ? undefined : namesIn(saved, 'frozen');
  if (!keepsOptions) checkNoDecay(saved, group);
  const found = entries.filter(({ tensor }) => byName.has(tensor.name));
  const tensors = found.map((entry): ParsedTensor => {
    const { name, isFrozen } = entry.tensor;
    const each = parseTensor(algorithm, byName.get(name)!.state, entry.tensor, rule);
    return { entry, isFrozen: frozen?.has(name) ?? isFrozen, ...each };
  });
  const parsed = {
    group,
    where: saved.where,
    options: loaded,
    groupState,
    skipped,
    isTraining,
    scheduleState,
    tensors,
  };
  if (algorithm.average !== undefined) checkAverages(algorithm, saved, parsed);
  return parsed;
}

/** Throws if parameters were saved in another mode, or in train mode with another beta1 or momentum. */
function checkAverages(
  algorithm: AnyAlgorithm,
  saved: SourceGroup,
  { group, options, isTraining, tensors }: ParsedGroup,
): void {
  const { spec, entries } = group;
  const next = { ...spec.options, ...options };
  const isLoaded = tensors.some(({ slots }) => slots !== undefined);
  if (isLoaded && isTraining) {
    const theirs = { ...next, ...readOptions(algorithm, next, saved) };
    checkAverage(algorithm, next, theirs, `The parameters were saved${saved.where}`);
  }
  const found = new Set(tensors.map(({ entry }) => entry));
  const kept = entries.find((entry) => !found.has(entry) && entry.tensor.step > 0);
  if (kept === undefined) return;
  const what = `${show(kept.tensor.name)}, which the state dict lacks, has been stepped`;
  if (isTraining !== group.isTraining) {
    const how = 'call train() or eval() first';
    throw new TypeError(`${what}, and is in another mode than the state dict${saved.where}: ${how}.`);
  }
  if (isTraining) checkAverage(algorithm, spec.options, next, what);
}

/** Reads values for parameters, each with its place in memory. Throws an Error for a wrong name or length. */
export function parseParams(
  groups: readonly Group[],
  params: unknown,
  strict: boolean,
): IncompatibleNames & { readonly values: readonly (readonly [ArrayOf, Float32Array])[] } {
  const own = ownProperties(params, 'the parameters', 'a record of Float32Arrays by name');
  const entries = groups.flatMap((group) => group.entries);
  const names = new Set(entries.map(({ tensor }) => tensor.name));
  const unknown = Object.keys(own).filter((name) => !names.has(name));
  if (strict && unknown.length > 0) throw new TypeError(noParameter(unknown, '', [...names]) + TO_LOAD_COMMON);
  const isMissing = (name: string): boolean => !strict && own[name] === undefined;
  const missing = [...names].filter(isMissing);
  const given = entries.filter(({ tensor }) => !isMissing(tensor.name));
  const values = given.map(({ section, tensor }) => {
    const array = copyValues(own[tensor.name], tensor.length, `parameter ${show(tensor.name)}`);
    return [{ section, tensor, array: 'param' }, array] as const;
  });
  return { missing, unexpected: unknown, values };
}

function parseTensor(
  algorithm: AnyAlgorithm,
  state: Readonly<Record<string, unknown>> | undefined,
  { name: tensor, length }: Tensor,
  rule: Rule,
): Pick<ParsedTensor, 'step' | 'slots'> {
  if (state === undefined) return { step: 0, slots: undefined };
  const what = `state of ${show(tensor)}`;
  const own = ownOf(state);
  const { step } = own;
  if (algorithm.group === undefined) expect(canCount(step, 1), `step in the ${what}`, countFrom(1), step);
  const known = new Set(['step', ...rule.slots, ...Object.keys(algorithm.derived ?? {})]);
  const unknown = Object.keys(own).filter((slot) => !known.has(slot));
  if (unknown.length > 0) throw new TypeError(`The ${what} has ${list(unknown)}; it should have ${list(rule.slots)}.`);
  const entries = rule.slots.map((slot) => {
    const values = copyValues(own[slot], length, `${slot} in the ${what}`);
    if (rule.squares.includes(slot)) checkSquares(values, slot, ` in the ${what}`);
    return [slot, values];
  });
  const slots = Object.fromEntries(entries) as Record<string, Float32Array>;
  boundMoments(slots);
  return { step: algorithm.group === undefined ? (step as number) : 1, slots };
}

/**
 * Bounds first moments where squares overflowed, as kernels do: a moment of 1e29 would move a weight by 1e10 times lr.
 */
function boundMoments({ exp_avg: moments, exp_avg_sq: squares }: Readonly<Record<string, Float32Array>>): void {
  if (moments === undefined || squares === undefined) return;
  for (let i = 0; i < moments.length; i++) if (squares[i] === LARGEST) moments[i] = bounded(moments[i]);
}

/** Throws for negative averages of squares and NaN. Replaces Infinity, which PyTorch can save, by the largest f32. */
function checkSquares(values: Float32Array, slot: string, where: string): void {
  for (let i = 0; i < values.length; i++) {
    if (values[i] === Infinity) values[i] = LARGEST;
    else if (!(values[i] >= 0))
      throw unexpected(`${slot}[${i}]${where}`, 'at least 0, as an average of squares is', values[i]);
  }
}
