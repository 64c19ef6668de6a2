// State dicts in PyTorch's shape and words: numbers, strings and typed arrays, so that structuredClone takes them.

import type { AnyAlgorithm } from '../algorithms/algorithm.js';
import type { ArrayOf } from '../backends/backend.js';
import { snakeCase, valueAt } from '../inputs/options.js';
import { hasMemory } from '../algorithms/schedule.js';
import type { OptimizerState } from '../step/state.js';

/**
 * What is remembered of one tensor: an array per slot (`exp_avg`, `exp_avg_sq`, ...), and completed steps as `step`
 * where not the group counts them.
 */
export type TensorState = Record<string, number | Float32Array>;

/**
 * The whole state, as torch.optim's `state_dict()` has it: `state` by index over all groups, absent before a tensor's
 * first step, and each group's options in snake_case. Further keys: `param_names` (in the order of `params`), `frozen`,
 * `no_decay` (names that the decay mask spares), `functions` (options that are functions, saved as their present
 * value), `completed_steps` (what schedules count), and `schedule` (the state of one that has any).
 */
export interface StateDict {
  state: Record<number, TensorState>;
  param_groups: SavedGroup[];
}

export interface SavedGroup extends Record<string, unknown> {
  params: number[];
  param_names: string[];
  frozen: string[];
  no_decay: string[];
  functions: string[];
}

/**
 * Options that are code, or decide memory by name: given anew when an optimizer is made, and not part of its state, but
 * for the memory of a schedule that has one.
 */
const notSaved: ReadonlySet<string> = new Set(['schedule', 'decayMask']);

export const savedOptions = ({ defaults }: AnyAlgorithm): string[] =>
  Object.keys(defaults).filter((name) => !notSaved.has(name));

/** An array that belongs into a dict. */
interface Missing {
  readonly source: ArrayOf;
  readonly state: TensorState;
  readonly slot: string;
}

/** The dict but for its arrays, and which arrays these are. */
export function describe({ algorithm, groups, completed }: OptimizerState): { dict: StateDict; arrays: Missing[] } {
  const dict: StateDict = { state: {}, param_groups: [] };
  const arrays: Missing[] = [];
  let index = 0;
  for (const { spec, rule, entries, names, frozen, state: remembered, isTraining } of groups) {
    const { options } = spec;
    const values = options as Readonly<Record<string, unknown>>;
    const isCounted = algorithm.group === undefined;
    const functions = Object.keys(algorithm.defaults).filter(
      (name) => name !== 'decayMask' && typeof values[name] === 'function',
    );
    const saved = savedOptions(algorithm).flatMap((name) => {
      const value = presentValue(algorithm, values[name], name, isCounted ? completed : remembered.k);
      return value === undefined ? [] : [[snakeCase(name), Array.isArray(value) ? [...value] : value]];
    });
    const spared = new Set(entries.filter(({ tensor }) => !tensor.decays).map(({ tensor }) => tensor.name));
    const params = names.map((_, i) => index + i);
    dict.param_groups.push({
      ...Object.fromEntries(saved),
      ...algorithm.identity,
      algorithm: algorithm.name,
      ...remembered,
      completed_steps: completed,
      ...(hasMemory(options.schedule) ? { schedule: options.schedule.stateDict() } : {}),
      ...(algorithm.average === undefined ? {} : { train_mode: isTraining }),
      params,
      param_names: [...names],
      frozen,
      no_decay: names.filter((name) => spared.has(name)),
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

/** What an option is at the next step, as PyTorch's dicts have it; nothing where a function does not say. */
function presentValue(algorithm: AnyAlgorithm, option: unknown, name: string, completed: number): unknown {
  try {
    return valueAt(algorithm, name, option, completed, '');
  } catch {
    return undefined;
  }
}
