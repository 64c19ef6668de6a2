// The state of a schedule, as it comes from a state dict.

import { expect, isRecord } from '../errors.js';

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
