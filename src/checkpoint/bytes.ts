// Checks and joins the bytes that callers pass.

import { gone, isThere } from '../backends/memory.js';
import { expect, tagOf } from '../errors.js';
import type { Bytes } from '../platform.js';

const isBytes = (value: unknown): value is Uint8Array => ArrayBuffer.isView(value) && tagOf(value) === 'Uint8Array';
const isBuffer = (value: unknown): value is ArrayBuffer => tagOf(value) === 'ArrayBuffer';

/** Whether a value is bytes and not a stream of them. */
export const isBinary = (value: unknown): boolean => ArrayBuffer.isView(value) || isBuffer(value);

export function asBytes(value: unknown, what = 'the bytes', wanted = 'a Uint8Array or an ArrayBuffer'): Uint8Array {
  try {
    if (isBuffer(value)) return new Uint8Array(value);
  } catch {
    throw gone(what);
  }
  expect(isBytes(value), what, wanted, value);
  if (!isThere(value)) throw gone(what);
  // A plain Uint8Array: `slice` of Node's Buffer does not copy.
  return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
}

export function concatenate(first: Uint8Array, rest: readonly Uint8Array[]): Bytes {
  const all = [first, ...rest];
  const bytes = new Uint8Array(all.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of all) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** Returns the bytes of an array. Every known engine is little-endian, as the file is. */
export const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);
