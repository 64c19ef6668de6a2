// The header of a safetensors file (https://huggingface.co/docs/safetensors): eight bytes with its length, then JSON.
// Read as strictly as the reference implementation does, and in places more: files may be hostile.

import { expect, isCount, isRecord, list, show } from '../sentences.js';
import { readJson, writeJson } from './json.js';

/** Bits of an element of each type that the format has. */
const bitsOf = {
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  BOOL: 8,
  U8: 8,
  I8: 8,
  F8_E4M3: 8,
  F8_E5M2: 8,
  F8_E8M0: 8,
  F8_E4M3FNUZ: 8,
  F8_E5M2FNUZ: 8,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  I64: 64,
  U64: 64,
  F64: 64,
  C64: 64,
} as const;

export type Dtype = keyof typeof bitsOf;

/** What a header says of one tensor; its data are the bytes `begin` to `end` after the header. */
export interface Entry {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

export interface Header {
  readonly metadata: ReadonlyMap<string, string>;
  /** In the order of their data. */
  readonly entries: readonly Entry[];
}

/** Bytes before the header. */
export const PREFIX = 8;

// The bound of the reference implementation.
const MOST_HEADER_BYTES = 100_000_000;

const metadataKey = '__metadata__';

/** The header with its length before it, padded so that the data begin on a multiple of 8; and what is read of it. */
export function writeHeader({ metadata, entries }: Header): { bytes: Uint8Array<ArrayBuffer>; read: Header } {
  const record: [string, unknown][] = entries.map(({ name, dtype, shape, begin, end }) => {
    expect(name !== metadataKey, 'the name of a tensor', `any but ${show(metadataKey)}`, name);
    return [name, { dtype, shape, data_offsets: [begin, end] }];
  });
  if (metadata.size > 0) record.unshift([metadataKey, Object.fromEntries(metadata)]);
  const text = new TextEncoder().encode(writeJson(Object.fromEntries(record), 'the header'));
  const bytes = new Uint8Array(PREFIX + Math.ceil(text.length / 8) * 8).fill(0x20);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(bytes.length - PREFIX), true);
  bytes.set(text, PREFIX);
  // What is written can be read, since that is what checks it.
  readHeaderLength(bytes.subarray(0, PREFIX));
  return { bytes, read: readHeader(bytes.subarray(PREFIX)) };
}

/** Reads a file's first eight bytes. */
export function readHeaderLength(bytes: Uint8Array): number {
  expect(bytes.length === PREFIX, 'the file', `at least ${PREFIX} bytes long`, bytes.length);
  const length = new DataView(bytes.buffer, bytes.byteOffset, PREFIX).getBigUint64(0, true);
  const isGood = length >= 2n && length <= BigInt(MOST_HEADER_BYTES);
  expect(isGood, 'the length of the header', `2 to ${MOST_HEADER_BYTES} bytes`, length);
  return Number(length);
}

export function readHeader(bytes: Uint8Array): Header {
  // Leading white space, and a byte order mark, are against the format.
  expect(bytes[0] === 0x7b, 'the first byte of the header', 'a brace, 123', bytes[0]);
  const record = readJson(decode(bytes), 'the header');
  expect(isRecord(record), 'the header', 'a record', record);
  const metadata: unknown = Object.hasOwn(record, metadataKey) ? record[metadataKey] : {};
  expect(isRecord(metadata), metadataKey, 'a record of strings', metadata);
  for (const [key, value] of Object.entries(metadata)) {
    expect(typeof value === 'string', `${show(key)} in ${metadataKey}`, 'a string', value);
  }
  // By name, since a rest of millions of keys takes three times as long as JSON.parse.
  const names = Object.keys(record).filter((name) => name !== metadataKey);
  const entries = names.map((name) => readEntry(name, record[name]));
  entries.sort((a, b) => a.begin - b.begin || a.end - b.end);
  let end = 0;
  for (const entry of entries) {
    expect(entry.begin === end, `the data of ${show(entry.name)}`, `after those before, at byte ${end}`, entry.begin);
    end = entry.end;
  }
  return { metadata: new Map(Object.entries(metadata as Record<string, string>)), entries };
}

function decode(bytes: Uint8Array): string {
  try {
    // A copy, since a view of shared memory is refused.
    return new TextDecoder('utf-8', { fatal: true }).decode(new Uint8Array(bytes));
  } catch {
    throw new TypeError(`Expected the header to be UTF-8, got ${bytes.length} bytes that are not.`);
  }
}

function readEntry(name: string, entry: unknown): Entry {
  const what = `tensor ${show(name)}`;
  expect(!/\p{Surrogate}/u.test(name), 'the name of a tensor', 'well-formed Unicode', name);
  expect(isRecord(entry), what, 'a record', entry);
  const { dtype, shape, data_offsets: offsets, ...others } = entry;
  const strangers = Object.keys(others);
  if (strangers.length > 0) throw new TypeError(`Expected no ${list(strangers)} in ${what}.`);
  const isDtype = typeof dtype === 'string' && Object.hasOwn(bitsOf, dtype);
  expect(isDtype, `dtype of ${what}`, `one of ${Object.keys(bitsOf).join(', ')}`, dtype);
  expect(isShape(shape), `shape of ${what}`, 'an array of whole numbers of at least 0', shape);
  const isRange = isShape(offsets) && offsets.length === 2 && offsets[0] <= offsets[1];
  expect(isRange, `data_offsets of ${what}`, 'two whole numbers, none less than the one before', offsets);
  const [begin, end] = offsets;
  const size = (count(shape) * bitsOf[dtype as Dtype]) / 8;
  // Beyond 2^53 the product is not exact, but then it is no file's length either.
  const fits = Number.isSafeInteger(size) && end - begin === size;
  expect(fits, `the data of ${what}`, `${size} bytes long, as its shape says`, end - begin);
  return { name, dtype: dtype as Dtype, shape, begin, end };
}

export const isShape = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((item) => isCount(item) && !Object.is(item, -0));

/** Elements of a shape. */
export const count = (shape: readonly number[]): number =>
  shape.includes(0) ? 0 : shape.reduce((product, size) => product * size, 1);
