// Reads and checks the options of schedules.

import { expect, expectArguments, isCount, isRecord, list, ownOf, show, suggest } from '../errors.js';
import type { Schedule } from '../algorithms/schedule.js';

/** The check of an option, and its default. An option without a default is required. */
export interface Check<Value> {
  readonly wanted: string;
  readonly accepts: (value: unknown) => boolean;
  readonly fallback: Value | undefined;
}

const numeric =
  (wanted: string, accepts: (value: number) => boolean) =>
  (fallback?: number): Check<number> => ({
    wanted,
    accepts: (value) => typeof value === 'number' && accepts(value),
    fallback,
  });

export const notNegative = numeric('a finite number of at least 0', (value) => value >= 0 && value < Infinity);
export const positive = numeric('a finite number of more than 0', (value) => value > 0 && value < Infinity);
export const share = numeric('a number from 0 to 1', (value) => value >= 0 && value <= 1);
export const rate = numeric('a number of at least 0 and less than 1', (value) => value >= 0 && value < 1);

export const whole = (least: number, fallback?: number): Check<number> =>
  numeric(`a whole number of at least ${least}`, (value) => isCount(value, least))(fallback);

export const wholes = (): Check<readonly number[]> => ({
  wanted: 'an array of whole numbers of at least 0',
  accepts: (value) => Array.isArray(value) && Array.from(value).every((item) => isCount(item)),
  fallback: undefined,
});

export const flag = (fallback: boolean): Check<boolean> => ({
  wanted: 'true or false',
  accepts: (value) => typeof value === 'boolean',
  fallback,
});

export const oneOf = <Word extends string>(words: readonly Word[], fallback: Word): Check<Word> => ({
  wanted: `one of ${list(words)}`,
  accepts: (value) => words.includes(value as Word),
  fallback,
});

/** PyTorch's options that are an absolute lr, and our options that replace them, which are fractions of lr. */
const fractions: Readonly<Record<string, string>> = {
  etaMin: 'minLrRate',
  eta_min: 'minLrRate',
  minLr: 'minLrRate',
  min_lr: 'minLrRate',
  eps: 'minReduction',
};

type Checks<Values> = { readonly [Name in keyof Values]: Check<Values[Name]> };

/** Checks the options of the schedule `name`. Returns them, with defaults for the missing ones. */
export function read<Values extends object>(
  name: string,
  options: unknown,
  args: number,
  checks: Checks<Values>,
): Values {
  expectArguments(args, 1, name);
  expect(isRecord(options), `the options of ${name}`, 'a record', options);
  const given = ownOf(options);
  const names = Object.keys(checks);
  for (const [key, value] of Object.entries(given)) {
    if (names.includes(key)) continue;
    const fraction = Object.hasOwn(fractions, key) ? fractions[key] : '';
    if (Object.hasOwn(checks, fraction)) {
      const instead = `${name} takes ${fraction}, a fraction of lr: divide it by lr`;
      throw new TypeError(`${key} is an absolute lr in PyTorch, and ${instead}, got ${show(value)}.`);
    }
    const has = `${name} has ${list(names, Infinity)}.${suggest(key, names)}`;
    throw new TypeError(`Unknown option ${show(key)}, got ${show(value)}; ${has}`);
  }
  const entries = Object.entries(checks as Record<string, Check<unknown>>).map(([key, check]) => {
    // undefined means the default, as in calls. null is refused.
    const value = given[key] === undefined ? check.fallback : given[key];
    expect(check.accepts(value), key, check.wanted, value);
    return [key, value];
  });
  return Object.fromEntries(entries) as Values;
}

export function expectSchedule(value: unknown, what: string): asserts value is Schedule {
  expect(typeof value === 'function', what, 'a function from completed steps to a multiplier of lr', value);
}
