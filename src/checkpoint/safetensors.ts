// safetensors files of any tensors (https://huggingface.co/docs/safetensors): the header, then the data.

import { expect, isRecord, show } from '../sentences.js';
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
 * the file has as `__metadata__`. Throws an Error for a file that breaks any rule of the format.
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
 * an Error for a tensor whose bytes do not have the length of its shape, or a name that is not well-formed Unicode.
 */
export function serializeSafetensors(
  tensors: ReadonlyMap<string, SafeTensor>,
  metadata: ReadonlyMap<string, string> = new Map(),
): Uint8Array<ArrayBuffer> {
  checkMap(tensors, 'the tensors');
  checkMap(metadata, 'the metadata');
  let end = 0;
  const data: Uint8Array[] = [];
  const entries = Array.from(tensors, ([name, tensor]): Entry => {
    expect(isRecord(tensor), `tensor ${show(name)}`, 'a record with dtype, shape and bytes', tensor);
    const bytes = asBytes(tensor.bytes, `the bytes of tensor ${show(name)}`);
    data.push(bytes);
    const begin = end;
    end += bytes.length;
    return { name, dtype: tensor.dtype, shape: tensor.shape, begin, end };
  });
  return concatenate(writeHeader({ metadata, entries }).bytes, data);
}

function checkMap(map: unknown, what: string): void {
  expect(Object.prototype.toString.call(map) === '[object Map]', what, 'a Map by name', map);
  for (const name of (map as ReadonlyMap<unknown, unknown>).keys()) {
    expect(typeof name === 'string', `a name in ${what}`, 'a string', name);
  }
}
