// Options at creation and on assignment to a live group, checked by their algorithm's checks.

import type { AnyAlgorithm, GroupOptions } from '../algorithms/algorithm.js';
import type { Check } from '../algorithms/checks.js';
import { expect, list, ownOf, show, suggest, unexpected } from '../errors.js';

/** Names in PyTorch's spelling, and back. */
export const snakeCase = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
export const camelCase = (name: string): string => name.replace(/_./g, ([, letter]) => letter.toUpperCase());

/** The group's whole set of options: what it is given itself, else what the optimizer is given, else the defaults. */
export function resolve(
  algorithm: AnyAlgorithm,
  ofGroup: Record<string, unknown>,
  ofAll: Record<string, unknown>,
  where: string,
): GroupOptions {
  const resolved: Record<string, unknown> = ownOf({});
  const sources = [ownOf(ofGroup), ownOf(ofAll)];
  for (const source of sources) {
    for (const name of Object.keys(source)) known(algorithm, name, source[name], where);
  }
  for (const [name, fallback] of Object.entries(algorithm.defaults)) {
    // As with parameters of functions, `undefined` is an option left out; null is a value, and refused.
    const given = sources.map((source) => source[name]).find((value) => value !== undefined);
    resolved[name] = checked(algorithm, name, given !== undefined ? given : fallback, where);
  }
  checkTogether(algorithm, resolved as GroupOptions, where);
  return resolved as GroupOptions;
}

/** Throws where options, each of them good, cannot stand together. */
export function checkTogether(algorithm: AnyAlgorithm, options: Readonly<GroupOptions>, where: string): void {
  const conflict = algorithm.conflict?.(options);
  if (conflict !== undefined) throw new TypeError(`Cannot take the options${where}: ${conflict}`);
}

/** The options of a running group, as its owner sees them. */
export interface Live {
  /** An assignment is checked, takes effect at the next step, and changes nothing when it is refused. */
  readonly shown: GroupOptions;
  /** Assigns what has been checked. */
  take(values: object): void;
  /** How often an option was assigned by its owner. */
  readonly assignments: number;
}

/** Shows `options` with `further` properties, which are read-only: on a copy, since an object with getters is slow to step from. */
export function live(
  algorithm: AnyAlgorithm,
  options: GroupOptions,
  further: Readonly<Record<string, () => unknown>>,
  where: string,
): Live {
  const values = options as Readonly<Record<string, unknown>>;
  const copy = {} as GroupOptions;
  for (const [name, get] of Object.entries(further)) {
    Object.defineProperty(copy, name, ownOf({ get, enumerable: true }));
  }
  const take = (taken: object): void => {
    Object.assign(options, taken);
    Object.assign(copy, taken);
  };
  take(options);
  let assignments = 0;
  const traps: ProxyHandler<GroupOptions> = {
    set(_, name, value) {
      const key = String(name);
      if (Object.hasOwn(further, key)) throw new TypeError(`${key} is read-only, got ${show(value)}.`);
      known(algorithm, key, value, where);
      const next = checked(algorithm, key, value, where);
      if (next !== values[key] && algorithm.fixed.includes(key as keyof GroupOptions)) {
        throw new TypeError(`${key} decides the optimizer's memory and is fixed once it is made, got ${show(value)}.`);
      }
      checkTogether(algorithm, { ...options, [key]: next }, where);
      take({ [key]: next });
      assignments += 1;
      return true;
    },
    defineProperty: refuse,
    deleteProperty: refuse,
  };
  return {
    shown: new Proxy(copy, ownOf(traps)),
    take,
    get assignments() {
      return assignments;
    },
  };
}

function refuse(_: object, name: string | symbol): never {
  throw new TypeError(`Options of a group are assigned, not redefined or deleted: ${String(name)}.`);
}

function known(algorithm: AnyAlgorithm, name: string, value: unknown, where: string): void {
  if (Object.hasOwn(algorithm.defaults, name)) return;
  const names = Object.keys(algorithm.defaults);
  const machine = ['backend', 'device', 'threads', 'wasm', 'keepGrads'];
  const ofWhole = 'backend, device, threads, wasm and keepGrads belong to the optimizer as a whole';
  const has = `${algorithm.name} has ${list(names, Infinity)}; ${ofWhole}.${suggest(name, [...names, ...machine])}`;
  throw new TypeError(`Unknown option ${show(name)}${where}, got ${show(value)}; ${has}`);
}

const isFunction = (value: unknown): value is (completed: number) => unknown => typeof value === 'function';

/** The check of an option that the algorithm has. */
const checkOf = ({ checks }: AnyAlgorithm, name: string): Check => checks[name as keyof GroupOptions];

/** An option after `completed` steps: the value, or where that is a function what it returns, checked. */
export function valueAt<Value>(
  algorithm: AnyAlgorithm,
  name: string,
  value: Value | ((completed: number) => Value),
  completed: number,
  where: string,
): Value {
  if (!isFunction(value)) return value;
  const answer: unknown = value(completed);
  const { wanted, accepts } = checkOf(algorithm, name).returns!;
  if (accepts(answer)) return answer as Value;
  throw unexpected(`${name}(${completed})${where}`, wanted, answer);
}

/** Returns the value of an option, arrays as a frozen copy. Throws unless the option may have it. */
export function checked(algorithm: AnyAlgorithm, name: string, value: unknown, where: string): unknown {
  const { accepts, wanted } = checkOf(algorithm, name);
  expect(accepts(value), name + where, wanted, value);
  return Array.isArray(value) ? Object.freeze([...value]) : value;
}
