// The type of a schedule, and what all schedules share.

import { expect, isCount, isRecord, unexpected } from '../errors.js';

/** The multiplier of lr ("eta") as a function of completed steps: 0 at the first step. */
export type Schedule = (completedSteps: number) => number;

/** The methods of a schedule with state, which state dicts save. PyTorch's names, in camelCase. */
export interface ScheduleMemory {
  /** Returns the state: numbers, null, and records and arrays of them. */
  stateDict(): Record<string, unknown>;
  /** Loads what `stateDict()` returned. Throws an Error for anything else, and then changes nothing. */
  loadStateDict(dict: unknown): void;
}

/** Returns `formula`, which throws an Error unless its argument is a whole number >= 0. */
export function schedule(formula: Schedule): Schedule {
  return (completedSteps) => {
    if (isCount(completedSteps)) return formula(completedSteps);
    throw unexpected('completed steps', 'a whole number of at least 0', completedSteps);
  };
}

/** Interpolates linearly between two values; the end is exact. */
export const between = (from: number, to: number, part: number): number => (part >= 1 ? to : from + (to - from) * part);

export const hasMemory = (value: unknown): value is Schedule & ScheduleMemory =>
  typeof value === 'function' && isMethod(value, 'stateDict') && isMethod(value, 'loadStateDict');

const isMethod = (value: object, name: string): boolean =>
  name in value && typeof Reflect.get(value, name) === 'function';

/** The deepest nesting of records and arrays in a schedule's state. */
const MOST_LEVELS = 100;

/** Returns a copy of a schedule's state. Reads each property once: a getter may return another value the next time. */
export function copyMemory(value: unknown, what: string, levels = MOST_LEVELS): unknown {
  if (!Array.isArray(value) && !isRecord(value)) return value;
  expect(levels > 0, what, `at most ${MOST_LEVELS} levels deep`, value);
  if (isRecord(value)) {
    const entries = Object.entries(value).map(([key, item]) => [key, copyMemory(item, what, levels - 1)]);
    return Object.fromEntries(entries);
  }
  const copy: unknown[] = [];
  for (let i = 0, { length } = value; i < length; i++) {
    const item: unknown = value[i];
    // Refuse a hole immediately: a sparse array may be very long.
    expect(item !== undefined, what, 'numbers, null, and records and arrays of them', item);
    copy.push(copyMemory(item, what, levels - 1));
  }
  return copy;
}

/** Throws what loading would throw: loads the state, then restores the old one. */
function checkMemory(of: ScheduleMemory, dict: unknown): void {
  const before = of.stateDict();
  try {
    of.loadStateDict(dict);
  } finally {
    of.loadStateDict(before);
  }
}

/** Returns `formula`, with the state of the schedules that it is made of, if any of them has one. */
export function withMemoryOf(parts: readonly Schedule[], formula: Schedule): Schedule {
  if (!parts.some(hasMemory)) return formula;
  const memory: ScheduleMemory = {
    stateDict: () => ({ schedules: parts.map((part) => (hasMemory(part) ? part.stateDict() : null)) }),
    loadStateDict(given) {
      const dict = copyMemory(given, 'the state of a schedule');
      const dicts = isRecord(dict) && Object.hasOwn(dict, 'schedules') ? dict.schedules : undefined;
      const isGood = Array.isArray(dicts) && dicts.length === parts.length;
      expect(isGood, 'the state of a schedule', `a record with ${parts.length} schedules`, dict);
      for (const [i, part] of parts.entries()) {
        if (hasMemory(part)) checkMemory(part, dicts[i]);
        else
          expect(
            dicts[i] === null,
            `schedules[${i}] in the state of a schedule`,
            'null: that schedule has no state',
            dicts[i],
          );
      }
      for (const [i, part] of parts.entries()) if (hasMemory(part)) part.loadStateDict(dicts[i]);
    },
  };
  return Object.assign(formula, memory);
}
