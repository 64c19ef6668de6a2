// What a schedule is, and what all schedules share.

import { expect, isCount, isRecord, unexpected } from '../errors.js';

/** The multiplier of lr ("eta") as a function of completed steps, which are 0 before the first. */
export type Schedule = (completedSteps: number) => number;

/** What a schedule that remembers has besides, and by which it has a part in state dicts. PyTorch's, in camelCase. */
export interface ScheduleMemory {
  /** What it remembers: plain numbers, null, and records and arrays of them. */
  stateDict(): Record<string, unknown>;
  /** Takes over what `stateDict()` gave. Throws an Error for anything else, and then nothing has changed. */
  loadStateDict(dict: unknown): void;
}

/** A schedule by its formula, which sees whole numbers of at least 0 and nothing else. */
export function schedule(formula: Schedule): Schedule {
  return (completedSteps) => {
    if (isCount(completedSteps)) return formula(completedSteps);
    throw unexpected('completed steps', 'a whole number of at least 0', completedSteps);
  };
}

/** The way from one value to another, in a straight line; the end is exact. */
export const between = (from: number, to: number, part: number): number => (part >= 1 ? to : from + (to - from) * part);

export const hasMemory = (value: unknown): value is Schedule & ScheduleMemory =>
  typeof value === 'function' && isMethod(value, 'stateDict') && isMethod(value, 'loadStateDict');

const isMethod = (value: object, name: string): boolean =>
  name in value && typeof Reflect.get(value, name) === 'function';

/** How deep records and arrays may be nested in a memory. */
const MOST_LEVELS = 100;

/** A copy of a schedule's memory. Each property is read once: a getter may return another value the next time. */
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
    // A hole is refused at once, so that a long sparse array costs nothing.
    expect(item !== undefined, what, 'numbers, null, and records and arrays of them', item);
    copy.push(copyMemory(item, what, levels - 1));
  }
  return copy;
}

/** Throws what loading would throw, and changes nothing: the trial is undone. */
function checkMemory(of: ScheduleMemory, dict: unknown): void {
  const before = of.stateDict();
  try {
    of.loadStateDict(dict);
  } finally {
    of.loadStateDict(before);
  }
}

/** Gives a schedule that is made of others their memory, if one of them has any. */
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
          expect(dicts[i] === null, `schedules[${i}] in the state of a schedule`, 'null: it has no memory', dicts[i]);
      }
      for (const [i, part] of parts.entries()) if (hasMemory(part)) part.loadStateDict(dicts[i]);
    },
  };
  return Object.assign(formula, memory);
}
