// What a state dict says of a group's options.

import type { Algorithm, CommonOptions, GroupOptions } from '../algorithms/algorithm.js';
import type { Group } from '../groups.js';
import { camelCase, checked, checkTogether, isOption, snakeCase } from '../options.js';
import { checkMemory, hasMemory } from '../schedules/schedule.js';
import { expect, list, show } from '../sentences.js';
import { savedOptions } from './dict.js';

/** The options that are to be taken over; those that are functions here stay what they are. */
export function parseOptions<Options extends GroupOptions>(
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
    if (saved[name] === undefined || saved[name] === value) continue;
    const says = `${name} = ${show(saved[name])}${where}`;
    throw new TypeError(`The state dict says ${says}; ${algorithm.name} has ${show(value)}.`);
  }
  const misspelt = Object.keys(saved).filter((key) => isOption(key) && snakeCase(key) !== key);
  if (misspelt.length > 0) {
    const words = list(misspelt.map(snakeCase));
    throw new TypeError(`State dicts have PyTorch's words, ${words}, got ${list(misspelt)}${where}.`);
  }
  checkFunctions(options, saved, where);
  // Other keys are PyTorch's (foreach, fused, ...) and say how it computes, not what.
  const known = savedOptions(algorithm).filter(
    (name) => saved[snakeCase(name)] !== undefined && typeof options[name as keyof Options] !== 'function',
  );
  const entries = known.map((name) => [name, checked(name, saved[snakeCase(name)], where)] as const);
  for (const [name, value] of entries) {
    const own = options[name as keyof Options];
    if (algorithm.fixed.includes(name as keyof Options & string) && value !== own) {
      throw new TypeError(`This optimizer was made with ${name} = ${show(own)}, got ${show(value)}${where}.`);
    }
  }
  const code = entries.filter(([, value]) => typeof value === 'function').map(([name]) => snakeCase(name));
  if (code.length > 0) throw new TypeError(`Expected numbers as ${list(code)}${where}, got functions.`);
  const loaded = Object.fromEntries(entries);
  checkTogether(algorithm, { ...options, ...loaded }, where);
  return loaded;
}

/** Throws where the dict was saved with a function that is not given anew: without it training would go another way. */
function checkFunctions<Options extends GroupOptions>(
  options: Options,
  { functions: saved = [] }: Record<string, unknown>,
  where: string,
): void {
  expect(Array.isArray(saved), `functions${where}`, 'an array of names of options', saved);
  const own = options as Readonly<Record<string, unknown>>;
  const isGiven = (name: unknown): boolean =>
    typeof name === 'string' && Object.hasOwn(own, camelCase(name)) && typeof own[camelCase(name)] === 'function';
  const missing = saved.filter((name) => !isGiven(name));
  if (missing.length === 0) return;
  const what = `${list(missing)}${where}`;
  throw new TypeError(
    `The state dict was saved with functions as ${what}: make the optimizer with them, none is saved.`,
  );
}

/** The memory of a schedule; a dict without it leaves the schedule as it is. */
export function parseSchedule(schedule: CommonOptions['schedule'], saved: unknown, where: string): () => void {
  if (saved === undefined) return () => {};
  if (!hasMemory(schedule)) {
    const how = 'make this optimizer with such a schedule, or reduceOnPlateau anew';
    throw new TypeError(`The state dict has the memory of a schedule${where}, got none to take it: ${how}.`);
  }
  try {
    checkMemory(schedule, saved);
  } catch (error) {
    throw new TypeError(`The schedule${where} is refused: ${(error as Error).message}`, { cause: error });
  }
  return () => schedule.loadStateDict(saved);
}
