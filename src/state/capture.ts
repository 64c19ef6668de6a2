// Copies of what callers hand over. Each property is read once, so that getters, proxies, subclasses and shared memory
// cannot change a value between its check and its use.

import { gone, isFloat32Array } from '../backends/memory.js';
import { expect, isCount, isRecord, ownOf } from '../errors.js';

/** The own properties of a record, without any that were added to Object.prototype. */
export function ownProperties(value: unknown, what: string, wanted: string): Record<string, unknown> {
  expect(isRecord(value), what, wanted, value);
  return ownOf(value);
}

/** A list of names, `key` of a group. A hole is refused at once, so that a long sparse array costs nothing. */
export const copyNames = (value: unknown, key: string, where: string): string[] =>
  copyList(value, key, where, 'an array of names', 'a string', (item) => typeof item === 'string') as string[];

/** A list of indices, `key` of a group. */
export const copyIndices = (value: unknown, key: string, where: string): number[] =>
  copyList(value, key, where, 'an array of indices', 'a whole number of at least 0', (item) => {
    return isCount(item) && !Object.is(item, -0);
  }) as number[];

function copyList(
  value: unknown,
  key: string,
  where: string,
  wanted: string,
  wantedItem: string,
  accepts: (item: unknown) => boolean,
): unknown[] {
  expect(Array.isArray(value), key + where, wanted, value);
  const copy: unknown[] = [];
  for (let i = 0, { length } = value; i < length; i++) {
    const item: unknown = value[i];
    expect(accepts(item), `${key}[${i}]${where}`, wantedItem, item);
    copy.push(item);
  }
  return copy;
}

/** A copy of a Float32Array of `length` values, from its internal slots, which no subclass can override. */
export function copyValues(value: unknown, length: number, what: string): Float32Array {
  expect(isFloat32Array(value), what, 'a Float32Array', value);
  const values = copyOf(value, what);
  if (values.length === length) return values;
  throw new RangeError(`Expected ${length} values of ${what}, got ${values.length}.`);
}

function copyOf(value: Float32Array, what: string): Float32Array {
  try {
    return new Float32Array(value);
  } catch (error) {
    // A RangeError says that there is no memory for the copy.
    if (error instanceof RangeError) throw error;
    throw gone(what);
  }
}
