// Bytes as callers hand them over.

import { expect } from '../sentences.js';

export const isBytes = (value: unknown): value is Uint8Array =>
  Object.prototype.toString.call(value) === '[object Uint8Array]' && ArrayBuffer.isView(value);

/** Never a Buffer of Node's, whose `slice` does not copy. */
export function asBytes(value: unknown): Uint8Array {
  if (Object.prototype.toString.call(value) === '[object ArrayBuffer]') return new Uint8Array(value as ArrayBuffer);
  expect(isBytes(value), 'the bytes', 'a Uint8Array or an ArrayBuffer', value);
  return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
}

export function concatenate(first: Uint8Array, rest: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = [first, ...rest];
  const bytes = new Uint8Array(all.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of all) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** The bytes of an array; every engine that there is has them in the file's order. */
export const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);
