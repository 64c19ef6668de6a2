// State dicts in PyTorch's shape and words: numbers, strings and typed arrays, so that structuredClone takes them.

import type { Algorithm, GroupOptions } from '../algorithms/algorithm.js';
import type { ArrayOf } from '../backends/backend.js';
import { snakeCase } from '../options.js';
import { hasMemory } from '../schedules/schedule.js';
import type { Stepper } from '../stepper.js';

/**
 * What is remembered of one tensor: an array per slot (`exp_avg`, `exp_avg_sq`, ...), and completed steps as `step`
 * where not the group counts them.
 */
export type TensorState = Record<string, number | Float32Array>;

/**
 * The whole state, as torch.optim's `state_dict()` has it: tensors by their index over all groups, absent before their
 * first step, and each group's options in snake_case. `param_names` tells the index of a name, `frozen` names the
 * tensors whose gradients are passed over, `schedule` is the memory of a schedule that has one.
 */
export interface StateDict {
  state: Record<number, TensorState>;
  param_groups: ({ params: number[]; param_names: string[]; frozen: string[] } & Record<string, unknown>)[];
}

/**
 * Options that are code, or decide memory by name: given anew when an optimizer is made, and not part of its state, but
 * for the memory of a schedule that has one.
 */
const notSaved: ReadonlySet<string> = new Set(['schedule', 'decayMask']);

export const savedOptions = <Options extends GroupOptions>({ defaults }: Algorithm<Options>): string[] =>
  Object.keys(defaults).filter((name) => !notSaved.has(name));

/** An array that belongs into a dict. */
interface Missing {
  readonly source: ArrayOf;
  readonly state: TensorState;
  readonly slot: string;
}

/** The dict but for its arrays, and which arrays these are. */
export function describe<Options extends GroupOptions>(
  algorithm: Algorithm<Options>,
  steppers: readonly Stepper<Options>[],
): { dict: StateDict; arrays: Missing[] } {
  const dict: StateDict = { state: {}, param_groups: [] };
  const arrays: Missing[] = [];
  let index = 0;
  for (const { group, rule, members, names, frozen, state: groupState, isTraining } of steppers) {
    const { options } = group;
    const values = options as Readonly<Record<string, unknown>>;
    const saved = savedOptions(algorithm)
      .filter((name) => typeof values[name] !== 'function')
      .map((name) => {
        const value = values[name];
        return [snakeCase(name), Array.isArray(value) ? [...value] : value];
      });
    const params = names.map((_, i) => index + i);
    dict.param_groups.push({
      ...Object.fromEntries(saved),
      ...algorithm.identity,
      algorithm: algorithm.name,
      ...groupState,
      ...(hasMemory(options.schedule) ? { schedule: options.schedule.stateDict() } : {}),
      ...(algorithm.average === undefined ? {} : { train_mode: isTraining }),
      params,
      param_names: [...names],
      frozen,
    });
    const indexOf = new Map(names.map((name, i) => [name, params[i]]));
    for (const { section, tensor } of members) {
      if (tensor.step === 0) continue;
      const state: TensorState = {};
      if (algorithm.group === undefined) state.step = tensor.step;
      for (const [name, derive] of Object.entries(algorithm.derived ?? {})) state[name] = derive(options, tensor.step);
      dict.state[indexOf.get(tensor.name)!] = state;
      for (const slot of rule.slots) arrays.push({ source: { section, tensor, array: slot }, state, slot });
    }
    index += names.length;
  }
  return { dict, arrays };
}
