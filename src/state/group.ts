// What a state dict says of a group besides its options: names, what is remembered, and the mode.

import type { Algorithm, GroupOptions, GroupState } from '../algorithms/algorithm.js';
import { expect, isCount, list, show } from '../sentences.js';
import type { Stepper } from '../stepper.js';

/** The names of a saved group in its order. PyTorch saves them for named parameters; without names the order tells. */
export function namesOf(saved: Record<string, unknown>, names: string[], where: string): readonly string[] {
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

/** Which tensors are to be frozen; if the dict does not say, as PyTorch's do not, those that are now. */
export function frozenOf<Options extends GroupOptions>(
  { frozen: saved }: Record<string, unknown>,
  { names, frozen }: Stepper<Options>,
  where: string,
): ReadonlySet<string> {
  if (saved === undefined) return new Set(frozen);
  expect(Array.isArray(saved), `frozen${where}`, 'an array of names', saved);
  checkNames(saved, names, 'frozen', where);
  return new Set(saved);
}

function checkNames(saved: readonly string[], names: readonly string[], what: string, where: string): void {
  const own = new Set(names);
  const strangers = saved.filter((name) => !own.has(name));
  if (strangers.length > 0) throw new TypeError(`There is no parameter ${list(strangers)} to be ${what}${where}.`);
}

/** Throws where the dict spares other tensors from decay than the optimizer's mask does. */
export function checkNoDecay<Options extends GroupOptions>(
  { no_decay: saved }: Record<string, unknown>,
  { names, members }: Stepper<Options>,
  where: string,
): void {
  if (saved === undefined) return;
  expect(Array.isArray(saved), `no_decay${where}`, 'an array of names', saved);
  checkNames(saved, names, 'spared', where);
  const spared = new Set(saved);
  const others = members.filter(({ tensor }) => tensor.decays === spared.has(tensor.name));
  if (others.length === 0) return;
  const which = list(others.map(({ tensor }) => tensor.name));
  throw new TypeError(`The decay mask of this optimizer says otherwise of ${which} than the state dict${where}.`);
}

/** What the group remembers, and its mode. */
export function parseState<Options extends GroupOptions>(
  algorithm: Algorithm<Options>,
  saved: Record<string, unknown>,
  where: string,
): { state: GroupState; isTraining: boolean } {
  const state: GroupState = {};
  for (const [name, first] of Object.entries(algorithm.group?.first ?? {})) {
    const value = saved[name];
    const least = Math.min(first, 0);
    const isGood = name === 'k' ? isCount(value) : Number.isFinite(value) && (value as number) >= least;
    expect(isGood, name + where, `a ${name === 'k' ? 'whole' : 'finite'} number of at least ${least}`, value);
    state[name] = value as number;
  }
  const { train_mode: isTraining = true } = algorithm.average === undefined ? {} : saved;
  expect(typeof isTraining === 'boolean', `train_mode${where}`, 'true or false', isTraining);
  return { state, isTraining };
}

/** How many steps schedules have counted, where the dict says so, and which tensors did not take the latest of them. */
export function completedOf(
  { completed_steps: saved, left_out: leftOut = [] }: Record<string, unknown>,
  names: readonly string[],
  where: string,
): { completed: number | undefined; leftOut: ReadonlySet<string> } {
  const isGood = saved === undefined || (isCount(saved) && !Object.is(saved, -0));
  expect(isGood, `completed_steps${where}`, 'a whole number of at least 0', saved);
  expect(Array.isArray(leftOut), `left_out${where}`, 'an array of names', leftOut);
  checkNames(leftOut, names, 'left out', where);
  return { completed: saved as number | undefined, leftOut: new Set(leftOut) };
}
