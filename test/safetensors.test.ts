// Tests the safetensors parser with files of other libraries, hostile files, and mutated files.

import { readdirSync, readFileSync } from 'node:fs';
import type { StateDict } from 'twinstep';
import {
  decodeCheckpoint,
  encodeCheckpoint,
  loadCheckpoint,
  parseSafetensors,
  saveCheckpoint,
  serializeSafetensors,
  type SafeTensor,
} from 'twinstep/checkpoint';
import { describe, expect, test, vi } from 'vitest';
import { splitFile, expectSnapshot, small, streamOf, joinFile, snapshot } from './support/checkpoints.js';
import { mutant } from './support/mutants.js';
import { random, shrunk } from './support/numbers.js';
import { entry as entryOf, run } from './support/program.js';

const none = new Uint8Array(0);
const entry = (change: object = {}): object => ({ dtype: 'F32', shape: [2], data_offsets: [0, 8], ...change });
const file = (header: unknown, length = 8): Uint8Array => joinFile(JSON.stringify(header), new Uint8Array(length));

test('reads files of Python’s library, and writes the same tensors', () => {
  const folder = new URL('golden/', import.meta.url);
  for (const name of readdirSync(folder).filter((each) => each.endsWith('.safetensors'))) {
    const bytes = readFileSync(new URL(name, folder));
    const { metadata, tensors } = parseSafetensors(bytes);
    const again = parseSafetensors(serializeSafetensors(tensors, metadata));
    expect([...again.metadata], name).toEqual([...metadata]);
    expect([...again.tensors], name).toEqual([...tensors]);
  }
});

test('reads every dtype, aligned or not', () => {
  const sizes = { F4: 0.5, F6_E2M3: 0.75, BOOL: 1, F8_E5M2: 1, BF16: 2, U32: 4, F32: 4, C64: 8, F64: 8 };
  const tensors = new Map(
    Object.entries(sizes).map(([dtype, size], i): [string, SafeTensor] => [
      `t${i}`,
      { dtype: dtype as SafeTensor['dtype'], shape: [4, 2], bytes: new Uint8Array(8 * size).fill(i) },
    ]),
  );
  tensors.set('odd', { dtype: 'U8', shape: [3], bytes: Uint8Array.of(1, 2, 3) });
  tensors.set('after', { dtype: 'F32', shape: [], bytes: Uint8Array.of(1, 2, 3, 4) });
  const bytes = serializeSafetensors(tensors, new Map([['a', 'b']]));
  expect([...parseSafetensors(bytes).tensors]).toEqual([...tensors]);
  expect([...parseSafetensors(bytes.buffer).tensors]).toEqual([...tensors]);
  // Inside a larger buffer, at an odd offset.
  const shifted = new Uint8Array(bytes.length + 3);
  shifted.set(bytes, 3);
  expect([...parseSafetensors(shifted.subarray(3)).tensors]).toEqual([...tensors]);
});

test('takes entries in any order, with empty tensors between', () => {
  const header = {
    c: entry({ data_offsets: [8, 16] }),
    empty: entry({ shape: [0, 2 ** 40], data_offsets: [8, 8] }),
    a: entry(),
  };
  expect([...parseSafetensors(file(header, 16)).tensors.keys()]).toEqual(['a', 'empty', 'c']);
  expect(parseSafetensors(file({}, 0)).tensors.size).toBe(0);
});

const one = '{"dtype":"U8","shape":[0],"data_offsets":[0,0]}';

// Python's safetensors 0.8 accepts these too.
test.each<[string, string]>([
  ['white space around JSON', ` \n\r\t{ "a" :\t${one} } \n`],
  ['metadata of null', `{"__metadata__":null,"a":${one}}`],
  ['keys with escapes', `{"\\u005f_metadata__":{},"\\u0061":${one.replace('dtype', 'd\\u0074ype')}}`],
  [
    'unknown keys of a tensor',
    `{"a":${one.replace('}', ',"note":"\\ud83d\\ude00","n":[1.5e-400,{"a":null}],"n":-0}')}}`,
  ],
  ['unknown keys 127 levels deep', `{"a":${one.replace('}', `,"n":${'['.repeat(125)}${']'.repeat(125)}}`)}}`],
  ['a product that overflows after a 0', `{"a":${one.replace('[0]', '[0,4294967296,4294967296]')}}`],
])('accepts %s', (...[, header]) => {
  expect([...parseSafetensors(joinFile(header, none)).tensors.keys()]).toEqual(['a']);
});

test.each(
  '1.0 4e0 4E0 0e0 -0 -1 0.5 01 +1 1. .5 0x1 1_0 18446744073709551616 9007199254740993 null "1" [1]'.split(' '),
)('refuses %s where a whole number is expected', (number) => {
  const entries = [`"shape":[${number}],"data_offsets":[0,4]`, `"shape":[1],"data_offsets":[0,${number}]`];
  for (const each of entries) {
    expect(() => parseSafetensors(joinFile(`{"a":{"dtype":"F32",${each}}}`, new Uint8Array(4)))).toThrow(
      /^Expected .*, got .*\.$/,
    );
  }
});

describe('the error names the format of another file:', () => {
  const text = (characters: string): Uint8Array => Uint8Array.from(characters, (each) => each.charCodeAt(0));
  const files: [string, Uint8Array, RegExp][] = [
    [
      'PyTorch',
      text('PK\x03\x04\0\0\b\b\0\0'),
      /begins like a zip \(a PyTorch file\?\).* tools\/torch_checkpoint\.py from-torch/,
    ],
    ['a zip whose first bytes are a valid length', text('PK\x03\x04\0\0\0\0\b\0 and more'), /begins like a zip/],
    ['a pickle', text('\x80\x02\x8a\nl\xfc\x9cF\xf9'), /begins like a pickle \(an old PyTorch file\?\)/],
    ['HTML', text('<!DOCTYPE html><html></html>'), /begins like HTML or XML\. It may be an error or a login page/],
    ['HTML after a line', text('\n\n  <html>'), /begins like HTML/],
    ['a server error', text('Entry not found'), /begins like text, "Entry no"\. It may be an error/],
    [
      'Git LFS',
      text('version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n'),
      /begins like a Git LFS pointer\. .*git lfs pull\.$/,
    ],
    ['JSON', text('{"state":{}}'), /begins like JSON/],
    ['JSON after a byte order mark', text('\xef\xbb\xbf{ "weight_map": {} }'), /begins like JSON/],
    ['gzip', text('\x1f\x8b\b\0\0\0\0\0\0\x03 and more'), /begins like gzip\. Decompress it first\.$/],
    ['GGUF', text('GGUF\x03\0\0\0\x23\x01'), /begins like GGUF/],
    ['Keras', text('\x89HDF\r\n\x1a\n\0\0'), /begins like HDF5 \(a Keras \.h5\?\)/],
    ['NumPy', text('\x93NUMPY\x01\0v\0'), /begins like a NumPy array/],
    ['an unknown format', text('\x08\x07\x12\x07pytorch'), /expected a header of 2 to 100000000 bytes, got \d+\.$/],
    [
      'an unknown format with a valid length',
      text('\x08\0\0\0\0\0\0\0\x01\x02'),
      /expected a header that begins with a brace, 123, got 1\.$/,
    ],
    ['an empty file', none, /expected at least 8 bytes, got 0\.$/],
    ['a short file', text('<p>'), /begins like HTML/],
  ];
  test.each(files)('%s', async (...[, bytes, message]) => {
    const optimizer = await small();
    const before = await snapshot(optimizer);
    const says = new RegExp(`^This is not a safetensors file: .*${message.source}`);
    expect(() => parseSafetensors(bytes)).toThrow(says);
    expect(() => decodeCheckpoint(bytes)).toThrow(says);
    await expect(loadCheckpoint(optimizer, bytes)).rejects.toThrow(says);
    await expect(loadCheckpoint(optimizer, streamOf([bytes]))).rejects.toThrow(says);
    await expectSnapshot(optimizer, before);
  });
});

describe('as f32', () => {
  const read = (dtype: SafeTensor['dtype'], values: { buffer: ArrayBufferLike; length: number }, name = 't') => {
    const tensors = new Map<string, SafeTensor>([
      ['odd', { dtype: 'F32', shape: [0, 3], bytes: none }],
      [name, { dtype, shape: [values.length, 1], bytes: new Uint8Array(values.buffer) }],
    ]);
    const bytes = serializeSafetensors(tensors, new Map([['a', 'b']]));
    // At an odd offset.
    const shifted = new Uint8Array(bytes.length + 1);
    shifted.set(bytes, 1);
    const given = parseSafetensors(shifted.subarray(1), { as: 'f32' });
    expect(given.metadata).toEqual(new Map([['a', 'b']]));
    expect(given.shapes).toEqual(
      new Map([
        ['odd', [0, 3]],
        [name, [values.length, 1]],
      ]),
    );
    expect(given.tensors.get('odd')).toEqual(new Float32Array(0));
    return { floats: given.tensors.get(name)!, shifted };
  };
  const all = Uint16Array.from({ length: 2 ** 16 }, (_, i) => i);
  const bitsOf = (floats: Float32Array): Uint32Array =>
    new Uint32Array(floats.buffer, floats.byteOffset, floats.length);

  test('reads every value of F16, including subnormal, infinite and NaN', () => {
    const { floats } = read('F16', all);
    for (const half of all) {
      const [sign, exponent, fraction] = [half >> 15, (half >> 10) & 31, half & 1023];
      const finite = exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15);
      const size = exponent < 31 ? finite : fraction === 0 ? Infinity : NaN;
      expect(floats[half], String(half)).toBe(sign === 1 ? -size : size);
    }
    // The bits of a NaN are kept.
    expect(bitsOf(floats)[0xfe01]).toBe(0xffc02000);
  });

  test('reads every value of BF16 as the upper half of an f32', () => {
    const { floats } = read('BF16', all);
    expect(bitsOf(floats)).toEqual(Uint32Array.from(all, (half) => half << 16));
  });

  test('copies F32 bit by bit', () => {
    const bits = Uint32Array.of(0x80000000, 1, 0x7f800001, 0xffffffff, 0x3f800000);
    const { floats, shifted } = read('F32', bits);
    expect(bitsOf(floats)).toEqual(bits);
    shifted.fill(7);
    expect(bitsOf(floats)).toEqual(bits);
  });

  test('refuses other dtypes, naming the tensor, and other options', () => {
    expect(() => read('I32', new Int32Array(2), 'ids')).toThrow(
      'Expected dtype of tensor "ids" to be F32, F16 or BF16, to be read as f32, got "I32".',
    );
    const options: [unknown, string][] = [
      [{ as: 'f16' }, 'Expected as to be "f32", got "f16".'],
      [{ dtype: 'f32' }, 'Unknown option "dtype"; parseSafetensors has "as".'],
      [null, 'Expected the options of parseSafetensors to be a record, got null.'],
    ];
    for (const [each, message] of options) expect(() => parseSafetensors(file({}, 0), each as object)).toThrow(message);
  });
});

describe('refuses', () => {
  const deep = (levels: number): string => `{"a":{"b":${'['.repeat(levels)}${']'.repeat(levels)}}}`;
  const twice = (...names: string[]): Uint8Array => joinFile(`{${names.map((name) => `${name}:${one}`).join()}}`, none);
  const refused: [string, Uint8Array, string][] = [
    [
      'a header of no bytes',
      joinFile('', none),
      'This is not a safetensors file: expected a header of 2 to 100000000 bytes, got 0.',
    ],
    [
      'a header beyond the file',
      joinFile('{}', none, 3n),
      'Expected the end of the header to be within the file of 10 bytes, got 11.',
    ],
    ['a header longer than the limit', joinFile('{}', none, 100_000_001n), 'got 100000001.'],
    ['a header length beyond 2^53', joinFile('{}', none, 2n ** 53n + 1n), 'got 9007199254740993.'],
    ['the largest header length', joinFile('{}', none, 2n ** 64n - 1n), 'got 18446744073709551615.'],
    ['a byte order mark', joinFile('\ufeff{}', none), 'a header that begins with a brace, 123, got 239.'],
    [
      'a byte order mark after a space',
      joinFile(' \ufeff{}', none),
      'Expected the header to be JSON, got "\ufeff{}" at',
    ],
    ['a header that is not JSON', joinFile('{"a"}', none), 'Expected the header to be JSON, got "}" at character 4.'],
    ['truncated JSON', joinFile('{"a":', none), 'Expected the header to be JSON, got its end at character 5.'],
    ['a zero byte after JSON', joinFile('{}\0', none), 'Expected the header to be JSON, got "\\u0000" at character 2.'],
    ['a list', joinFile(' []', none), 'Expected the header to be a record, got an array.'],
    ['two headers', joinFile('{}{}', none), 'Expected the header to be JSON'],
    ['a tensor of null', file({ a: null }), 'Expected tensor "a" to be a record, got null.'],
    ['a tensor that is a list', file({ a: [] }), 'Expected tensor "a" to be a record, got an array.'],
    ['no dtype', file({ a: entry({ dtype: undefined }) }), 'Expected dtype of tensor "a" to be one of F4'],
    ['the dtype toString', file({ a: entry({ dtype: 'toString' }) }), 'got "toString".'],
    ['a dtype that is a list', file({ a: entry({ dtype: ['F32'] }) }), 'got an array.'],
    [
      'a shape that is a record',
      file({ a: entry({ shape: { constructor: { name: { toString: 1 } } } }) }),
      'of at least 0, got a record.',
    ],
    [
      'no shape',
      file({ a: entry({ shape: undefined }) }),
      'Expected shape of tensor "a" to be an array of at most 256 whole numbers of at least 0, got undefined.',
    ],
    ['a shape of -1', file({ a: entry({ shape: [-1, -2] }) }), 'got -1 in it.'],
    ['a shape of -0', joinFile('{"a":{"dtype":"F32","shape":[-0],"data_offsets":[0,0]}}', none), 'got -0 in it.'],
    ['a fractional shape', file({ a: entry({ shape: [0.5, 4] }) }), 'got 0.5 in it.'],
    ['a shape of strings', file({ a: entry({ shape: ['2'] }) }), 'got "2" in it.'],
    ['a dimension of 2^53', file({ a: entry({ shape: [2 ** 53] }) }), 'got 9007199254740992 in it.'],
    [
      'a shape whose product overflows 2^53',
      file({ a: entry({ shape: [2 ** 32, 2 ** 32] }) }),
      'bytes long, as its shape says, got 8.',
    ],
    [
      'a shape whose product overflows before a 0',
      file({ a: entry({ shape: [2 ** 32, 2 ** 32, 0] }) }),
      ' bytes long, as its',
    ],
    [
      'a shape whose product is Infinity',
      file({ a: entry({ shape: Array(40).fill(2 ** 50) }) }),
      ' bytes long, as its shape says, got 8.',
    ],
    [
      'a tensor of 1.5 bytes',
      file({ a: entry({ dtype: 'F4', shape: [3], data_offsets: [0, 1] }) }, 1),
      '1.5 bytes long',
    ],
    [
      'no offsets',
      file({ a: entry({ data_offsets: undefined }) }),
      'Expected data_offsets of tensor "a" to be two whole numbers',
    ],
    ['three offsets', file({ a: entry({ data_offsets: [0, 8, 8] }) }), 'got [0, 8, 8].'],
    ['descending offsets', file({ a: entry({ data_offsets: [8, 0] }) }), 'got [8, 0].'],
    ['negative offsets', file({ a: entry({ data_offsets: [-8, 0] }) }), 'got -8 in it.'],
    [
      'a range of another length',
      file({ a: entry({ data_offsets: [0, 4] }) }),
      'Expected the data of tensor "a" to be 8 bytes long, as its shape says, got 4.',
    ],
    [
      'a gap before the data',
      file({ a: entry({ data_offsets: [8, 16] }) }, 16),
      'Expected the data of "a" to be at byte 0, directly after the data before it, got 8.',
    ],
    [
      'a gap between tensors',
      file({ a: entry(), b: entry({ data_offsets: [12, 20] }) }, 20),
      'at byte 8, directly after the data before it, got 12.',
    ],
    [
      'overlapping tensors',
      file({ a: entry(), b: entry({ data_offsets: [4, 12] }) }, 12),
      'at byte 8, directly after the data before it, got 4.',
    ],
    [
      'two tensors at the same offsets',
      file({ a: entry(), b: entry() }),
      'at byte 8, directly after the data before it, got 0.',
    ],
    ['a byte too few', file({ a: entry() }, 7), 'Expected the length of the file to be'],
    ['a byte too many', file({ a: entry() }, 9), 'Expected the length of the file to be'],
    ['metadata of numbers', file({ __metadata__: { a: 1 } }, 0), 'Expected "a" in __metadata__ to be a string, got 1.'],
    ['metadata that is a list', file({ __metadata__: [] }, 0), '__metadata__ to be a record of strings, got an array.'],
    [
      'metadata that is not JSON',
      joinFile('{"__metadata__":nul}', none),
      'Expected the header to be JSON, got "nul}" at',
    ],
    ['a lone surrogate', file({ '\udc00': entry() }), 'Expected a string in the header to be well-formed Unicode'],
    [
      'a lone surrogate in metadata',
      file({ __metadata__: { a: '\ud83d' } }, 0),
      'to be well-formed Unicode, got "\\ud83d".',
    ],
    ['a duplicate tensor', twice('"a"', '"a"'), 'The key "a" is listed twice in the header.'],
    ['a duplicate tensor with an escape', twice('"a"', '"\\u0061"'), 'The key "a" is listed twice in the header.'],
    ['a duplicate name with escapes', twice('"\\"\\\\"', '"\\"\\u005c"'), 'The key "\\"\\\\" is listed twice'],
    ['a duplicate key in metadata', joinFile('{"__metadata__":{"a":"","a":""}}', none), 'The key "a" is listed twice'],
    [
      'a duplicate field',
      joinFile('{"a":{"dtype":"F32","dtype":"F32"}}', none),
      'The key "dtype" is listed twice in the header.',
    ],
    [
      'duplicate metadata',
      joinFile('{"__metadata__":{},"__metadata__":{}}', none),
      'The key "__metadata__" is listed twice',
    ],
    [
      'a number beyond f64',
      joinFile('{"a":{"note":[1e400]}}', none),
      'Expected a number in the header to be within the range of f64, got "1e400".',
    ],
    ['128 levels', joinFile(deep(126), none), 'Expected the header to be at most 127 levels deep'],
    ['a million levels', joinFile(deep(1_000_000), none), 'Expected the header to be at most 127 levels deep'],
    ['levels that are not closed', joinFile('{"a":{"b":' + '['.repeat(1_000_000), none), 'at most 127 levels deep'],
    [
      'a shape of 257 dimensions',
      file({ a: entry({ shape: [2, ...Array<number>(256).fill(1)] }) }),
      'Expected shape of tensor "a" to be an array of at most 256 whole numbers of at least 0, got more.',
    ],
    [
      'a shape that is not closed',
      joinFile('{"a":{"shape":[1,', none),
      'Expected the header to be JSON, got its end at',
    ],
  ];
  test.each(refused)('%s', (...[, bytes, message]) => {
    expect(() => parseSafetensors(bytes)).toThrow(message);
  });

  test('bytes that are not UTF-8', () => {
    const bytes = joinFile('{"a?":1}', none);
    bytes[bytes.indexOf(0x3f)] = 0xff;
    expect(() => parseSafetensors(bytes)).toThrow('Expected the header to be UTF-8, got 8 bytes that are not.');
  });

  test('a long header in linear time (in quadratic time this test would not end)', () => {
    const keys = Array.from({ length: 200_000 }, (_, i) => `"k${i}":${one}`).join();
    expect(() => parseSafetensors(joinFile(`{${keys},"k7":${one}}`, none))).toThrow('The key "k7" is listed twice');
    expect(() => parseSafetensors(joinFile(`{"k":{},${keys}}`, none))).toThrow('Expected dtype of tensor "k"');
    expect(() => parseSafetensors(joinFile(`{"${'\\\\'.repeat(2_000_000)}":1}`, none))).toThrow(
      'to be a record, got 1.',
    );
  });

  test('to write bad tensors or metadata', () => {
    const tensor: SafeTensor = { dtype: 'F32', shape: [2], bytes: new Uint8Array(7) };
    const write = (name: string, change: object): (() => unknown) => {
      return () => serializeSafetensors(new Map([[name, { ...tensor, ...change }]]));
    };
    expect(write('a', {})).toThrow('Expected the data of tensor "a" to be 8 bytes long, as its shape says, got 7.');
    expect(write('a', { bytes: [1] })).toThrow(
      'Expected the bytes of tensor "a" to be a Uint8Array or an ArrayBuffer, got [1].',
    );
    expect(write('a', { dtype: 'F31' })).toThrow('Expected dtype of tensor "a"');
    expect(write('__metadata__', {})).toThrow('Expected the name of a tensor to be any but "__metadata__"');
    expect(() => serializeSafetensors(new Map(), new Map([['a', 1 as never]]))).toThrow('to be a string, got 1.');
    // Other libraries could not read these, or would read something else.
    expect(write('\udc00', { bytes: new Uint8Array(8) })).toThrow(
      'Expected the name of a tensor to be well-formed Unicode, got "\\udc00".',
    );
    for (const strings of [
      ['a', '\ud800'],
      ['\ud800', 'a'],
    ] as [string, string][]) {
      expect(() => serializeSafetensors(new Map(), new Map([strings]))).toThrow('to be well-formed Unicode, got');
    }
    const others: [unknown, unknown, string][] = [
      [{}, undefined, 'Expected the tensors to be a Map by name, got an Object.'],
      [undefined, undefined, 'Expected the tensors to be a Map by name, got undefined.'],
      [new Map([['a', undefined]]), undefined, 'Expected tensor "a" to be a record with dtype, shape and bytes, got'],
      [new Map([[7, tensor]]), undefined, 'Expected a name in the tensors to be a string, got 7.'],
      [
        new Map([['a', { ...tensor, byte: 1 }]]),
        undefined,
        'Unknown key "byte"; tensor "a" has "dtype", "shape", "bytes". Did you mean bytes?',
      ],
      [
        new Map([['a', { ...tensor, shape: [0], bytes: shrunk(8, Uint8Array) }]]),
        undefined,
        'Expected the bytes of tensor "a" to have its memory, got a buffer that was transferred or has shrunk.',
      ],
      [new Map(), { a: 'b' }, 'Expected the metadata to be a Map by name, got an Object.'],
    ];
    for (const [tensors, metadata, message] of others) {
      expect(() => serializeSafetensors(tensors as never, metadata as never)).toThrow(message);
    }
  });
});

test('takes names of Object.prototype as names of tensors', () => {
  const names = ['__proto__', 'constructor', 'toString', 'hasOwnProperty'];
  const entries = names.map(
    (name, i) => `${JSON.stringify(name)}:{"dtype":"U8","shape":[1],"data_offsets":[${i},${i + 1}]}`,
  );
  const bytes = joinFile(
    `{${entries.join()},"__metadata__":{"__proto__":"x","constructor":"y"}}`,
    Uint8Array.of(0, 1, 2, 3),
  );
  const { metadata, tensors } = parseSafetensors(bytes);
  expect([...tensors.keys()]).toEqual(names);
  expect([...metadata]).toEqual([
    ['__proto__', 'x'],
    ['constructor', 'y'],
  ]);
  expect([...parseSafetensors(serializeSafetensors(tensors, metadata)).tensors]).toEqual([...tensors]);
});

describe('refuses a header of 100 MB within a minute, with memory of the order of its size:', () => {
  // Each is an expression of the header; `rest` is the number of bytes to fill.
  const headers: [string, string, RegExp][] = [
    ['levels', `'{"a":{"b":' + '['.repeat(rest)`, /at most 127 levels deep/],
    ['records', `'{"a":{"b":[' + '{},'.repeat(rest / 3) + '0]}}'`, /at most 4194304 keys, strings, arrays and records/],
    ['tensors without fields', `'{' + '"a":{},'.repeat(rest / 7) + '"b":0}'`, /Expected dtype of tensor "a"/],
    [
      'strings',
      `'{"a":{"b":[' + '"b",'.repeat(rest / 4) + '0]}}'`,
      /at most 4194304 keys, strings, arrays and records/,
    ],
    ['one escaped string', `'{"a":{"b":"' + '\\\\u0061'.repeat(rest / 6) + '"}}'`, /Expected dtype of tensor "a"/],
    ['dimensions', `'{"a":{"shape":[1' + ',1'.repeat(rest / 2) + ']}}'`, /at most 256 whole numbers .* got more/],
    ['digits', `'{"a":{"shape":[1' + '0'.repeat(rest) + ']}}'`, /a number in the header to be within the range of f64/],
    ['numbers', `'{"a":{"b":[' + '1,'.repeat(rest / 2) + '0]}}'`, /Expected dtype of tensor "a"/],
    [
      'records in the state',
      `'{"__metadata__":{"format":"twinstep","version":"1","state":"[' + '{},'.repeat(rest / 3) + '0]"}}'`,
      /Expected the state dict to have at most 4194304 keys/,
    ],
  ];
  test.each(headers)(
    '%s',
    (...[, header, message]) => {
      const program = `
      const { loadCheckpoint, decodeCheckpoint } = await import(${JSON.stringify(entryOf('checkpoint.js'))});
      const rest = 99_999_000;
      const bytes = Buffer.from('00000000' + ${header}, 'latin1');
      bytes.writeBigUInt64LE(BigInt(bytes.length - 8));
      const optimizer = await adamw({ w: new Float32Array(4) });
      await loadCheckpoint(optimizer, bytes).catch(({ message }) => console.log(message));
      try { decodeCheckpoint(bytes); } catch ({ message }) { console.log(message); }`;
      const [loaded, decoded] = run(program, 'index.js', ['--max-old-space-size=700']).split('\n');
      expect(loaded).toMatch(/^Expected a header of at most 839\d+ bytes/);
      expect(decoded).toMatch(message);
    },
    60_000,
  );
});

test('a strict load counts the names of a header before it keeps them', async () => {
  const optimizer = await small();
  const { header, data } = splitFile(await saveCheckpoint(optimizer));
  const empty = '{"dtype":"F32","shape":[0],"data_offsets":[0,0]}';
  for (const [begin, unit, end] of [
    ['{"__metadata__":{', '""', '}}'],
    ['{', empty, '}'],
  ]) {
    const keys = Array.from({ length: Math.floor(8_000_000 / (unit.length + 10)) }, (_, i) => `"${i}":${unit}`);
    const bytes = joinFile(begin + keys.join() + end, none);
    for (const source of [bytes, streamOf([bytes])]) {
      const spies = [vi.spyOn(Map.prototype, 'set'), vi.spyOn(Set.prototype, 'add')];
      await expect(loadCheckpoint(optimizer, source)).rejects.toThrow(
        /^Expected a header of at most 1040 names, .* \(decodeCheckpoint .* accept more\), got more\.$/,
      );
      expect(spies.reduce((sum, { mock }) => sum + mock.calls.length, 0)).toBeLessThan(5000);
      for (const spy of spies) spy.mockRestore();
    }
  }
  // 1000 additional keys of metadata are accepted.
  const more = Array.from({ length: 1000 }, (_, i) => `"k${i}":""`).join();
  await loadCheckpoint(optimizer, joinFile(header.replace('"__metadata__":{', `$&${more},`), data));
});

test('writes the shape that it checked, even if the array overrides methods', async () => {
  const tricks = [
    { join: () => '2' },
    { reduce: () => 1 },
    { every: () => true },
    { *[Symbol.iterator]() {} },
    { map: () => [2] },
  ];
  const { params, stateDict } = decodeCheckpoint(await saveCheckpoint(await small()));
  for (const trick of tricks) {
    const shape = Object.assign([1, 3], trick);
    const tensor: SafeTensor = { dtype: 'U8', shape, bytes: new Uint8Array(3) };
    expect(parseSafetensors(serializeSafetensors(new Map([['a', tensor]]))).tensors.get('a')!.shape).toEqual([1, 3]);
    const wrong = { ...tensor, bytes: new Uint8Array(2) };
    expect(() => serializeSafetensors(new Map([['a', wrong]]))).toThrow(
      'to be 3 bytes long, as its shape says, got 2.',
    );
    const saved = encodeCheckpoint({ params, stateDict, shapes: { w: Object.assign([2, 3], trick) } });
    expect(decodeCheckpoint(saved).shapes.w).toEqual([2, 3]);
  }
  const sparse = { dtype: 'U8', shape: Array<number>(2 ** 32 - 1), bytes: new Uint8Array(0) } as const;
  expect(() => serializeSafetensors(new Map([['a', sparse]]))).toThrow(
    'Expected shape of tensor "a" to be an array of',
  );
});

test('accepts 256 dimensions', () => {
  const shape = [2, ...Array<number>(255).fill(1)];
  const { tensors } = parseSafetensors(file({ a: entry({ shape }) }));
  expect(tensors.get('a')!.shape).toEqual(shape);
  expect(parseSafetensors(serializeSafetensors(tensors)).tensors).toEqual(tensors);
});

describe('mutants of a checkpoint', () => {
  test.each([1, 2, 3, 4])('with seed %d are refused with a sentence, or loaded completely', async (seed) => {
    const next = random(seed);
    const optimizer = await small();
    const original = await saveCheckpoint(await small({ w: [2, 3] }), { metadata: { epoch: [1, 2, null] } });
    const prototype = Object.getOwnPropertyNames(Object.prototype).toString();
    let [loaded, refused] = [0, 0];
    for (let i = 0; i < 1500; i++) {
      const bytes = mutant(original, next);
      const before = await snapshot(optimizer);
      const source =
        i % 2 === 0 ? bytes : streamOf([bytes.subarray(0, bytes.length >> 1), bytes.subarray(bytes.length >> 1)]);
      try {
        const metadata = await loadCheckpoint(optimizer, source);
        const { params, stateDict, metadata: decoded } = decodeCheckpoint(bytes);
        expect(metadata).toEqual(decoded);
        const { params: nowParams, dict } = await snapshot(optimizer);
        expect(nowParams).toEqual(params);
        expect(stateByName(dict as StateDict)).toEqual(stateByName(stateDict));
        const { params: indices, param_names: names, ...given } = stateDict.param_groups[0];
        expect(indices.length).toBe(names.length);
        // Unknown keys, such as PyTorch's, are ignored. A missing option keeps its value.
        const now = (dict as StateDict).param_groups[0];
        expect(given).toMatchObject(Object.fromEntries(Object.entries(now).filter(([key]) => key in given)));
        loaded += 1;
      } catch (error) {
        expect(error).toBeInstanceOf(Error);
        const { name, message } = error as Error;
        if (name === 'AssertionError') throw error;
        expect(message).toMatch(/^\w.* .*\.$/s);
        expect(message.length).toBeLessThan(1000);
        await expectSnapshot(optimizer, before);
        refused += 1;
      }
    }
    expect(Object.getOwnPropertyNames(Object.prototype).toString()).toBe(prototype);
    // Both outcomes must occur, otherwise the mutants test nothing.
    expect(Math.min(loaded, refused)).toBeGreaterThan(100);
    expect(splitFile(original).header).toContain('param/w');
  });
});

/** Returns the state by name, because indices may differ. */
const stateByName = ({ state, param_groups: groups }: StateDict): object =>
  Object.fromEntries(
    groups.flatMap(({ params, param_names: names }) => names.map((name, i) => [name, state[params[i]]])),
  );
