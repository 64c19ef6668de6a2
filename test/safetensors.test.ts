// The parser of safetensors files: files that others wrote, files that are hostile, and a fuzzer's.

import { readdirSync, readFileSync } from 'node:fs';
import type { StateDict } from 'twinstep';
import {
  decodeCheckpoint,
  loadCheckpoint,
  parseSafetensors,
  saveCheckpoint,
  serializeSafetensors,
  type SafeTensor,
} from 'twinstep/checkpoint';
import { describe, expect, test } from 'vitest';
import { apart, expectWhole, small, streamOf, together, whole } from './support/checkpoints.js';
import { mutant } from './support/mutants.js';
import { random } from './support/numbers.js';

const none = new Uint8Array(0);
const entry = (change: object = {}): object => ({ dtype: 'F32', shape: [2], data_offsets: [0, 8], ...change });
const file = (header: unknown, length = 8): Uint8Array => together(JSON.stringify(header), new Uint8Array(length));

test('files by Python’s library are read, and written again are the same', () => {
  const folder = new URL('golden/', import.meta.url);
  for (const name of readdirSync(folder).filter((each) => each.endsWith('.safetensors'))) {
    const bytes = readFileSync(new URL(name, folder));
    const { metadata, tensors } = parseSafetensors(bytes);
    const again = parseSafetensors(serializeSafetensors(tensors, metadata));
    expect([...again.metadata], name).toEqual([...metadata]);
    expect([...again.tensors], name).toEqual([...tensors]);
  }
});

test('every type has its size, and data lie where they may, aligned or not', () => {
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
  // In a buffer of someone else's, at an odd offset.
  const shifted = new Uint8Array(bytes.length + 3);
  shifted.set(bytes, 3);
  expect([...parseSafetensors(shifted.subarray(3)).tensors]).toEqual([...tensors]);
});

test('entries may stand in any order, with empty tensors between', () => {
  const header = {
    c: entry({ data_offsets: [8, 16] }),
    empty: entry({ shape: [0, 2 ** 40], data_offsets: [8, 8] }),
    a: entry(),
  };
  expect([...parseSafetensors(file(header, 16)).tensors.keys()]).toEqual(['a', 'empty', 'c']);
  expect(parseSafetensors(file({}, 0)).tensors.size).toBe(0);
});

describe('refused is', () => {
  const deep = (levels: number): string => `{"a":${'['.repeat(levels)}${']'.repeat(levels)}}`;
  const refused: [string, Uint8Array, string][] = [
    [
      'a header of no bytes',
      together('', none),
      'Expected the length of the header to be 2 to 100000000 bytes, got 0n.',
    ],
    [
      'a header beyond the file',
      together('{}', none, 3n),
      'Expected the end of the header to be within the file of 10 bytes, got 11.',
    ],
    ['a header beyond any', together('{}', none, 100_000_001n), 'got 100000001n.'],
    ['a header beyond f64', together('{}', none, 2n ** 53n + 1n), 'got 9007199254740993n.'],
    ['one of all bits', together('{}', none, 2n ** 64n - 1n), 'got 18446744073709551615n.'],
    ['a space first', together(' {}', none), 'Expected the first byte of the header to be a brace, 123, got 32.'],
    ['a byte order mark', together('\ufeff{}', none), 'a brace, 123, got 239.'],
    ['no JSON', together('{"a"}', none), 'Expected the header to be JSON, got "{\\"a\\"}".'],
    ['two headers', together('{}{}', none), 'Expected the header to be JSON'],
    ['a tensor of null', file({ a: null }), 'Expected tensor "a" to be a record, got null.'],
    ['a tensor in a list', file({ a: [] }), 'Expected tensor "a" to be a record, got [].'],
    ['an unknown field', file({ a: entry({ x: 1 }) }), 'Expected no "x" in tensor "a".'],
    ['no dtype', file({ a: entry({ dtype: undefined }) }), 'Expected dtype of tensor "a" to be one of F4'],
    ['a dtype of toString', file({ a: entry({ dtype: 'toString' }) }), 'got "toString".'],
    ['a dtype in a list', file({ a: entry({ dtype: ['F32'] }) }), 'got ["F32"].'],
    [
      'a shape of anything',
      file({ a: entry({ shape: { constructor: { name: { toString: 1 } } } }) }),
      'of at least 0, got an Object.',
    ],
    [
      'no shape',
      file({ a: entry({ shape: undefined }) }),
      'Expected shape of tensor "a" to be an array of whole numbers of at least 0, got undefined.',
    ],
    ['a shape of -1', file({ a: entry({ shape: [-1, -2] }) }), 'got [-1, -2].'],
    ['a shape of -0', together('{"a":{"dtype":"F32","shape":[-0],"data_offsets":[0,0]}}', none), 'got [0].'],
    ['a shape of halves', file({ a: entry({ shape: [0.5, 4] }) }), 'got [0.5, 4].'],
    ['a shape in words', file({ a: entry({ shape: ['2'] }) }), 'got ["2"].'],
    ['a shape beyond f64', file({ a: entry({ shape: [2 ** 53] }) }), 'got [9007199254740992].'],
    [
      'a product beyond f64',
      file({ a: entry({ shape: [2 ** 32, 2 ** 32] }) }),
      'bytes long, as its shape says, got 8.',
    ],
    [
      'a product of Infinity',
      file({ a: entry({ shape: Array(40).fill(2 ** 50) }) }),
      'Infinity bytes long, as its shape says, got 8.',
    ],
    ['half a byte', file({ a: entry({ dtype: 'F4', shape: [3], data_offsets: [0, 1] }) }, 1), '1.5 bytes long'],
    [
      'no offsets',
      file({ a: entry({ data_offsets: undefined }) }),
      'Expected data_offsets of tensor "a" to be two whole numbers',
    ],
    ['three offsets', file({ a: entry({ data_offsets: [0, 8, 8] }) }), 'got [0, 8, 8].'],
    ['offsets backwards', file({ a: entry({ data_offsets: [8, 0] }) }), 'got [8, 0].'],
    ['offsets below 0', file({ a: entry({ data_offsets: [-8, 0] }) }), 'got [-8, 0].'],
    [
      'a range of another length',
      file({ a: entry({ data_offsets: [0, 4] }) }),
      'Expected the data of tensor "a" to be 8 bytes long, as its shape says, got 4.',
    ],
    [
      'a hole before',
      file({ a: entry({ data_offsets: [8, 16] }) }, 16),
      'Expected the data of "a" to be after those before, at byte 0, got 8.',
    ],
    ['a hole between', file({ a: entry(), b: entry({ data_offsets: [12, 20] }) }, 20), 'at byte 8, got 12.'],
    ['an overlap', file({ a: entry(), b: entry({ data_offsets: [4, 12] }) }, 12), 'at byte 8, got 4.'],
    ['two in one place', file({ a: entry(), b: entry() }), 'at byte 8, got 0.'],
    ['too few data', file({ a: entry() }, 7), 'Expected the length of the file to be'],
    ['too many data', file({ a: entry() }, 9), 'Expected the length of the file to be'],
    ['metadata of numbers', file({ __metadata__: { a: 1 } }, 0), 'Expected "a" in __metadata__ to be a string, got 1.'],
    ['metadata of null', file({ __metadata__: null }, 0), 'Expected __metadata__ to be a record of strings, got null.'],
    ['a lone surrogate', file({ '\udc00': entry() }), 'Expected the name of a tensor to be well-formed Unicode'],
    [
      'a tensor twice',
      together('{"a":1,"b":[{"a":"}"},{"a":"\\\\"}],"a":2}', none),
      'The key "a" stands twice in the header.',
    ],
    [
      'a tensor twice, spelled otherwise',
      together('{"a":1,"\\u0061":2}', none),
      'The key "a" stands twice in the header.',
    ],
    ['a name with escapes twice', together('{"\\"\\\\":1,"\\"\\u005c":2}', none), 'The key "\\"\\\\" stands twice'],
    [
      'a field twice',
      together('{"a":{"dtype":"F32","dtype":"F32"}}', none),
      'The key "dtype" stands twice in the header.',
    ],
    ['metadata twice', together('{"__metadata__":{},"__metadata__":{}}', none), 'The key "__metadata__" stands twice'],
    [
      'a number beyond f64',
      together('{"a":{"shape":[1e400]}}', none),
      'Expected a number in the header to be within the range of f64, got "1e400".',
    ],
    ['many levels', together(deep(100), none), 'Expected the header to be at most 100 levels deep'],
    ['very many levels', together(deep(1_000_000), none), 'Expected the header to be'],
    ['levels that never end', together('{"a":' + '['.repeat(1_000_000), none), 'Expected the header to be JSON'],
  ];
  test.each(refused)('%s', (...[, bytes, message]) => {
    expect(() => parseSafetensors(bytes)).toThrow(message);
  });

  test('what is not UTF-8', () => {
    const bytes = together('{"a?":1}', none);
    bytes[bytes.indexOf(0x3f)] = 0xff;
    expect(() => parseSafetensors(bytes)).toThrow('Expected the header to be UTF-8, got 8 bytes that are not.');
  });

  test('a long header in linear time', () => {
    const keys = Array.from({ length: 200_000 }, (_, i) => `"k${i}":{}`).join();
    const start = performance.now();
    expect(() => parseSafetensors(together(`{${keys},"k7":{}}`, none))).toThrow('The key "k7" stands twice');
    expect(() => parseSafetensors(together(`{${keys}}`, none))).toThrow('Expected dtype of tensor "k0"');
    expect(() => parseSafetensors(together(`{"${'\\\\'.repeat(2_000_000)}":1}`, none))).toThrow(
      'to be a record, got 1.',
    );
    expect(performance.now() - start).toBeLessThan(5000);
  });

  test('a tensor to be written whose bytes are too few, or whose name is taken', () => {
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
    const others: [unknown, unknown, string][] = [
      [{}, undefined, 'Expected the tensors to be a Map by name, got an Object.'],
      [undefined, undefined, 'Expected the tensors to be a Map by name, got undefined.'],
      [new Map([['a', undefined]]), undefined, 'Expected tensor "a" to be a record with dtype, shape and bytes, got'],
      [new Map([[7, tensor]]), undefined, 'Expected a name in the tensors to be a string, got 7.'],
      [new Map(), { a: 'b' }, 'Expected the metadata to be a Map by name, got an Object.'],
    ];
    for (const [tensors, metadata, message] of others) {
      expect(() => serializeSafetensors(tensors as never, metadata as never)).toThrow(message);
    }
  });
});

test('names that objects have are names', () => {
  const names = ['__proto__', 'constructor', 'toString', 'hasOwnProperty'];
  const entries = names.map(
    (name, i) => `${JSON.stringify(name)}:{"dtype":"U8","shape":[1],"data_offsets":[${i},${i + 1}]}`,
  );
  const bytes = together(
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

describe('mutants of a checkpoint', () => {
  test.each([1, 2, 3, 4])('of seed %d are refused in a sentence, or loaded wholly', async (seed) => {
    const next = random(seed);
    const optimizer = await small();
    const original = await saveCheckpoint(await small(), { shapes: { w: [2, 3] }, metadata: { epoch: [1, 2, null] } });
    const prototype = Object.getOwnPropertyNames(Object.prototype).toString();
    let [loaded, refused] = [0, 0];
    for (let i = 0; i < 1500; i++) {
      const bytes = mutant(original, next);
      const before = await whole(optimizer);
      const source =
        i % 2 === 0 ? bytes : streamOf([bytes.subarray(0, bytes.length >> 1), bytes.subarray(bytes.length >> 1)]);
      const start = performance.now();
      try {
        const metadata = await loadCheckpoint(optimizer, source);
        const { params, stateDict, metadata: said } = decodeCheckpoint(bytes);
        expect(metadata).toEqual(said);
        const { params: nowParams, dict } = await whole(optimizer);
        expect(nowParams).toEqual(params);
        expect(remembered(dict as StateDict)).toEqual(remembered(stateDict));
        const { params: indices, param_names: names, ...given } = stateDict.param_groups[0];
        expect(indices.length).toBe(names.length);
        // What is not ours, such as PyTorch's keys, is passed over; an option left out is kept.
        const now = (dict as StateDict).param_groups[0];
        expect(given).toMatchObject(Object.fromEntries(Object.entries(now).filter(([key]) => key in given)));
        loaded += 1;
      } catch (error) {
        expect(error).toBeInstanceOf(Error);
        const { name, message } = error as Error;
        if (name === 'AssertionError') throw error;
        expect(message).toMatch(/^\w.* .*\.$/s);
        expect(message.length).toBeLessThan(1000);
        await expectWhole(optimizer, before);
        refused += 1;
      }
      expect(performance.now() - start).toBeLessThan(1000);
    }
    expect(Object.getOwnPropertyNames(Object.prototype).toString()).toBe(prototype);
    // Both happen, or the mutants are no test.
    expect(Math.min(loaded, refused)).toBeGreaterThan(100);
    expect(apart(original).header).toContain('param/w');
  });
});

/** By name: an index may be any. */
const remembered = ({ state, param_groups: groups }: StateDict): object =>
  Object.fromEntries(
    groups.flatMap(({ params, param_names: names }) => names.map((name, i) => [name, state[params[i]]])),
  );
