// safetensors files of any tensors (https://huggingface.co/docs/safetensors): the header, then the data.

import { expect, expectArguments, expectKeys, expectOptions, isRecord, ownOf, show, tagOf } from '../errors.js';
import { asBytes, concatenate } from './bytes.js';
import { checkFloats, toFloats } from './floats.js';
import {
  PREFIX,
  readHeader,
  readHeaderLength,
  writeHeader,
  type Dtype,
  type Entry,
  type Header,
  type HeaderBounds,
} from './header.js';
import type { Bytes, Floats } from '../platform.js';

/** A tensor of a file. */
export interface SafeTensor {
  /** The type of its elements. */
  readonly dtype: Dtype;
  /** The sizes of its dimensions, rows first. A scalar has the shape []. */
  readonly shape: readonly number[];
  /** Its elements, rows first, little-endian. */
  readonly bytes: Uint8Array;
}

/** Returns the header of a file, and its data. Throws an Error unless the file is valid. */
export function readFile(bytes: Uint8Array, bounds?: HeaderBounds): { header: Header; data: Uint8Array } {
  const begin = PREFIX + readHeaderLength(bytes.subarray(0, PREFIX + 1), bounds);
  expect(begin <= bytes.length, 'the end of the header', `within the file of ${bytes.length} bytes`, begin);
  const header = readHeader(bytes.subarray(PREFIX, begin), bounds);
  const size = begin + (header.entries.at(-1)?.end ?? 0);
  expect(size === bytes.length, 'the length of the file', `${size} bytes, as its header says`, bytes.length);
  return { header, data: bytes.subarray(begin) };
}

/**
 * Reads a safetensors file of any dtypes, without copying.
 *
 * @param file - The whole file.
 * @param options - None here; see the other signature.
 * @returns `tensors` by name, in the order of their data, each a view of `file`, and `metadata`, the strings of its
 *   `__metadata__`.
 * @throws TypeError or RangeError unless the file is valid.
 * @example
 * const { tensors, metadata } = parseSafetensors(await saveCheckpoint(optimizer));
 * tensors.get('param/weight')!.bytes; // 4 bytes for each value
 */
export function parseSafetensors(
  file: Uint8Array | ArrayBuffer,
  options?: { as?: undefined },
): {
  metadata: ReadonlyMap<string, string>;
  tensors: ReadonlyMap<string, SafeTensor>;
};
/**
 * Reads a safetensors file into Float32Arrays.
 *
 * @param file - The whole file, of F32, F16 or BF16.
 * @param options - `as: 'f32'`.
 * @returns `tensors` by name, in the order of their data, each a flat copy; `shapes` by name; and `metadata`, the
 *   strings of its `__metadata__`.
 * @throws TypeError or RangeError unless the file is valid, and for other dtypes.
 * @example
 * const { tensors } = parseSafetensors(await saveCheckpoint(optimizer), { as: 'f32' });
 * const weight = tensors.get('param/weight');
 */
export function parseSafetensors(
  file: Uint8Array | ArrayBuffer,
  options: { as: 'f32' },
): {
  metadata: ReadonlyMap<string, string>;
  tensors: ReadonlyMap<string, Floats>;
  shapes: ReadonlyMap<string, readonly number[]>;
};
export function parseSafetensors(file: Uint8Array | ArrayBuffer, options: { as?: 'f32' | undefined } = {}): unknown {
  expectArguments(arguments.length, 2, 'parseSafetensors');
  expectOptions(options, 'parseSafetensors', ['as']);
  const { as } = ownOf<{ as?: unknown }>(options);
  expect(as === undefined || as === 'f32', 'as', '"f32"', as);
  const { header, data } = readFile(asBytes(file));
  const { metadata, entries } = header;
  if (as === undefined) {
    const tensors = new Map<string, SafeTensor>();
    for (const { name, dtype, shape, begin, end } of entries) {
      tensors.set(name, { dtype, shape, bytes: data.subarray(begin, end) });
    }
    return { metadata, tensors };
  }
  // Check all dtypes first, so that nothing is copied of a file that is refused.
  for (const { name, dtype } of entries) checkFloats(name, dtype);
  const tensors = new Map(entries.map((entry) => [entry.name, toFloats(entry, data)]));
  return { metadata, tensors, shapes: new Map(entries.map(({ name, shape }) => [name, shape])) };
}

/**
 * Writes a safetensors file. The same input gives the same bytes.
 *
 * @param tensors - The tensors by name, written in their order.
 * @param metadata - The strings of `__metadata__`. Default: none.
 * @returns The bytes of the file.
 * @throws TypeError if the length of a tensor's bytes does not match its shape, or if a name is not well-formed
 *   Unicode.
 * @example
 * const bytes = new Uint8Array(new Float32Array([1, 2, 3, 4]).buffer);
 * const file = serializeSafetensors(new Map([['w', { dtype: 'F32', shape: [2, 2], bytes }]]));
 */
export function serializeSafetensors(
  tensors: ReadonlyMap<string, SafeTensor>,
  metadata: ReadonlyMap<string, string> = new Map(),
): Bytes {
  expectArguments(arguments.length, 2, 'serializeSafetensors');
  checkMap(tensors, 'the tensors');
  checkMap(metadata, 'the metadata');
  let end = 0;
  const data: Uint8Array[] = [];
  const entries = Array.from(tensors, ([name, tensor]): Entry => {
    expect(isRecord(tensor), `tensor ${show(name)}`, 'a record with dtype, shape and bytes', tensor);
    expectKeys(tensor, `tensor ${show(name)}`, ['dtype', 'shape', 'bytes']);
    const { dtype, shape, bytes: given } = ownOf(tensor);
    const bytes = asBytes(given, `the bytes of tensor ${show(name)}`);
    data.push(bytes);
    const begin = end;
    end += bytes.length;
    return { name, dtype, shape, begin, end };
  });
  return concatenate(writeHeader({ metadata, entries }), data);
}

function checkMap(map: unknown, what: string): void {
  expect(tagOf(map) === 'Map', what, 'a Map by name', map);
  for (const name of (map as ReadonlyMap<unknown, unknown>).keys()) {
    expect(typeof name === 'string', `a name in ${what}`, 'a string', name);
  }
}
