// Copies what callers pass. Reads each property once, so that getters, proxies, subclasses and shared memory cannot
// change a value between its check and its use.

import { gone, isFloat32Array } from '../backends/memory.js';
import { expect, isCount, isRecord, ownOf } from '../errors.js';

/** Returns a copy of the own properties of a record, without any that were added to Object.prototype. */
export function ownProperties(value: unknown, what: string, wanted: string): Record<string, unknown> {
  expect(isRecord(value), what, wanted, value);
  return ownOf(value);
}

/** Returns a copy of `key` of a group, a list of names. */
export const copyNames = (value: unknown, key: string, where: string): string[] =>
  copyList(value, key, where, 'a string', (item) => typeof item === 'string');

/** Returns a copy of `key` of a group, a list of indices. */
export const copyIndices = (value: unknown, key: string, where: string): number[] =>
  copyList(value, key, where, 'a whole number of at least 0', (item) => isCount(item) && !Object.is(item, -0));

function copyList<Item>(
  value: unknown,
  key: string,
  where: string,
  wanted: string,
  isItem: (item: unknown) => boolean,
): Item[] {
  expect(Array.isArray(value), key + where, 'an array', value);
  const copy: Item[] = [];
  for (let i = 0, { length } = value; i < length; i++) {
    const item: unknown = value[i];
    // Also refuses the first hole of a long sparse array.
    expect(isItem(item), `${key}[${i}]${where}`, wanted, item);
    copy.push(item as Item);
  }
  return copy;
}

/** Returns a copy of a Float32Array of `length` values. Reads its internal slots, which a subclass cannot override. */
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
    // A RangeError: there is no memory for the copy.
    if (error instanceof RangeError) throw error;
    throw gone(what);
  }
}
