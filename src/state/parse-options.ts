// Reads and checks the options of a group in a state dict.

import type { AnyAlgorithm, CommonOptions, GroupOptions } from '../algorithms/algorithm.js';
import type { GroupSpec } from '../inputs/groups.js';
import { camelCase, checkOption, checkTogether, snakeCase } from '../inputs/options.js';
import { copyMemory } from '../algorithms/schedule-state.js';
import { hasMemory, type ScheduleMemory } from '../algorithms/schedule.js';
import { list, show } from '../errors.js';
import { copyNames } from './capture.js';
import { savedOptions } from './dict.js';
import type { SourceGroup } from './saved-group.js';
import { TO_KEEP_OPTIONS } from './load-options.js';

/**
 * Options in state dicts of PyTorch and of the original Schedule-Free that only some algorithms have. They tell the
 * algorithm of such a dict, which does not name it. Other unknown keys are ignored.
 */
const distinctive: ReadonlySet<string> = new Set([
  'amsgrad',
  'decoupled_weight_decay',
  'momentum',
  'momentum_decay',
  'silent_sgd_phase',
  'warmup_steps',
  'weight_lr_power',
]);

/** Throws for a group of another algorithm, or with names of options in camelCase. */
export function checkAlgorithm(algorithm: AnyAlgorithm, { own, where }: SourceGroup): void {
  const keys = Object.keys(own);
  const isOption = (key: string): boolean => Object.hasOwn(algorithm.defaults, camelCase(key));
  const unknown = keys.filter(
    (key) => distinctive.has(key) && !isOption(key) && !Object.hasOwn(algorithm.identity, key),
  );
  if (own.algorithm === undefined && unknown.length > 0) {
    throw new TypeError(`${algorithm.name} has no ${list(unknown)}${where}: the state dict is of another algorithm.`);
  }
  const identity = { ...algorithm.identity, algorithm: algorithm.name };
  for (const [name, value] of Object.entries(identity)) {
    if (own[name] === undefined || own[name] === value) continue;
    const says = `${name} = ${show(own[name])}${where}`;
    throw new TypeError(`The state dict says ${says}; ${algorithm.name} has ${show(value)}.`);
  }
  const misspelt = keys.filter((key) => isOption(key) && snakeCase(key) !== key);
  if (misspelt.length > 0) {
    const wanted = list(misspelt.map(snakeCase));
    throw new TypeError(`State dicts use PyTorch's names: expected ${wanted}, got ${list(misspelt)}${where}.`);
  }
}

/** Returns the options to load. Options that are functions in the optimizer are not among them. */
export function parseOptions(algorithm: AnyAlgorithm, { options }: GroupSpec, saved: SourceGroup): GroupOptions {
  const { where } = saved;
  const loaded = readOptions(algorithm, options, saved);
  const [mineRule, savedRule] = [options, { ...options, ...loaded }].map((each) => algorithm.rule(each));
  const isOtherState = mineRule.slots.join() !== savedRule.slots.join();
  for (const [name, value] of Object.entries(loaded)) {
    const mine = options[name as keyof GroupOptions];
    if (algorithm.fixed.includes(name as keyof GroupOptions) && value !== mine) {
      const how = isOtherState
        ? ` Its state has other arrays: make the optimizer with ${name} = ${show(value)}.`
        : TO_KEEP_OPTIONS;
      throw new TypeError(`This optimizer was made with ${name} = ${show(mine)}, got ${show(value)}${where}.${how}`);
    }
  }
  // After the fixed options: these errors advise to keep the optimizer's options, which needs the same arrays.
  checkFunctions(options, saved);
  checkTogether(algorithm, { ...options, ...loaded }, where);
  return loaded;
}

/** Returns the options in a dict, each checked. Ignores other keys, such as PyTorch's `foreach`. */
export function readOptions(
  algorithm: AnyAlgorithm,
  options: Readonly<GroupOptions>,
  { own, where }: SourceGroup,
): GroupOptions {
  const entries = savedOptions(algorithm).flatMap((name) => {
    const value = own[snakeCase(name)];
    if (value === undefined || typeof options[name as keyof GroupOptions] === 'function') return [];
    if (typeof value === 'function') {
      throw new TypeError(`Expected a number as ${show(snakeCase(name))}${where}, got a function.`);
    }
    return [[name, checkOption(algorithm, name, Array.isArray(value) ? copyPair(value) : value, where)]];
  });
  return Object.fromEntries(entries) as GroupOptions;
}

/** Copies at most 3 items: enough to check whether it is a pair. */
const copyPair = (value: readonly unknown[]): unknown[] =>
  Array.from({ length: Math.min(value.length, 3) }, (_, i) => value[i]);

/** Throws if an option was a function when the dict was saved, and is none now: training would continue differently. */
function checkFunctions(options: GroupOptions, { own, where }: SourceGroup): void {
  const saved = own.functions === undefined ? [] : copyNames(own.functions, 'functions', where);
  const values = options as Readonly<Record<string, unknown>>;
  const isFunction = (name: string): boolean =>
    Object.hasOwn(values, camelCase(name)) && typeof values[camelCase(name)] === 'function';
  const missing = saved.filter((name) => !isFunction(name));
  if (missing.length === 0) return;
  const how = 'functions are not saved, so pass them when you create the optimizer';
  throw new TypeError(`The state dict was saved with functions as ${list(missing)}${where}: ${how}.${TO_KEEP_OPTIONS}`);
}

/** Throws if the weight of the average differs between the two options: in train mode the parameters depend on it. */
export function checkAverage(
  { average }: AnyAlgorithm,
  mine: Readonly<GroupOptions>,
  theirs: Readonly<GroupOptions>,
  what: string,
): void {
  const weights = [mine, theirs].map((options) => {
    const by: Record<string, number> = {};
    average?.prepare(by, options, true);
    return by.weight;
  });
  if (weights[0] === weights[1]) return;
  throw new TypeError(
    `${what} in train mode with another beta1 or momentum, on which they depend: save in eval mode, or keep beta1 and momentum.`,
  );
}

/** A schedule, and the state to load into it. */
export interface ScheduleState {
  readonly schedule: ScheduleMemory;
  readonly state: unknown;
}

/** Returns a copy of the state of a schedule; undefined if the dict has none. */
export function parseScheduleState(
  schedule: CommonOptions['schedule'],
  { own, where }: SourceGroup,
): ScheduleState | undefined {
  if (own.schedule === undefined) return undefined;
  if (hasMemory(schedule)) return { schedule, state: copyMemory(own.schedule, `schedule${where}`) };
  const how = 'create the optimizer with the schedule that was saved';
  throw new TypeError(`The state dict has the state of a schedule${where}, but the optimizer has none: ${how}.`);
}
