// State dicts, with PyTorch's structure and names. Their values are numbers, strings and typed arrays, so that
// structuredClone can copy them.

import type { AnyAlgorithm } from '../algorithms/algorithm.js';
import type { ArrayOf } from '../backends/backend.js';
import { snakeCase, valueAt } from '../inputs/options.js';
import { hasMemory } from '../algorithms/schedule.js';
import type { OptimizerState } from '../step/state.js';

/**
 * The state of one tensor: an array for each slot (`exp_avg`, `exp_avg_sq`, ...), and its completed steps as `step`,
 * unless the group counts them.
 */
export type TensorState = Record<string, number | Float32Array>;

/**
 * The state of an optimizer, structured as torch.optim's `state_dict()`: `state` by index over all groups, without
 * tensors that have not stepped yet, and the options of each group in snake_case. Each group also has `param_names` (in
 * the order of `params`), `frozen`, `no_decay` (names without weight decay), `functions` (options that are functions;
 * their current values are saved), `completed_steps` (the argument of schedules), `skipped_steps` (of Schedule-Free, if there are any: its schedules count
 * `k` and these), `schedule` (the state of a schedule
 * that has one), and `name` (if the group has one; loading ignores it).
 */
export interface StateDict {
  /** The state of each tensor, by its index over all groups. */
  state: Record<number, TensorState>;
  /** The groups, with their options in snake_case. */
  param_groups: SavedGroup[];
}

/** A group of a state dict: the entries below, and its options in snake_case. */
export interface SavedGroup extends Record<string, unknown> {
  /** Its name, if it has one. Loading ignores it. */
  name?: string;
  /** The indices of its tensors over all groups. */
  params: number[];
  /** The names of its tensors, in the order of `params`. */
  param_names: string[];
  /** The names of its frozen tensors. */
  frozen: string[];
  /** The names of its tensors without weight decay. */
  no_decay: string[];
  /** The names of its options that are functions. Their current values are saved. */
  functions: string[];
}

/** Options that are not saved, since they are code or list names. The state of a schedule is saved separately. */
const notSaved: ReadonlySet<string> = new Set(['schedule', 'decayMask']);

export const savedOptions = ({ defaults }: AnyAlgorithm): string[] =>
  Object.keys(defaults).filter((name) => !notSaved.has(name));

/** An array of a dict, which is still to be read from the backend. */
export interface UnreadArray {
  readonly source: ArrayOf;
  readonly state: TensorState;
  readonly slot: string;
}

/** Returns the dict without its arrays, and which arrays to read into it. */
export function describe({ algorithm, groups, completed }: OptimizerState): { dict: StateDict; arrays: UnreadArray[] } {
  const dict: StateDict = { state: {}, param_groups: [] };
  const arrays: UnreadArray[] = [];
  let index = 0;
  for (const { spec, rule, entries, names, frozen, state: groupState, isTraining, arithmetic } of groups) {
    const { options, name: groupName } = spec;
    const values = options as Readonly<Record<string, unknown>>;
    const isCounted = algorithm.group === undefined;
    const { skipped } = arithmetic;
    const functions = Object.keys(algorithm.defaults).filter(
      (name) => name !== 'decayMask' && typeof values[name] === 'function',
    );
    const saved = savedOptions(algorithm).flatMap((name) => {
      const value = currentValue(algorithm, values[name], name, isCounted ? completed : groupState.k + skipped);
      return value === undefined ? [] : [[snakeCase(name), Array.isArray(value) ? [...value] : value]];
    });
    const withoutDecay = new Set(entries.filter(({ tensor }) => !tensor.decays).map(({ tensor }) => tensor.name));
    const params = names.map((_, i) => index + i);
    dict.param_groups.push({
      ...Object.fromEntries(saved),
      ...algorithm.identity,
      algorithm: algorithm.name,
      ...(groupName === undefined ? {} : { name: groupName }),
      ...groupState,
      completed_steps: completed,
      ...(isCounted || skipped === 0 ? {} : { skipped_steps: skipped }),
      ...(hasMemory(options.schedule) ? { schedule: options.schedule.stateDict() } : {}),
      ...(algorithm.average === undefined ? {} : { train_mode: isTraining }),
      params,
      param_names: [...names],
      frozen,
      no_decay: names.filter((name) => withoutDecay.has(name)),
      functions: functions.map(snakeCase),
    });
    const indexOf = new Map(names.map((name, i) => [name, params[i]]));
    for (const { section, tensor } of entries) {
      if (tensor.step === 0) continue;
      const state: TensorState = {};
      if (isCounted) state.step = tensor.step;
      for (const [name, derive] of Object.entries(algorithm.derived ?? {})) state[name] = derive(options, tensor.step);
      dict.state[indexOf.get(tensor.name)!] = state;
      for (const slot of rule.slots) arrays.push({ source: { section, tensor, array: slot }, state, slot });
    }
    index += names.length;
  }
  return { dict, arrays };
}

/** Returns the value of an option at the next step; undefined if it is a function that throws. */
function currentValue(algorithm: AnyAlgorithm, option: unknown, name: string, completed: number): unknown {
  try {
    return valueAt(algorithm, name, option, completed, '');
  } catch {
    return undefined;
  }
}
