// Checks options when an optimizer is made and when they are assigned, by the checks of the algorithm.

import type { AnyAlgorithm, GroupOptions } from '../algorithms/algorithm.js';
import type { Check } from '../algorithms/checks.js';
import { expect, list, ownOf, show, suggest, unexpected } from '../errors.js';

/**
 * Returns all options of a group: its own, else those of the optimizer, else the defaults. Throws for an unknown option
 * or a bad value. `where` names the group in error messages: "", " of group 1" or ' of group "head"'.
 */
export function resolveOptions(
  algorithm: AnyAlgorithm,
  ofGroup: Record<string, unknown>,
  ofOptimizer: Record<string, unknown>,
  where: string,
): GroupOptions {
  const resolved: Record<string, unknown> = ownOf({});
  const sources = [ownOf(ofGroup), ownOf(ofOptimizer)];
  for (const source of sources) {
    for (const name of Object.keys(source)) expectKnown(algorithm, name, source[name], where);
  }
  for (const [name, fallback] of Object.entries(algorithm.defaults)) {
    // `undefined` means the default, as for function parameters. null is a value, and refused.
    const given = sources.map((source) => source[name]).find((value) => value !== undefined);
    resolved[name] = checkOption(algorithm, name, given !== undefined ? given : fallback, where);
  }
  checkTogether(algorithm, resolved as GroupOptions, where);
  return resolved as GroupOptions;
}

/** Throws if options that are valid alone cannot be combined. */
export function checkTogether(algorithm: AnyAlgorithm, options: Readonly<GroupOptions>, where: string): void {
  const conflict = algorithm.conflict?.(options);
  if (conflict !== undefined) throw new TypeError(`Cannot combine the options${where}: ${conflict}`);
}

/** The options of a group, which its owner reads and assigns. */
export interface LiveOptions {
  /** The object to show. Assigning to it checks the value, then takes effect at the next step, or throws. */
  readonly view: GroupOptions;
  /** Assigns values that were checked. */
  assign(values: object): void;
  /** The number of assignments by the owner. */
  readonly assignments: number;
}

/**
 * Shows `options` with further, read-only properties, one for each of `getters`. The view is a copy: a step reads
 * `options`, which is fast because it has no getters.
 */
export function showOptions(
  algorithm: AnyAlgorithm,
  options: GroupOptions,
  getters: Readonly<Record<string, () => unknown>>,
  where: string,
): LiveOptions {
  const values = options as Readonly<Record<string, unknown>>;
  const copy = {} as GroupOptions;
  for (const [name, get] of Object.entries(getters)) {
    Object.defineProperty(copy, name, ownOf({ get, enumerable: true }));
  }
  const assign = (assigned: object): void => {
    Object.assign(options, assigned);
    Object.assign(copy, assigned);
  };
  assign(options);
  let assignments = 0;
  const traps: ProxyHandler<GroupOptions> = {
    set(_, name, value) {
      const key = String(name);
      if (Object.hasOwn(getters, key)) throw new TypeError(`${key} is read-only, got ${show(value)}.`);
      expectKnown(algorithm, key, value, where);
      const next = checkOption(algorithm, key, value, where);
      if (next !== values[key] && algorithm.fixed.includes(key as keyof GroupOptions)) {
        throw new TypeError(
          `${key} is fixed at creation, since it decides the optimizer's memory, got ${show(value)}.`,
        );
      }
      checkTogether(algorithm, { ...options, [key]: next }, where);
      assign({ [key]: next });
      assignments += 1;
      return true;
    },
    defineProperty: refuse,
    deleteProperty: refuse,
  };
  return {
    view: new Proxy(copy, ownOf(traps)),
    assign,
    get assignments() {
      return assignments;
    },
  };
}

function refuse(_: object, name: string | symbol): never {
  throw new TypeError(`Cannot redefine or delete an option of a group, only assign it: ${String(name)}.`);
}

/** Throws if the algorithm has no option of this name. */
function expectKnown(algorithm: AnyAlgorithm, name: string, value: unknown, where: string): void {
  if (Object.hasOwn(algorithm.defaults, name)) return;
  const names = Object.keys(algorithm.defaults);
  const ofOptimizer = ['backend', 'device', 'threads', 'wasm', 'keepGrads'];
  const ofStep = ['maxNorm', 'maxValue', 'normalize', 'ifFinite', 'scaler'];
  const ofWhole = ofStep.includes(name)
    ? `${name} is an option of step()`
    : 'backend, device, threads, wasm and keepGrads belong to the optimizer as a whole';
  const has = `${algorithm.name} has ${list(names, Infinity)}; ${ofWhole}.${suggest(name, [...names, ...ofOptimizer, 'shapes'])}`;
  throw new TypeError(`Unknown option ${show(name)}${where}, got ${show(value)}; ${has}`);
}

/** Returns the value of an option, or a frozen copy if it is an array. Throws if the value is not valid. */
export function checkOption(algorithm: AnyAlgorithm, name: string, value: unknown, where: string): unknown {
  const { accepts, wanted } = checkOf(algorithm, name);
  expect(accepts(value), name + where, wanted, value);
  return Array.isArray(value) ? Object.freeze([...value]) : value;
}

/** Returns an option's value after `completed` steps. Calls it if it is a function, and throws if the result is bad. */
export function valueAt<Value>(
  algorithm: AnyAlgorithm,
  name: string,
  value: Value | ((completed: number) => Value),
  completed: number,
  where: string,
): Value {
  if (!isFunction(value)) return value;
  const result: unknown = value(completed);
  const { wanted, accepts } = checkOf(algorithm, name).returns!;
  if (accepts(result)) return result as Value;
  throw unexpected(`${name}(${completed})${where}`, wanted, result);
}

const isFunction = (value: unknown): value is (completed: number) => unknown => typeof value === 'function';

/** Returns the check of an option that the algorithm has. */
const checkOf = ({ checks }: AnyAlgorithm, name: string): Check => checks[name as keyof GroupOptions];

/** Converts 'weightDecay' to 'weight_decay', PyTorch's spelling. */
export const snakeCase = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** Converts 'weight_decay' to 'weightDecay'. */
export const camelCase = (name: string): string => name.replace(/_./g, ([, letter]) => letter.toUpperCase());
