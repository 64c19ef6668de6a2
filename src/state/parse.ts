// Reading a state dict: everything is checked before anything is changed.

import type { Algorithm, CommonOptions, GroupOptions, GroupState } from '../algorithms/algorithm.js';
import type { ArrayOf } from '../backends/backend.js';
import type { Group } from '../groups.js';
import type { Tensor } from '../layout.js';
import { isFloat32Array } from '../memory.js';
import { camelCase, checked, checkTogether, isOption, snakeCase } from '../options.js';
import type { Rule } from '../rules/rule.js';
import type { Member } from '../runs.js';
import { checkMemory, hasMemory } from '../schedules/schedule.js';
import { expect, isRecord, list, show } from '../sentences.js';
import type { Stepper } from '../stepper.js';
import { savedOptions } from './dict.js';

/** What a dict says of one group, checked. */
export interface Loaded {
  /** Options in our names. */
  readonly options: Readonly<Record<string, unknown>>;
  readonly state: Readonly<GroupState>;
  readonly isTraining: boolean;
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

/** Reads a dict for these groups. Throws a sentence for anything that does not fit them, and changes nothing. */
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
    const saved: unknown = given[g];
    expect(isRecord(saved) && Array.isArray(saved.params), `param_groups[${g}]`, 'a record with params', saved);
    const options = parseOptions(algorithm, stepper.group, saved, where);
    const remembered = parseState(algorithm, saved, where);
    const loadSchedule = parseSchedule(stepper.group.options.schedule, saved.schedule, where);
    const names = namesOf(saved, stepper.names, where);
    const frozen = frozenOf(saved, stepper, where);
    const memberOf = new Map(stepper.members.map((member) => [member.tensor.name, member]));
    const tensors = names.map((name, i) => {
      const index = show((saved.params as unknown[])[i]);
      if (indices.has(index)) throw new TypeError(`Parameter ${index} stands twice in the state dict, again${where}.`);
      indices.add(index);
      const member = memberOf.get(name)!;
      return {
        member,
        isFrozen: frozen.has(name),
        ...parseTensor(algorithm, state[index], member.tensor, stepper.rule),
      };
    });
    return { options, ...remembered, loadSchedule, tensors };
  });
  const strangers = Object.keys(state).filter((index) => !indices.has(index));
  if (strangers.length > 0)
    throw new TypeError(`The state dict has state for ${list(strangers)}, which is in no group.`);
  return loaded;
}

/** Reads values for all parameters, and says where each belongs. Throws a sentence for a name or length amiss. */
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

/** The names of a saved group in its order. PyTorch saves them for named parameters; without names the order tells. */
function namesOf(saved: Record<string, unknown>, names: string[], where: string): readonly string[] {
  const { params, param_names: given = names } = saved;
  expect(Array.isArray(given), `param_names${where}`, 'an array of names', given);
  const [own, saidSoFar] = [new Set(names), new Set<unknown>()];
  for (const name of given as unknown[]) {
    if (!own.has(name as string))
      throw new TypeError(`There is no parameter ${show(name)}${where}; there is ${list(names)}.`);
    if (saidSoFar.has(name)) throw new TypeError(`The parameter ${show(name)} stands twice${where}.`);
    saidSoFar.add(name);
  }
  const missing = names.filter((name) => !saidSoFar.has(name));
  if (missing.length > 0) throw new TypeError(`The state dict lacks the parameter ${list(missing)}${where}.`);
  const count = (params as unknown[]).length;
  expect(count === names.length, `the number of params${where}`, String(names.length), count);
  return given as string[];
}

/** Which tensors are frozen: where the dict does not say, as PyTorch's do not, those that are. */
function frozenOf<Options extends GroupOptions>(
  { frozen: saved }: Record<string, unknown>,
  { names, frozen }: Stepper<Options>,
  where: string,
): ReadonlySet<string> {
  if (saved === undefined) return new Set(frozen);
  expect(Array.isArray(saved), `frozen${where}`, 'an array of names', saved);
  const strangers = saved.filter((name) => !names.includes(name));
  if (strangers.length > 0) throw new TypeError(`There is no parameter ${list(strangers)} to be frozen${where}.`);
  return new Set(saved);
}

function parseOptions<Options extends GroupOptions>(
  algorithm: Algorithm<Options>,
  { options }: Group<Options>,
  saved: Record<string, unknown>,
  where: string,
): Record<string, unknown> {
  // PyTorch's dicts have no name, but options that another algorithm has and this one has not.
  const ours = { ...algorithm.defaults, ...algorithm.identity };
  const isStranger = (key: string): boolean => isOption(camelCase(key)) && !(camelCase(key) in ours || key in ours);
  const strangers = Object.keys(saved).filter(isStranger);
  if (!Object.hasOwn(saved, 'algorithm') && strangers.length > 0) {
    throw new TypeError(`${algorithm.name} has no ${list(strangers)}${where}: the state dict is of another algorithm.`);
  }
  const identity = { ...algorithm.identity, algorithm: algorithm.name };
  for (const [name, value] of Object.entries(identity)) {
    if (saved[name] !== undefined && saved[name] !== value) {
      throw new TypeError(`${algorithm.name} has ${name} = ${show(value)}, got ${show(saved[name])}${where}.`);
    }
  }
  // Other keys are PyTorch's (foreach, fused, ...) and say how it computes, not what.
  const known = savedOptions(algorithm).filter((name) => saved[snakeCase(name)] !== undefined);
  const entries = known.map((name) => [name, checked(name, saved[snakeCase(name)], where)] as const);
  for (const [name, value] of entries) {
    const own = options[name as keyof Options];
    if (algorithm.fixed.includes(name as keyof Options & string) && value !== own) {
      throw new TypeError(`This optimizer was made with ${name} = ${show(own)}, got ${show(value)}${where}.`);
    }
  }
  const loaded = Object.fromEntries(entries);
  checkTogether(algorithm, { ...options, ...loaded }, where);
  return loaded;
}

/** What the group remembers, and its mode. */
function parseState<Options extends GroupOptions>(
  algorithm: Algorithm<Options>,
  saved: Record<string, unknown>,
  where: string,
): Pick<Loaded, 'state' | 'isTraining'> {
  const state: GroupState = {};
  for (const [name, first] of Object.entries(algorithm.group?.first ?? {})) {
    const value = saved[name];
    const least = Math.min(first, 0);
    const isGood = Number.isFinite(value) && (value as number) >= least && (name !== 'k' || Number.isInteger(value));
    expect(isGood, name + where, `a ${name === 'k' ? 'whole' : 'finite'} number of at least ${least}`, value);
    state[name] = value as number;
  }
  const { train_mode: isTraining = true } = algorithm.average === undefined ? {} : saved;
  expect(typeof isTraining === 'boolean', `train_mode${where}`, 'true or false', isTraining);
  return { state, isTraining };
}

/** The memory of a schedule; a dict without it leaves the schedule as it is. */
function parseSchedule(schedule: CommonOptions['schedule'], saved: unknown, where: string): () => void {
  if (saved === undefined) return () => {};
  expect(
    hasMemory(schedule),
    `schedule${where}`,
    'left out, since the schedule of this optimizer has no memory',
    saved,
  );
  try {
    checkMemory(schedule, saved);
  } catch (error) {
    throw new TypeError(`The schedule${where} is refused: ${(error as Error).message}`, { cause: error });
  }
  return () => schedule.loadStateDict(saved);
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
    const isCount = Number.isSafeInteger(step) && (step as number) >= 1;
    expect(isCount, `step in the ${what}`, 'a whole number of at least 1', step);
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
