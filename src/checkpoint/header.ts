// The header of a safetensors file (https://huggingface.co/docs/safetensors): eight bytes with its length, then JSON.
// Files may be hostile. Refuses what the reference implementation refuses, and more: see docs/saving.md.

import { copyShape, count, COUNTS, isShape, MOST_DIMENSIONS } from '../inputs/shapes.js';
import { expect, isCount, ownOf, show, unexpected } from '../errors.js';
import { JsonReader, writeString } from './json.js';
import { wrongFile } from './wrong.js';
import type { Bytes } from '../platform.js';

/** Bits of an element of each dtype of the format. */
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

/** The type of a tensor's elements: 'F32', 'BF16', ... */
export type Dtype = keyof typeof bitsOf;

/** The header's entry of one tensor. Its data are the bytes `begin` to `end` after the header. */
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

/** Number of bytes before the header. */
export const PREFIX = 8;

/** Limits of a header. A larger one is refused before much of the file is read. */
export interface HeaderBounds {
  readonly bytes: number;
  /** Number of names: of tensors and in `__metadata__`. */
  readonly names: number;
}

/** The limit of the reference implementation. */
const MOST_HEADER_BYTES = 100_000_000;

const METADATA = '__metadata__';
const DTYPES = `one of ${Object.keys(bitsOf).join(', ')}`;
const OFFSETS = 'two whole numbers, the second not less than the first';

/** Writes the length and the header, padded so that the data begin on a multiple of 8. */
export function writeHeader({ metadata, entries }: Header): Bytes {
  const fields = entries.map((given) => {
    const entry = { ...given, shape: copyShape(given.shape) as number[] };
    if (entry.name === METADATA) throw unexpected('the name of a tensor', `any but ${show(METADATA)}`, entry.name);
    checkEntry(entry);
    const { name, dtype, shape, begin, end } = entry;
    // JSON.stringify would call a `toJSON` of Object.prototype.
    const written = `{"dtype":"${dtype}","shape":[${shape.join()}],"data_offsets":[${begin},${end}]}`;
    return `${writeString(name, 'the name of a tensor')}:${written}`;
  });
  if (metadata.size > 0) {
    const strings = Array.from(metadata, ([key, value]) => {
      const what = `${show(key)} in ${METADATA}`;
      expect(typeof value === 'string', what, 'a string', value);
      return `${writeString(key, `a key in ${METADATA}`)}:${writeString(value, what)}`;
    });
    fields.unshift(`"${METADATA}":{${strings.join()}}`);
  }
  const text = new TextEncoder().encode(`{${fields.join()}}`);
  const length = Math.ceil(text.length / 8) * 8;
  expect(length <= MOST_HEADER_BYTES, 'the length of the header', `at most ${MOST_HEADER_BYTES} bytes`, length);
  const bytes = new Uint8Array(PREFIX + length).fill(0x20);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(length), true);
  bytes.set(text, PREFIX);
  return bytes;
}

/**
 * Reads the length of the header from a file's first nine bytes. Checks the ninth, since a file of another format may
 * have a valid length by chance. `bounds` are limits besides those of the format.
 */
export function readHeaderLength(start: Uint8Array, bounds?: HeaderBounds): number {
  if (start.length < PREFIX) throw wrongFile(start, `expected at least ${PREFIX} bytes, got ${start.length}`);
  const length = new DataView(start.buffer, start.byteOffset, PREFIX).getBigUint64(0, true);
  const isGood = length >= 2n && length <= BigInt(MOST_HEADER_BYTES);
  if (!isGood) throw wrongFile(start, `expected a header of 2 to ${MOST_HEADER_BYTES} bytes, got ${length}`);
  const first = start[PREFIX];
  const isHeader = start.length === PREFIX || '{ \t\n\r'.includes(String.fromCharCode(first));
  if (!isHeader) throw wrongFile(start, `expected a header that begins with a brace, 123, got ${first}`);
  if (bounds !== undefined && length > BigInt(bounds.bytes)) {
    throw tooLarge(`${bounds.bytes} bytes`, '8 MiB of metadata', length);
  }
  return Number(length);
}

function tooLarge(most: string, metadata: string, got: unknown): RangeError {
  const how = `the most that these tensors and ${metadata} need (decodeCheckpoint and \`strict: false\` accept more)`;
  return new RangeError(`Expected a header of at most ${most}, ${how}, got ${got}.`);
}

export function readHeader(bytes: Uint8Array, bounds?: HeaderBounds): Header {
  const reader = new JsonReader(decode(bytes), 'the header');
  if (!reader.nextIs('{')) throw reader.unexpected('the header', 'a record');
  const names = new Set<string>();
  const entries: Entry[] = [];
  let metadata: Header['metadata'] = new Map();
  let free = bounds?.names ?? Infinity;
  const countName = (): void => {
    free -= 1;
    if (free < 0) throw tooLarge(`${bounds!.names} names`, METADATA, 'more');
  };
  reader.record((key) => {
    reader.checkNew(!names.has(key), key);
    names.add(key);
    if (key === METADATA) metadata = readMetadata(reader, countName);
    else {
      countName();
      entries.push(readEntry(reader, key));
    }
  });
  reader.end();
  entries.sort((a, b) => a.begin - b.begin || a.end - b.end);
  let end = 0;
  for (const { name, begin, end: next } of entries) {
    const where = 'directly after the data before it';
    if (begin !== end) throw unexpected(`the data of ${show(name)}`, `at byte ${end}, ${where}`, begin);
    end = next;
  }
  return { metadata, entries };
}

function decode(bytes: Uint8Array): string {
  try {
    // Copies, since TextDecoder refuses shared memory. Keeps a byte order mark, so that the reader refuses it.
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(new Uint8Array(bytes));
  } catch {
    throw new TypeError(`Expected the header to be UTF-8, got ${bytes.length} bytes that are not.`);
  }
}

function readMetadata(reader: JsonReader, countName: () => void): Header['metadata'] {
  const metadata = new Map<string, string>();
  if (reader.nextIs('n')) {
    reader.word();
    return metadata;
  }
  if (!reader.nextIs('{')) throw reader.unexpected(METADATA, 'a record of strings');
  reader.record((key) => {
    reader.count();
    countName();
    reader.checkNew(!metadata.has(key), key);
    if (!reader.nextIs('"')) throw reader.unexpected(`${show(key)} in ${METADATA}`, 'a string');
    metadata.set(key, reader.string());
  });
  return metadata;
}

function readEntry(reader: JsonReader, name: string): Entry {
  const fields = ownOf<{ dtype?: string; shape?: number[]; data_offsets?: number[] }>({});
  // A function, so that the string is built only for an error: a header may have a million tensors.
  const what = (field: string): string => `${field} of tensor ${show(name)}`;
  if (!reader.nextIs('{')) throw reader.unexpected(`tensor ${show(name)}`, 'a record');
  reader.record((field) => {
    if (field === 'dtype') {
      reader.checkNew(fields.dtype === undefined, field);
      if (!reader.nextIs('"')) throw reader.unexpected(what(field), DTYPES);
      fields.dtype = reader.string();
    } else if (field === 'shape' || field === 'data_offsets') {
      reader.checkNew(fields[field] === undefined, field);
      fields[field] = readCounts(reader, field, what);
    } else {
      // Ignored, as in the reference implementation.
      reader.count();
      reader.value();
    }
  });
  const { dtype, shape, data_offsets: offsets } = fields;
  if (dtype === undefined) throw unexpected(what('dtype'), DTYPES, dtype);
  if (shape === undefined) throw unexpected(what('shape'), COUNTS, shape);
  const isRange = offsets?.length === 2 && offsets[0] <= offsets[1];
  if (!isRange) throw unexpected(what('data_offsets'), OFFSETS, offsets);
  const entry = { name, dtype: dtype as Dtype, shape, begin: offsets[0], end: offsets[1] };
  checkEntry(entry);
  return entry;
}

/** Throws unless dtype and shape are valid and match the length of the data. */
function checkEntry({ name, dtype, shape, begin, end }: Entry): void {
  const isDtype = typeof dtype === 'string' && Object.hasOwn(bitsOf, dtype);
  if (!isDtype) throw unexpected(`dtype of tensor ${show(name)}`, DTYPES, dtype);
  if (!isShape(shape)) throw unexpected(`shape of tensor ${show(name)}`, COUNTS, shape);
  const size = (count(shape) * bitsOf[dtype]) / 8;
  // Above 2^53 the product is not exact, but no file is that long.
  if (Number.isSafeInteger(size) && end - begin === size) return;
  throw unexpected(`the data of tensor ${show(name)}`, `${size} bytes long, as its shape says`, end - begin);
}

/** Reads whole numbers, in digits only: the reference implementation refuses 1.0, 1e0 and -0. */
function readCounts(reader: JsonReader, field: 'shape' | 'data_offsets', what: (field: string) => string): number[] {
  const wanted = field === 'shape' ? COUNTS : OFFSETS;
  if (!reader.nextIs('[')) throw reader.unexpected(what(field), wanted);
  const counts: number[] = [];
  reader.array(() => {
    const word = reader.shown();
    const item = Number(word);
    if (!isCount(item) || /\D/.test(word))
      throw new TypeError(`Expected ${what(field)} to be ${wanted}, got ${word} in it.`);
    if (counts.length === MOST_DIMENSIONS) throw new TypeError(`Expected ${what(field)} to be ${wanted}, got more.`);
    counts.push(item);
  });
  return counts;
}
