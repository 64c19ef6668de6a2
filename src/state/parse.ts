// Reading a state dict: everything is checked before anything is changed.

import type { Algorithm, GroupOptions, GroupState } from '../algorithms/algorithm.js';
import type { ArrayOf } from '../backends/backend.js';
import type { Tensor } from '../layout.js';
import { isFloat32Array } from '../memory.js';
import type { Rule } from '../rules/rule.js';
import type { Member } from '../runs.js';
import { expect, isCount, isRecord, list, ownOf, show } from '../sentences.js';
import type { Stepper } from '../stepper.js';
import { checkNoDecay, completedOf, frozenOf, namesOf, parseState } from './group.js';
import { parseOptions, parseSchedule } from './options.js';

/** What a dict says of one group, checked. */
export interface Loaded {
  /** Options in our names. */
  readonly options: Readonly<Record<string, unknown>>;
  readonly state: Readonly<GroupState>;
  readonly isTraining: boolean;
  /** What schedules have counted, where the dict says so, and who did not take the latest step. */
  readonly completed: number | undefined;
  readonly leftOut: ReadonlySet<string>;
  /** Takes over the memory of the group's schedule, where the dict has one. */
  readonly loadSchedule: () => void;
  /** Slots are undefined for one that has not stepped yet. */
  readonly tensors: readonly {
    readonly member: Member;
    readonly isFrozen: boolean;
    readonly step: number;
    readonly slots: Readonly<Record<string, Float32Array>> | undefined;
  }[];
}

/** Reads a dict for these groups. Throws an Error for anything that does not fit them, and changes nothing. */
export function parse<Options extends GroupOptions>(
  algorithm: Algorithm<Options>,
  steppers: readonly Stepper<Options>[],
  dict: unknown,
): Loaded[] {
  expect(isRecord(dict) && isRecord(dict.state), 'the state dict', 'a record with state and param_groups', dict);
  const { state, param_groups: given } = dict as { state: Record<string, unknown>; param_groups: unknown };
  expect(Array.isArray(given), 'param_groups', `an array of ${steppers.length}`, given);
  expect(given.length === steppers.length, 'the number of param_groups', String(steppers.length), given.length);

  const indices = new Set<string>();
  const loaded = steppers.map((stepper, g): Loaded => {
    const where = ` in param_groups[${g}]`;
    const entry: unknown = given[g];
    expect(isRecord(entry) && Array.isArray(entry.params), `param_groups[${g}]`, 'a record with params', entry);
    const saved = ownOf(entry);
    const options = parseOptions(algorithm, stepper.group, saved, where);
    const remembered = parseState(algorithm, saved, where);
    const loadSchedule = parseSchedule(stepper.group.options.schedule, saved.schedule, where);
    const names = namesOf(saved, stepper.names, where);
    const frozen = frozenOf(saved, stepper, where);
    checkNoDecay(saved, stepper, where);
    const counted = completedOf(saved, stepper.names, where);
    const memberOf = new Map(stepper.members.map((member) => [member.tensor.name, member]));
    const tensors = names.map((name, i) => {
      const number = (saved.params as unknown[])[i];
      expect(isCount(number), `the index of ${show(name)}${where}`, 'a whole number of at least 0', number);
      const index = String(number);
      if (indices.has(index)) throw new TypeError(`Parameter ${index} stands twice in the state dict, again${where}.`);
      indices.add(index);
      const member = memberOf.get(name)!;
      return {
        member,
        isFrozen: frozen.has(name),
        ...parseTensor(algorithm, state[index], member.tensor, stepper.rule),
      };
    });
    return { options, ...remembered, ...counted, loadSchedule, tensors };
  });
  const strangers = Object.keys(state).filter((index) => !indices.has(index));
  if (strangers.length > 0)
    throw new TypeError(`The state dict has state for ${list(strangers)}, which is in no group.`);
  return loaded;
}

/** Reads values for all parameters, and says where each belongs. Throws an Error for a name or length amiss. */
export function parseParams<Options extends GroupOptions>(
  steppers: readonly Stepper<Options>[],
  params: unknown,
): [ArrayOf, Float32Array][] {
  expect(isRecord(params), 'the parameters', 'a record of Float32Arrays by name', params);
  const members = steppers.flatMap((stepper) => stepper.members);
  const names = new Set(members.map(({ tensor }) => tensor.name));
  const strangers = Object.keys(params).filter((name) => !names.has(name));
  if (strangers.length > 0)
    throw new TypeError(`There is no parameter ${list(strangers)}; there is ${list([...names])}.`);
  return members.map(({ section, tensor }) => {
    const { name, length } = tensor;
    const values = Object.hasOwn(params, name) ? params[name] : undefined;
    expect(isFloat32Array(values), `the values of parameter ${show(name)}`, 'a Float32Array', values);
    if (values.length !== length) {
      throw new RangeError(`Expected ${length} values of parameter ${show(name)}, got ${values.length}.`);
    }
    return [{ section, tensor, array: 'param' }, values];
  });
}

function parseTensor<Options extends GroupOptions>(
  algorithm: Algorithm<Options>,
  state: unknown,
  { name: tensor, length }: Tensor,
  rule: Rule,
): Pick<Loaded['tensors'][number], 'step' | 'slots'> {
  if (state === undefined) return { step: 0, slots: undefined };
  const what = `state of ${show(tensor)}`;
  expect(isRecord(state), `the ${what}`, 'a record', state);
  const { step, ...slots } = state;
  for (const name of Object.keys(algorithm.derived ?? {})) delete slots[name];
  if (algorithm.group === undefined) {
    expect(isCount(step, 1), `step in the ${what}`, 'a whole number of at least 1', step);
  }
  const strangers = Object.keys(slots).filter((slot) => !rule.slots.includes(slot));
  if (strangers.length > 0)
    throw new TypeError(`The ${what} has ${list(strangers)}; it should have ${list(rule.slots)}.`);
  for (const slot of rule.slots) {
    const values = slots[slot];
    expect(isFloat32Array(values), `${slot} in the ${what}`, 'a Float32Array', values);
    if (values.length !== length) {
      throw new RangeError(`Expected ${length} values of ${slot} in the ${what}, got ${values.length}.`);
    }
  }
  return {
    step: algorithm.group === undefined ? (step as number) : 1,
    slots: slots as Record<string, Float32Array>,
  };
}
