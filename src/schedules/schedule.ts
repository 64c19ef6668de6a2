// What all schedules share.

import { hasMemory, type Schedule, type ScheduleMemory } from '../algorithms/schedule.js';
import { copyMemory } from '../algorithms/schedule-state.js';
import { expect, isCount, isRecord, unexpected } from '../errors.js';

/** Returns `formula`, which throws an Error unless its argument is a whole number >= 0. */
export function schedule(formula: Schedule): Schedule {
  return (completedSteps) => {
    if (isCount(completedSteps)) return formula(completedSteps);
    throw unexpected('completed steps', 'a whole number of at least 0', completedSteps);
  };
}

/** Interpolates linearly between two values; the end is exact. */
export const between = (from: number, to: number, part: number): number => (part >= 1 ? to : from + (to - from) * part);

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
