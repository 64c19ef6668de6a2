// safetensors files of any tensors (https://huggingface.co/docs/safetensors): the header, then the data.

import { expect } from '../sentences.js';
import { asBytes, concatenate } from './bytes.js';
import { PREFIX, readHeader, readHeaderLength, writeHeader, type Dtype, type Entry } from './header.js';

/** A tensor of a file: its values as they stand there, little-endian. */
export interface SafeTensor {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

/**
 * The tensors of a file by name, in the order of their data, each a view of the bytes handed over, and the strings that
 * the file has as `__metadata__`. Throws a sentence for a file that breaks any rule of the format.
 */
export function parseSafetensors(file: Uint8Array | ArrayBuffer): {
  metadata: ReadonlyMap<string, string>;
  tensors: ReadonlyMap<string, SafeTensor>;
} {
  const bytes = asBytes(file);
  const begin = PREFIX + readHeaderLength(bytes.subarray(0, PREFIX));
  expect(begin <= bytes.length, 'the end of the header', `within the file of ${bytes.length} bytes`, begin);
  const { metadata, entries } = readHeader(bytes.subarray(PREFIX, begin));
  const size = begin + (entries.at(-1)?.end ?? 0);
  expect(size === bytes.length, 'the length of the file', `${size} bytes, as its header says`, bytes.length);
  const tensors = entries.map(
    ({ name, dtype, shape, begin: first, end }) =>
      [name, { dtype, shape, bytes: bytes.subarray(begin + first, begin + end) }] as const,
  );
  return { metadata, tensors: new Map(tensors) };
}

/**
 * A file of these tensors, their data in the order in which they are listed. The same input gives the same bytes. Throws
 * a sentence for a tensor whose bytes do not have the length of its shape, or a name that is not well-formed Unicode.
 */
export function serializeSafetensors(
  tensors: ReadonlyMap<string, SafeTensor>,
  metadata: ReadonlyMap<string, string> = new Map(),
): Uint8Array<ArrayBuffer> {
  let end = 0;
  const entries = [...tensors].map(([name, { dtype, shape, bytes }]): Entry => {
    const begin = end;
    end += asBytes(bytes).length;
    return { name, dtype, shape, begin, end };
  });
  return concatenate(
    writeHeader({ metadata, entries }).bytes,
    Array.from(tensors.values(), ({ bytes }) => bytes),
  );
}
