// What each option may be, once, for creation and for assignments to a live group alike.

import type { Algorithm } from '../algorithms/algorithm.js';
import { expect, isCount, isRecord, list, ownOf, show, suggest, unexpected } from '../errors.js';

interface Check {
  readonly wanted: string;
  accepts(value: never): boolean;
}

// Bounds are checked on the f32 value where the kernels see one: 1e300 is finite in f64 only.
const finite = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(Math.fround(value));
const notNegative: Check = {
  wanted: 'a finite number of at least 0',
  accepts: (value: unknown) => finite(value) && value >= 0,
};
const flag: Check = { wanted: 'true or false', accepts: (value: unknown) => typeof value === 'boolean' };
const isRate = (value: unknown): boolean => typeof value === 'number' && value >= 0 && value < 1;
const rate: Check = { wanted: 'a number of at least 0 and less than 1', accepts: isRate };
const pair: Check = {
  wanted: 'two numbers of at least 0 and less than 1',
  accepts: (value: unknown) => Array.isArray(value) && value.length === 2 && isRate(value[0]) && isRate(value[1]),
};

/** Options that may be functions of completed steps, and what these may say. */
const perStep: Readonly<Record<string, Check>> = {
  schedule: notNegative,
  weightDecay: notNegative,
  betas: pair,
  decay: rate,
};
const orFunction = (name: string, what: string): Check => ({
  wanted: `${perStep[name].wanted}, or a function from completed steps to ${what}`,
  accepts: (value: unknown) => typeof value === 'function' || perStep[name].accepts(value as never),
});

const checks: Readonly<Record<string, Check>> = {
  lr: notNegative,
  eps: notNegative,
  epsRoot: notNegative,
  momentumDecay: notNegative,
  r: notNegative,
  weightLrPower: notNegative,
  weightDecay: orFunction('weightDecay', 'one'),
  betas: orFunction('betas', 'them'),
  decay: orFunction('decay', 'one'),
  innerMomentum: rate,
  momentum: {
    wanted: 'a number of more than 0 and less than 1',
    accepts: (value: unknown) => isRate(value) && value !== 0,
  },
  warmupSteps: {
    wanted: 'a whole number of at least 0',
    accepts: (value: unknown) => isCount(value),
  },
  decayAt: { wanted: '"y" or "z"', accepts: (value: unknown) => value === 'y' || value === 'z' },
  gradScale: {
    wanted: 'a finite number of at least 0 (maximize steps up the gradient)',
    accepts: (value: unknown) => finite(value) && value >= 0,
  },
  amsgrad: flag,
  maximize: flag,
  couple: flag,
  epsHat: flag,
  nesterov: flag,
  silentSgdPhase: flag,
  decoupledWeightDecay: flag,
  schedule: {
    wanted: 'a function from completed steps to a multiplier of lr',
    accepts: (value: unknown) => value === undefined || typeof value === 'function',
  },
  decayMask: {
    wanted: 'a function from a name to true or false, or a record of them',
    accepts: (value: unknown) => value === undefined || typeof value === 'function' || isRecord(value),
  },
};

/** Whether some algorithm has an option of that name. */
export const isOption = (name: string): boolean => Object.hasOwn(checks, name);

/** Names in PyTorch's spelling, and back. */
export const snakeCase = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
export const camelCase = (name: string): string => name.replace(/_./g, ([, letter]) => letter.toUpperCase());

/** The group's whole set of options: what it is given itself, else what the optimizer is given, else the defaults. */
export function resolve<Options extends object>(
  algorithm: Algorithm<Options>,
  ofGroup: Record<string, unknown>,
  ofAll: Record<string, unknown>,
  where: string,
): Options {
  const resolved: Record<string, unknown> = ownOf({});
  const sources = [ownOf(ofGroup), ownOf(ofAll)];
  for (const source of sources) {
    for (const name of Object.keys(source)) known(algorithm, name, source[name], where);
  }
  for (const [name, fallback] of Object.entries(algorithm.defaults)) {
    // As with parameters of functions, `undefined` is an option left out; null is a value, and refused.
    const given = sources.map((source) => source[name]).find((value) => value !== undefined);
    resolved[name] = checked(name, given !== undefined ? given : fallback, where);
  }
  checkTogether(algorithm, resolved as Options, where);
  return resolved as Options;
}

/** Throws where options, each of them good, cannot stand together. */
export function checkTogether<Options extends object>(
  algorithm: Algorithm<Options>,
  options: Readonly<Options>,
  where: string,
): void {
  const conflict = algorithm.conflict?.(options);
  if (conflict !== undefined) throw new TypeError(`Cannot take the options${where}: ${conflict}`);
}

/** The options of a running group, as its owner sees them. */
export interface Live<Options> {
  /** An assignment is checked, takes effect at the next step, and changes nothing when it is refused. */
  readonly shown: Options;
  /** Assigns what has been checked. */
  take(values: Readonly<Record<string, unknown>>): void;
  /** How often an option was assigned by its owner. */
  readonly assignments: number;
}

/** Shows `options` with `further` properties, which are read-only: on a copy, since an object with getters is slow to step from. */
export function live<Options extends object>(
  algorithm: Algorithm<Options>,
  options: Options,
  further: Readonly<Record<string, () => unknown>>,
  where: string,
): Live<Options> {
  const values = options as Readonly<Record<string, unknown>>;
  const copy = {} as Options;
  for (const [name, get] of Object.entries(further)) {
    Object.defineProperty(copy, name, ownOf({ get, enumerable: true }));
  }
  const take = (taken: Readonly<Record<string, unknown>>): void => {
    Object.assign(options, taken);
    Object.assign(copy, taken);
  };
  take(options as Readonly<Record<string, unknown>>);
  let assignments = 0;
  const traps: ProxyHandler<Options> = {
    set(_, name, value) {
      const key = String(name);
      if (Object.hasOwn(further, key)) throw new TypeError(`${key} is read-only, got ${show(value)}.`);
      known(algorithm, key, value, where);
      const next = checked(key, value, where);
      if (next !== values[key] && algorithm.fixed.includes(key as keyof Options & string)) {
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
    shown: new Proxy<Options>(copy, ownOf(traps)),
    take,
    get assignments() {
      return assignments;
    },
  };
}

function refuse(_: object, name: string | symbol): never {
  throw new TypeError(`Options of a group are assigned, not redefined or deleted: ${String(name)}.`);
}

function known<Options extends object>(
  algorithm: Algorithm<Options>,
  name: string,
  value: unknown,
  where: string,
): void {
  if (Object.hasOwn(algorithm.defaults, name)) return;
  const names = Object.keys(algorithm.defaults);
  const machine = ['backend', 'device', 'threads', 'wasm', 'keepGrads'];
  const ofWhole = 'backend, device, threads, wasm and keepGrads belong to the optimizer as a whole';
  const has = `${algorithm.name} has ${list(names, Infinity)}; ${ofWhole}.${suggest(name, [...names, ...machine])}`;
  throw new TypeError(`Unknown option ${show(name)}${where}, got ${show(value)}; ${has}`);
}

const isFunction = (value: unknown): value is (completed: number) => unknown => typeof value === 'function';

/** An option as it is after so many steps: where it is a function, what that says, checked. */
export function valueAt<Value>(
  value: Value | ((completed: number) => Value),
  name: string,
  completed: number,
  where: string,
): Value {
  if (!isFunction(value)) return value;
  const answer: unknown = value(completed);
  const { wanted, accepts } = perStep[name];
  if (accepts(answer as never)) return answer as Value;
  throw unexpected(`${name}(${completed})${where}`, wanted, answer);
}

/** `value`, if the option `name` may have it. */
export function checked(name: string, value: unknown, where: string): unknown {
  const { accepts, wanted } = checks[name];
  expect(accepts(value as never), name + where, wanted, value);
  return Array.isArray(value) ? Object.freeze([...value]) : value;
}
