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

/** A tensor of a file. Its bytes are those of the file, little-endian. */
export interface SafeTensor {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
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
 * Returns the tensors of a file by name, in the order of their data, and the strings of its `__metadata__`. Each tensor
 * is a view of `file`. With `as: 'f32'` each is a Float32Array, always a copy, of F32, F16 or BF16, and `shapes` has
 * the shapes. Throws an Error unless the file is valid, and with `as` for other dtypes.
 */
export function parseSafetensors(
  file: Uint8Array | ArrayBuffer,
  options?: { as?: undefined },
): {
  metadata: ReadonlyMap<string, string>;
  tensors: ReadonlyMap<string, SafeTensor>;
};
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
 * Returns a file of these tensors, in their order. The same input gives the same bytes. Throws an Error if the length
 * of a tensor's bytes does not match its shape, or if a name is not well-formed Unicode.
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
