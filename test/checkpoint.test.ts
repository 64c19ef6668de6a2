// Tests checkpoints: loading restores what was saved, a stream has the same bytes, and a refused load changes nothing.

import { createReadStream, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { adam, adamw, adamwScheduleFree, ema, type StateDict } from 'twinstep';
import {
  checkpointStream,
  decodeCheckpoint,
  encodeCheckpoint,
  loadCheckpoint,
  parseSafetensors,
  saveCheckpoint,
  serializeSafetensors,
} from 'twinstep/checkpoint';
import { reduceOnPlateau } from 'twinstep/schedules';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import { algorithms } from './support/algorithms.js';
import { backends, webgpu } from './support/backends.js';
import {
  splitFile,
  chunksOf,
  expectSnapshot,
  small,
  streamOf,
  joinFile,
  snapshot,
  withMetadata,
} from './support/checkpoints.js';
import { array, difference, largest, shrunk, tensors } from './support/numbers.js';
import { readAll, type Tensors } from './support/tensors.js';
import { ROUNDING, webgpuRoundings } from './support/tolerances.js';

// Passes values that the types refuse.
const any = (value: unknown): never => value as never;

const lengths = [0, 1, 3, 64, 130];
/** w3 takes its first step late; w1 and w64 are ahead of the others. */
const gradients = (t: number): Tensors => {
  const { w3, ...others } = tensors(lengths, 10 + t);
  return t < 2 ? { w1: others.w1, w64: others.w64 } : t < 6 ? others : { w3, ...others };
};
const shapes = { w130: [2, 5, 13], w0: [0, 7], w1: [] };
const metadata = { epoch: 3, rate: -0, best: 0.1 + 0.2, note: '\u0000 é😀', tags: [null, true, {}], __proto_: 1e300 };

const collect = async (stream: ReadableStream<Uint8Array>): Promise<Uint8Array> =>
  new Uint8Array(await new Response(stream).arrayBuffer());

async function* streamed(stream: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array> {
  const reader = stream.getReader();
  for (let { done, value } = await reader.read(); !done; { done, value } = await reader.read()) yield value!;
}

describe.each(algorithms)('%s', (...[, create, own]) => {
  describe.each(backends)('saved on %s', (...[from, backend]) => {
    const begun = async (steps: number) => {
      const optimizer = await create(tensors(lengths, 1), { ...own, ...backend, shapes });
      for (let t = 0; t < steps; t++) optimizer.step(gradients(t));
      return optimizer;
    };

    test.each(['train', 'eval'] as const)('and loaded: restores every bit in %s mode', async (mode) => {
      const optimizer = await begun(5);
      optimizer[mode]();
      const before = await snapshot(optimizer);
      const bytes = await saveCheckpoint(optimizer, { metadata });
      await expectSnapshot(optimizer, before);
      const { params, ...others } = decodeCheckpoint(bytes);
      expect(others).toEqual({
        shapes,
        stateDict: before.dict,
        metadata,
      });
      expect(params).toEqual(before.params);

      const other = await create(tensors(lengths, 2), { ...own, ...backend, lr: 0.5, shapes });
      other.step(tensors(lengths, 3));
      expect(await loadCheckpoint(other, bytes)).toEqual(metadata);
      await expectSnapshot(other, before);
      expect(await saveCheckpoint(other, { metadata })).toEqual(bytes);
      expect(await collect(checkpointStream(other, { metadata }))).toEqual(bytes);
      expect(encodeCheckpoint(decodeCheckpoint(bytes))).toEqual(bytes);
    });

    test.each(backends)('and resumed on %s: equals an uninterrupted run', async (...[to, otherBackend]) => {
      const unbroken = await begun(9);
      const optimizer = await begun(4);
      const { params, ...others } = decodeCheckpoint(await saveCheckpoint(optimizer));
      const resumed = await create(params, { ...own, ...otherBackend, shapes: others.shapes });
      await loadCheckpoint(resumed, encodeCheckpoint({ params, ...others }));
      for (let t = 4; t < 9; t++) resumed.step(gradients(t));
      const [actual, expected] = [await readAll(resumed, params), await readAll(unbroken, params)];
      const isExact = from !== 'webgpu' && to !== 'webgpu';
      for (const name in params) {
        if (isExact) expect(difference(actual[name], expected[name]), name).toBeUndefined();
        const bound = isExact ? 0 : webgpuRoundings(webgpu!.adapter, 9) * ROUNDING * (1 + largest(expected[name]));
        expect(largest(actual[name].map((x, i) => x - expected[name][i])), name).toBeLessThanOrEqual(bound);
      }
    });
  });
});

describe.each(backends)('%s', (...[, backend]) => {
  test('saveCheckpoint() saves the state at the call, regardless of later steps', async () => {
    const optimizer = await adamwScheduleFree(tensors(lengths, 1), backend as object);
    optimizer.step(tensors(lengths, 2));
    const [before, note] = [await snapshot(optimizer), { epoch: 1 }];
    const saved = saveCheckpoint(optimizer, { metadata: note });
    note.epoch = 2;
    optimizer.step(tensors(lengths, 3));
    optimizer.eval();
    const { params, stateDict, metadata: read } = decodeCheckpoint(await saved);
    expect({ params, dict: stateDict, read }).toEqual({ ...before, read: { epoch: 1 } });
  });

  test.each([0, 1, 3, 8])('a stream fails if the optimizer steps after %d chunks', async (chunks) => {
    // Without steps, the checkpoint has only parameters.
    const optimizer = await adam(tensors(lengths, 1), backend);
    if (chunks > 4) optimizer.step(tensors(lengths, 2));
    const reader = checkpointStream(optimizer).getReader();
    for (let i = 0; i < chunks; i++) expect((await reader.read()).done).toBe(false);
    optimizer.step(tensors(lengths, 3));
    const rest = (async () => {
      while (!(await reader.read()).done);
    })();
    await expect(rest).rejects.toThrow(/^The optimizer changed before "w\d+" of its lazy state dict was read\.$/);
  });

  test.each([1, 7, 2 ** 16])('loads a stream in chunks of %d bytes', async (size) => {
    const [saved, loaded] = [await adamw(tensors(lengths, 1), backend), await adamw(tensors(lengths, 2), backend)];
    saved.step(gradients(0));
    const bytes = await saveCheckpoint(saved, { metadata });
    expect(await loadCheckpoint(loaded, streamOf(chunksOf(bytes, size)))).toEqual(metadata);
    await expectSnapshot(loaded, await snapshot(saved));
  });

  test('saves and loads an average of weights', async () => {
    const optimizer = await adamw(tensors(lengths, 1), backend);
    const [saved, loaded] = [await ema(optimizer, { decay: 0.9 }), await ema(optimizer)];
    for (let t = 0; t < 3; t++) {
      optimizer.step(gradients(t));
      saved.step(await readAll(optimizer, tensors(lengths, 1)));
    }
    await loadCheckpoint(loaded, await saveCheckpoint(saved));
    await expectSnapshot(loaded, await snapshot(saved));
    await expect(loadCheckpoint(optimizer, await saveCheckpoint(saved))).rejects.toThrow(
      'The state dict says algorithm = "ema" in param_groups[0]; adamw has "adamw".',
    );
  });

  test('loads directly from the stream of another optimizer', async () => {
    const [saved, loaded] = [await adamw(tensors(lengths, 1), backend), await adamw(tensors(lengths, 2), backend)];
    saved.step(gradients(5));
    await loadCheckpoint(loaded, checkpointStream(saved));
    await expectSnapshot(loaded, await snapshot(saved));
  });
});

test('strict: false loads what fits, and options: "current" keeps the options, from bytes and from a stream', async () => {
  const saved = await adamw({ body: array(6, 1), head: array(2, 2) }, { lr: 0.5 });
  saved.step({ body: array(6, 3), head: array(2, 4) });
  const bytes = await saveCheckpoint(saved, { metadata });
  for (const source of [() => bytes, () => streamOf(chunksOf(bytes, 7))]) {
    const loaded = await adamw({ body: array(6, 5), fresh: array(3, 6) }, { lr: 0.25 });
    const before = await snapshot(loaded);
    await expect(loadCheckpoint(loaded, source())).rejects.toThrow(
      'To load only the tensors that both have, load with strict: false.',
    );
    await expectSnapshot(loaded, before);
    const { missing, unexpected, ...rest } = await loadCheckpoint(loaded, source(), {
      strict: false,
      options: 'current',
    });
    expect([missing, unexpected, rest]).toEqual([['fresh'], ['head'], { metadata }]);
    expect(await loaded.read('body')).toEqual(await saved.read('body'));
    expect(await loaded.read('fresh')).toEqual(array(3, 6));
    expect([loaded.groups[0].lr, loaded.stepOf('body'), loaded.stepOf('fresh')]).toEqual([0.25, 1, 0]);
    const same = await adamw({ body: array(6, 5), head: array(2, 5) }, { lr: 0.25 });
    expect(await loadCheckpoint(same, source(), { options: 'current' })).toEqual(metadata);
    expect(same.groups[0].lr).toBe(0.25);
    await expect(loadCheckpoint(same, source(), any({ stric: false }))).rejects.toThrow(
      'Unknown option "stric"; loadCheckpoint has',
    );
    const longer = await adamw({ body: array(7, 5) });
    await expect(loadCheckpoint(longer, source(), { strict: false })).rejects.toThrow('Expected 7 values of');
  }
});

test('tensors of a stream that the optimizer does not have take no memory', async () => {
  const huge = 2 ** 40;
  const dict = { state: {}, param_groups: [{ params: [0, 1], param_names: ['w', 'huge'] }] };
  const header = JSON.stringify({
    __metadata__: { format: 'twinstep', version: '1', state: JSON.stringify(dict) },
    'param/w': { dtype: 'F32', shape: [6], data_offsets: [0, 24] },
    'param/huge': { dtype: 'F32', shape: [huge], data_offsets: [24, 24 + 4 * huge] },
  });
  const prefix = new Uint8Array(8);
  new DataView(prefix.buffer).setBigUint64(0, BigInt(header.length), true);
  const loaded = await adamw({ w: array(6, 1) });
  const chunks = [prefix, new TextEncoder().encode(header), new Uint8Array(24), new Uint8Array(100)];
  await expect(loadCheckpoint(loaded, streamOf(chunks), { strict: false })).rejects.toThrow('bytes in the stream, got');
  expect(await loaded.read('w')).toEqual(array(6, 1));
});

test('loads a file in Node, as bytes and as a stream, without a cast', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'twinstep-'));
  const path = join(folder, 'run.safetensors');
  const saved = await small();
  writeFileSync(path, await saveCheckpoint(saved, { metadata }));
  for (const open of [() => readFile(path), () => Readable.toWeb(createReadStream(path))]) {
    const loaded = await adamw({ w: array(6, 1), b: array(2, 2) });
    expect(await loadCheckpoint(loaded, await open())).toEqual(metadata);
    await expectSnapshot(loaded, await snapshot(saved));
  }
  rmSync(folder, { recursive: true });
});

test('a stream takes work proportional to the number of tensors', async () => {
  const names = Array.from({ length: 2000 }, (_, i) => `w${i}`);
  const dict = { state: {}, param_groups: [{ params: names.map((_, i) => i), param_names: names }] };
  const params = names.map((name) => ({ name, length: 1, read: async () => array(1, 1) }));
  const reader = checkpointStream(any({ shapes: {}, lazyStateDict: () => ({ dict, params, arrays: [] }) })).getReader();
  await reader.read();
  // Number of array items that these methods visit.
  let items = 0;
  const methods = ['shift', 'splice', 'slice', 'indexOf', 'find', 'findIndex', 'filter', 'map', 'includes'] as const;
  const spies = methods.map((name) => {
    const original = Array.prototype[name] as (...args: unknown[]) => unknown;
    return vi.spyOn(Array.prototype, name as 'slice').mockImplementation(function (
      this: unknown[],
      ...args: unknown[]
    ) {
      items += this.length;
      return original.apply(this, args) as unknown[];
    });
  });
  let chunks = 0;
  try {
    while (!(await reader.read()).done) chunks += 1;
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
  expect(chunks).toBe(names.length);
  expect(items).toBeLessThan(10 * names.length);
});

test('a stream reads an array only when its chunk is requested', async () => {
  const optimizer = await small();
  const reads: string[] = [];
  const { dict, params, arrays } = optimizer.lazyStateDict();
  const watched = <Each extends { name: string; read(): Promise<Float32Array> }>(each: Each): Each => ({
    ...each,
    read: () => (reads.push(each.name), each.read()),
  });
  const lazyStateDict = () => ({ dict, params: params.map(watched), arrays: arrays.map(watched) });
  const reader = checkpointStream(any({ lazyStateDict, shapes: {} })).getReader();
  await new Promise((resolve) => setTimeout(resolve, 5));
  expect(reads).toEqual([]);
  for (const expected of [[], ['w'], ['w', 'b'], ['w', 'b', 'w']]) {
    await reader.read();
    expect(reads).toEqual(expected);
  }
});

test('the bytes do not depend on the order of tensors in memory or in the caller’s record', async () => {
  const optimizer = await adamw(tensors(lengths, 1), { decayMask: (name) => name === 'w130' });
  optimizer.step(tensors(lengths, 2));
  const bytes = await saveCheckpoint(optimizer);
  expect(await collect(checkpointStream(optimizer))).toEqual(bytes);
  const { params, ...others } = decodeCheckpoint(bytes);
  const reversed = Object.fromEntries(Object.entries(params).toReversed());
  expect(encodeCheckpoint({ ...others, params: reversed })).toEqual(bytes);
  for await (const chunk of streamed(checkpointStream(optimizer))) expect(chunk.length).toBeGreaterThan(0);
});

test('a checkpoint has the frozen tensors and the state of a schedule', async () => {
  const make = async () => {
    const schedule = reduceOnPlateau({ patience: 0 });
    return { schedule, optimizer: await adamw(tensors(lengths, 1), { schedule }) };
  };
  const [saved, loaded] = [await make(), await make()];
  for (const metric of [0.3, 0.4, 0.5]) saved.schedule.step(metric);
  saved.optimizer.freeze('w64');
  saved.optimizer.step(tensors(lengths, 2));
  await loadCheckpoint(loaded.optimizer, checkpointStream(saved.optimizer));
  await expectSnapshot(loaded.optimizer, await snapshot(saved.optimizer));
  expect(loaded.schedule.stateDict()).toEqual(saved.schedule.stateDict());
  for (const { optimizer } of [saved, loaded]) optimizer.step(tensors(lengths, 3));
  await expectSnapshot(loaded.optimizer, await snapshot(saved.optimizer));
  saved.schedule.step(-Infinity);
  await expect(saveCheckpoint(saved.optimizer)).rejects.toThrow(
    'schedule.best to be a finite number, since JSON has no',
  );
});

test('saves and loads tensors with unusual names and with shapes', async () => {
  const names = ['__proto__', 'constructor', 'toString', 'a/b', '/', '', '__metadata__', 'é😀"\\\n', '7'];
  const params = Object.fromEntries(names.map((name, i) => [name, array(6, i)]));
  const grads = Object.fromEntries(names.map((name, i) => [name, array(6, 10 + i)]));
  const shaped = Object.fromEntries(names.map((name) => [name, [3, 2]]));
  const [saved, loaded] = [await adamw(params, { shapes: shaped }), await adamw(grads)];
  saved.step(grads);
  const bytes = await saveCheckpoint(saved);
  expect(await collect(checkpointStream(saved))).toEqual(bytes);
  await loadCheckpoint(loaded, streamOf([bytes]));
  await expectSnapshot(loaded, await snapshot(saved));
  const decoded = decodeCheckpoint(bytes);
  expect(Object.keys(decoded.params).toSorted()).toEqual(names.toSorted());
  expect(Object.getPrototypeOf(decoded.params)).toBe(Object.prototype);
  expect(decoded.shapes).toEqual(shaped);
  expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
});

test('the data begin at a multiple of 8, in the order of parameters, and slots have the shapes of parameters', async () => {
  const shaped = { 'fc.weight': [2, 3] };
  const optimizer = await adamw({ 'fc.weight': array(6, 1), b: array(2, 2) }, { shapes: shaped });
  optimizer.step({ 'fc.weight': array(6, 3), b: array(2, 4) });
  const bytes = await saveCheckpoint(optimizer);
  expect((bytes.length - splitFile(bytes).data.length) % 8).toBe(0);
  const { metadata: strings, tensors: read } = parseSafetensors(bytes);
  expect(Array.from(read, ([name, { dtype, shape }]) => [name, dtype, ...shape])).toEqual([
    ['param/fc.weight', 'F32', 2, 3],
    ['param/b', 'F32', 2],
    ['exp_avg/fc.weight', 'F32', 2, 3],
    ['exp_avg_sq/fc.weight', 'F32', 2, 3],
    ['exp_avg/b', 'F32', 2],
    ['exp_avg_sq/b', 'F32', 2],
  ]);
  expect([...strings.keys()]).toEqual(['format', 'version', 'state', 'no_shape']);
  expect(strings.get('no_shape')).toBe('["b"]');
});

test('checkpoint.js has no kernels and imports no other file', () => {
  const source = readFileSync(new URL('../dist/checkpoint.js', import.meta.url), 'utf8');
  expect(source).not.toMatch(/^import|import\(|workgroup|AGFzb/m);
  expect(source.length).toBeLessThan(67_000);
});

describe('saving refuses', () => {
  class Run {
    epoch = 1;
  }
  const cyclic: unknown[] = [];
  cyclic.push(cyclic);
  const refused: [string, unknown, string][] = [
    [
      'metadata of NaN',
      { metadata: { loss: [1, NaN] } },
      'Expected metadata.loss[1] to be a finite number, since JSON',
    ],
    ['metadata with a hole', { metadata: { a: undefined } }, 'Expected metadata.a to be null, true, false, a number,'],
    ['metadata that is a Date', { metadata: new Date(0) }, 'plain record of these, got a Date.'],
    ['metadata of a class', { metadata: new Run() }, 'plain record of these, got a Run.'],
    ['metadata that is a Map', { metadata: new Map() }, 'plain record of these, got a Map.'],
    ['a bigint', { metadata: 1n }, 'plain record of these, got 1n.'],
    ['metadata with a cycle', { metadata: cyclic }, 'to be at most 127 levels deep, got'],
    ['a lone surrogate', { metadata: [{ a: '\ud800b' }] }, 'metadata[0].a to be well-formed Unicode, got "\\ud800b".'],
    ['a lone surrogate as a key', { metadata: { '\udc00': 1 } }, 'a key in metadata to be well-formed Unicode, got'],
  ];
  test.each(refused)('%s', async (...[, options, message]) => {
    const optimizer = await small();
    await expect(saveCheckpoint(optimizer, any(options))).rejects.toThrow(message);
    expect(() => checkpointStream(optimizer, any(options))).toThrow(message);
  });

  test.each<[unknown, string]>([
    [null, 'Expected the options of a checkpoint to be a record, got null.'],
    [3, 'Expected the options of a checkpoint to be a record, got 3.'],
    [{ epoch: 3 }, 'Unknown option "epoch"; a checkpoint has "metadata", "scaler".'],
    [
      { shapes: { w: [2, 3] } },
      'Unknown option "shapes"; shapes are an option of creation: adamw(params, { shapes }).',
    ],
    [{ meta: 3 }, 'Unknown option "meta"; a checkpoint has "metadata", "scaler". Did you mean metadata?'],
  ])('options of %j', async (options, message) => {
    const optimizer = await small();
    await expect(saveCheckpoint(optimizer, any(options))).rejects.toThrow(message);
    expect(() => checkpointStream(optimizer, any(options))).toThrow(message);
  });

  test.each<[() => unknown, string]>([
    [() => undefined, 'undefined.'],
    [() => small(), 'a Promise.'],
    [() => ({ params: {} }), 'an Object.'],
  ])('what is not an optimizer: %s', async (make, what) => {
    const [made, message] = [make(), `Expected the optimizer to be one of twinstep's, awaited, got ${what}`];
    await expect(saveCheckpoint(any(made))).rejects.toThrow(message);
    expect(() => checkpointStream(any(made))).toThrow(message);
    await expect(loadCheckpoint(any(made), new Uint8Array(8))).rejects.toThrow(message);
  });

  test('a name that is not Unicode, which only a state dict from the caller can have', async () => {
    await expect(adam({ '\ud800': array(1, 1) })).rejects.toThrow('the name of a parameter to be well-formed Unicode');
    const { params, dict } = await snapshot(await small());
    const renamed = (record: object): never =>
      JSON.parse(JSON.stringify(record).replaceAll('"w"', '"\\ud800"')) as never;
    const stateDict = { ...(dict as StateDict), param_groups: renamed((dict as StateDict).param_groups) };
    expect(() => encodeCheckpoint({ params: { '\ud800': params.w, b: params.b }, stateDict })).toThrow(
      'param_names[0] to be well-formed Unicode, got "\\ud800".',
    );
  });

  test('parameters that do not match the state dict', async () => {
    const optimizer = await small();
    const { params, dict } = await snapshot(optimizer);
    const encode = (change: object): (() => unknown) => {
      return () => encodeCheckpoint(any({ params, stateDict: dict, ...change }));
    };
    expect(() => encodeCheckpoint(any(undefined))).toThrow(
      'Expected the checkpoint to be a record with params and stateDict, got undefined.',
    );
    const keys = 'a checkpoint has "params", "stateDict", "shapes", "metadata", "scaler".';
    expect(encode({ epoch: 3 })).toThrow(`Unknown key "epoch"; ${keys}`);
    expect(encode({ state_dict: 3 })).toThrow(`Unknown key "state_dict"; ${keys} Did you mean stateDict?`);
    expect(encode({ params: { w: params.w } })).toThrow('The checkpoint lacks the parameter "b".');
    expect(encode({ params: { ...params, v: params.w } })).toThrow(
      'The state dict does not have the tensor "param/v".',
    );
    expect(encode({ params: { ...params, w: [1] } })).toThrow('Expected parameter "w" to be a Float32Array, got [1].');
    expect(encode({ params: { ...params, w: array(5, 1) } })).toThrow('the shape of exp_avg of "w"');
    expect(encode({ stateDict: { ...(dict as object), state: { 0: { param: params.w } } } })).toThrow(
      'Expected a slot of "w" to be a word other than "param", got "param".',
    );
    const shaped = (value: unknown): (() => unknown) => encode({ shapes: value });
    expect(shaped({ w: [2, 2] })).toThrow('the shape of "w" to be whole numbers whose product is 6, got [2, 2].');
    expect(shaped({ w: [12, 0.5] })).toThrow('whose product is 6, got [12, 0.5].');
    expect(shaped({ w: '6' })).toThrow('whose product is 6, got "6".');
    expect(shaped({ w: [6, ...Array<number>(256).fill(1)] })).toThrow('whose product is 6, got Array(257).');
    expect(shaped({ v: [1] })).toThrow('There is no parameter "v", listed in shapes; there are "w", "b".');
    expect(shaped([[6]])).toThrow('Expected shapes to be a record of shapes by name, got Array(1).');
    expect(encode({ params: null })).toThrow('Expected params to be a record of Float32Arrays by name, got null.');
    expect(encode({ stateDict: undefined })).toThrow('Expected the state dict to be a record with state and');
    expect(encode({ stateDict: { ...(dict as object), extra: NaN } })).toThrow('the state dict.extra to be a finite');
  });

  test('metadata too long to be loaded again', async () => {
    const optimizer = await small();
    expect(() => checkpointStream(optimizer, { metadata: 'x'.repeat(2 ** 23 + 5000) })).toThrow(
      /^Expected a header of at most 839\d+ bytes, with 8388608 of metadata and shapes, got \d+\.$/,
    );
    const { header, data } = splitFile(await saveCheckpoint(optimizer, { metadata: { epoch: 3 } }));
    const long = joinFile(header.padEnd(2 ** 23), data);
    for (const source of [long, streamOf([long])]) {
      expect(await loadCheckpoint(optimizer, source)).toEqual({ epoch: 3 });
    }
    const longer = joinFile(header.padEnd(2 ** 23 + 10_000), data);
    const message =
      /^Expected a header of at most 839\d+ bytes, .* \(decodeCheckpoint .* accept more\), got 8398608\.$/;
    await expect(loadCheckpoint(optimizer, longer)).rejects.toThrow(message);
    let taken = 0;
    const counted = function* (): Generator<Uint8Array> {
      for (const chunk of chunksOf(longer, 100)) {
        taken += 1;
        yield chunk;
      }
    };
    await expect(loadCheckpoint(optimizer, streamOf(counted()))).rejects.toThrow(message);
    expect(taken).toBeLessThan(3);
    expect(decodeCheckpoint(longer).metadata).toEqual({ epoch: 3 });
  });

  test('memory that was transferred or has shrunk', async () => {
    const lost = (what: string): string =>
      `Expected ${what} to have its memory, got a buffer that was transferred or has shrunk.`;
    const transferred = array(6, 1);
    structuredClone(transferred, { transfer: [transferred.buffer] });
    for (const gone of [transferred, shrunk(6)]) {
      const { params, dict } = await snapshot(await small());
      const stateDict = dict as StateDict;
      expect(() => encodeCheckpoint({ params: { ...params, w: gone }, stateDict })).toThrow(lost('parameter "w"'));
      stateDict.state[0].exp_avg = gone;
      expect(() => encodeCheckpoint({ params, stateDict })).toThrow(lost('exp_avg of "w"'));
    }
  });

  test('an optimizer that was disposed of', async () => {
    const optimizer = await small();
    optimizer.dispose();
    await expect(saveCheckpoint(optimizer)).rejects.toThrow('This optimizer has been disposed of.');
    expect(() => checkpointStream(optimizer)).toThrow('This optimizer has been disposed of.');
  });
});

describe('loading changes nothing and refuses', () => {
  let optimizer: Awaited<ReturnType<typeof small>>;
  let bytes: Uint8Array;
  beforeEach(async () => {
    optimizer = await small();
    bytes = await saveCheckpoint(await small());
    optimizer.step({ b: Float32Array.of(1, 2) });
  });

  const edit = (of: Uint8Array, change: (text: string) => string): Uint8Array => {
    const { header, data } = splitFile(of);
    return joinFile(change(header), data);
  };
  const state = (of: Uint8Array, from: string, to: string): Uint8Array => {
    const { metadata: strings } = parseSafetensors(of);
    expect(strings.get('state')).toContain(from);
    return withMetadata(of, { state: strings.get('state')!.replace(from, to) });
  };
  const rename = (from: string, to: string) => (text: string) => text.replace(JSON.stringify(from), JSON.stringify(to));

  const refused: [string, (of: Uint8Array) => unknown, string][] = [
    ['no bytes', () => new Uint8Array(0), 'This is not a safetensors file: expected at least 8 bytes, got 0.'],
    [
      'null',
      () => null,
      'Expected the checkpoint to be a Uint8Array or ArrayBuffer (from a file, await readFile(path)),',
    ],
    [
      'a path',
      () => 'file.safetensors',
      'readFile(path)), or a ReadableStream (from Node, Readable.toWeb(stream)), got "',
    ],
    ['a Node stream', () => Readable.from([]), 'Readable.toWeb(stream)), got a Readable.'],
    ['another typed array', (of) => new Uint16Array(of.length), 'Readable.toWeb(stream)), got Uint16Array('],
    [
      'transferred bytes',
      (of) => (structuredClone(of.buffer, { transfer: [of.buffer as ArrayBuffer] }), of.buffer),
      'Expected the checkpoint to have its memory, got a buffer that was transferred or has shrunk.',
    ],
    ['a truncated file', (of) => of.subarray(0, -1), 'Expected the length of the file to be'],
    ['a file with extra bytes', (of) => new Uint8Array([...of, 0]), 'Expected the length of the file to be'],
    [
      'another format',
      (of) => withMetadata(of, { format: 'pt' }),
      'Expected the format in __metadata__ to be "twinstep", got "pt".',
    ],
    ['no format', (of) => withMetadata(of, { format: undefined }), 'to be "twinstep", got undefined.'],
    [
      'a later version',
      (of) => withMetadata(of, { version: '2' }),
      'Expected the version in __metadata__ to be "1", got "2".',
    ],
    [
      'no state',
      (of) => withMetadata(of, { state: undefined }),
      'Expected state in __metadata__ to be JSON, got undefined.',
    ],
    [
      'a state that is not JSON',
      (of) => withMetadata(of, { state: '{' }),
      'Expected the state dict to be JSON, got its end at character 1.',
    ],
    ['a state that is a list', (of) => withMetadata(of, { state: '[]' }), 'with state and param_groups, got [].'],
    [
      'metadata that is not JSON',
      (of) => withMetadata(of, { metadata: 'x' }),
      'Expected metadata to be JSON, got "x" at character 0.',
    ],
    ['metadata beyond f64', (of) => withMetadata(of, { metadata: '[1e999]' }), 'within the range of f64, got "1e999".'],
    [
      'a duplicate lr',
      (of) => state(of, '"lr":0.1', '"lr":0.1,"lr":0.2'),
      'The key "lr" is listed twice in the state dict.',
    ],
    ['a negative lr', (of) => state(of, '"lr":0.1', '"lr":-1'), 'Expected lr in param_groups[0] to be a finite number'],
    [
      'another algorithm',
      (of) => state(of, '"adamw"', '"adam"'),
      'The state dict says algorithm = "adam" in param_groups[0]; adamw has "adamw".',
    ],
    [
      'a fractional step',
      (of) => state(of, '"step":1', '"step":0.5'),
      'Expected step in the state of "w" to be a whole number',
    ],
    ['no step', (of) => state(of, '"step":1', ''), 'Expected step in the state of "w" to be a whole number'],
    ['a duplicate index', (of) => state(of, '[0,1]', '[0,0]'), 'Parameter 0 is listed twice in the state dict'],
    [
      'an index that is a string',
      (of) => state(of, '[0,1]', '[0,"1"]'),
      'Expected params[1] in param_groups[0] to be a whole number of at least 0, got "1".',
    ],
    [
      'a duplicate name',
      (of) => state(of, '["w","b"]', '["w","w"]'),
      'The parameter "w" is listed twice in the state dict',
    ],
    ['a name of null', (of) => state(of, '["w","b"]', '["w",null]'), 'to be a string, got null.'],
    [
      'too few names',
      (of) => state(of, '["w","b"]', '["w"]'),
      'Expected the number of params in param_groups[0] to be 1, got 2.',
    ],
    [
      'a group of null',
      (of) => withMetadata(of, { state: '{"state":{},"param_groups":[null]}' }),
      'Expected param_groups[0] to be a record with params, got null.',
    ],
    ['a state of 7', (of) => state(of, '{"step":1}', '7'), 'Expected the state of "w" to be a record, got 7.'],
    [
      'a number for an array',
      (of) => state(of, '"step":1', '"step":1,"exp_avg":7'),
      'The state dict has another value for the tensor "exp_avg/w".',
    ],
    [
      'state of an unknown parameter',
      (of) => state(of, '{"0":', '{"7":{},"0":'),
      'The state dict has state for "7", which is in no group.',
    ],
    [
      'an unknown parameter',
      (of) => edit(of, rename('param/b', 'param/v')),
      'The state dict does not have the tensor "param/v".',
    ],
    [
      'a slot of another parameter',
      (of) => edit(of, rename('exp_avg/w', 'exp_avg/b')),
      'does not have the tensor "exp_avg/b".',
    ],
    ['an unknown slot', (of) => edit(of, rename('exp_avg/w', 'z/w')), 'The state of "w" has "z"; it should have'],
    [
      'a slot with an empty name',
      (of) => edit(of, rename('exp_avg/w', '/w')),
      'Expected the name of a tensor to be "param/<parameter>" or "<slot>/<parameter>", got "/w".',
    ],
    [
      'the slot __proto__',
      (of) => edit(of, rename('exp_avg/w', '__proto__/w')),
      '"<slot>/<parameter>", got "__proto__/w".',
    ],
    [
      'a tensor name without a slash',
      (of) => edit(of, rename('exp_avg/w', 'exp_avg')),
      '"<slot>/<parameter>", got "exp_avg".',
    ],
    [
      'a slot of another shape',
      (of) =>
        edit(of, (text) =>
          text.replace('"exp_avg/w":{"dtype":"F32","shape":[6]', '"exp_avg/w":{"dtype":"F32","shape":[2,3]'),
        ),
      'Expected the shape of exp_avg of "w" to be the parameter\'s, [6], got [2, 3].',
    ],
    [
      'another dtype',
      (of) => edit(of, (text) => text.replace('F32","shape":[6]', 'I32","shape":[6]')),
      'Expected dtype of "param/w" to be "F32", got "I32".',
    ],
  ];
  test.each(refused)('%s', async (...[, change, message]) => {
    const changed = change(bytes) as Uint8Array;
    const before = await snapshot(optimizer);
    await expect(loadCheckpoint(optimizer, changed)).rejects.toThrow(message);
    await expectSnapshot(optimizer, before);
    if (!(changed instanceof Uint8Array)) return;
    const cancelled: unknown[] = [];
    const stream = streamOf([...chunksOf(changed, 50), new Uint8Array(0)], (reason) => cancelled.push(reason));
    await expect(loadCheckpoint(optimizer, stream)).rejects.toThrow(/^\w.*\.$/s);
    expect(stream.locked).toBe(false);
    await expectSnapshot(optimizer, before);
  });

  test('other tensors', async () => {
    const before = await snapshot(optimizer);
    const b = array(2, 2);
    for (const [params, message] of [
      [{ w: array(6, 1) }, /lacks the parameter "b"/],
      [{ w: array(6, 1), b, v: array(1, 1) }, /There is no parameter "v"/],
      [{ w: array(5, 1), b }, /^Expected 6 values of .*"w", got 5\.$/],
    ] as const) {
      const other = await saveCheckpoint(await adamw(params as Tensors));
      await expect(loadCheckpoint(optimizer, other)).rejects.toThrow(message);
      await expect(loadCheckpoint(optimizer, streamOf([other]))).rejects.toThrow(message);
    }
    await expectSnapshot(optimizer, before);
  });

  describe('a stream', () => {
    const tries: [string, (of: Uint8Array) => Iterable<unknown>, string][] = [
      [
        'that ends in the length of the header',
        (of) => [of.subarray(0, 5)],
        'This is not a safetensors file: expected at least 8 bytes, got 5.',
      ],
      ['that ends in the header', (of) => [of.subarray(0, 100)], 'bytes in the stream, got 100.'],
      ['that ends in the data', (of) => [of.subarray(0, -1)], 'bytes in the stream, got'],
      ['with more data', (of) => [of, new Uint8Array(0), new Uint8Array(3)], 'bytes, got 3 more.'],
      ['with more data in the last chunk', (of) => [new Uint8Array([...of, 1])], 'bytes, got 1 more.'],
      [
        'of transferred chunks',
        (of) => (structuredClone(of.buffer, { transfer: [of.buffer as ArrayBuffer] }), [of]),
        'Expected a chunk of the stream to have its memory, got a buffer that was transferred or has shrunk.',
      ],
      ['of strings', () => ['abc'], 'Expected a chunk of the stream to be a Uint8Array, got "abc".'],
      ['that ends with floats', (of) => [of, new Float32Array(2)], 'to be a Uint8Array, got Float32Array(2).'],
      [
        'that fails',
        function* (of) {
          yield of.subarray(0, 300);
          throw new Error('no network');
        },
        'The stream failed after 300 bytes: no network',
      ],
      [
        'that fails without an error',
        function* () {
          yield new Uint8Array(1);
          throw undefined;
        },
        'The stream failed after 1 bytes: undefined',
      ],
      [
        'with a header longer than any',
        () => [new Uint8Array(8).fill(255), new Uint8Array(9)],
        'expected a header of 2 to 100000000 bytes, got 18446744073709551615.',
      ],
    ];
    test.each(tries)('%s', async (...[, chunks, message]) => {
      const before = await snapshot(optimizer);
      await expect(loadCheckpoint(optimizer, streamOf(chunks(bytes)))).rejects.toThrow(message);
      await expectSnapshot(optimizer, before);
    });

    test('with endless empty chunks, but not with a few', async () => {
      const empty = new Uint8Array(0);
      const endless = function* (before: Uint8Array): Generator<Uint8Array> {
        yield before;
        for (;;) yield empty;
      };
      const before = await snapshot(optimizer);
      for (const length of [0, 5, 200, bytes.length]) {
        let cancelled = 0;
        const stream = streamOf(endless(bytes.subarray(0, length)), () => (cancelled += 1));
        await expect(loadCheckpoint(optimizer, stream)).rejects.toThrow(
          `Expected data after ${length} bytes of the stream, got 1001 empty chunks.`,
        );
        expect(cancelled).toBe(1);
      }
      await expectSnapshot(optimizer, before);
      const some = Array.from(chunksOf(bytes, 1), (chunk) => [
        ...Array.from({ length: 30 }, () => empty),
        chunk,
      ]).flat();
      let ticks = 0;
      const timer = setInterval(() => (ticks += 1), 0);
      await loadCheckpoint(optimizer, streamOf(some));
      clearInterval(timer);
      await expectSnapshot(optimizer, await snapshot(await small()));
      // Timers run during the load, although all chunks are available at once.
      expect(ticks).toBeGreaterThan(some.length / 4000);
    });

    test('and cancels it with the reason', async () => {
      const reasons: unknown[] = [];
      const stream = streamOf([new Uint8Array(8), bytes, bytes], (reason) => reasons.push(reason));
      await expect(loadCheckpoint(optimizer, stream)).rejects.toThrow(
        'expected a header of 2 to 100000000 bytes, got 0.',
      );
      expect(String(reasons)).toContain('expected a header of 2 to 100000000 bytes, got 0.');
    });

    test('of other tensors before reading its data', async () => {
      const other = await saveCheckpoint(await adamw({ w: array(6, 1), b: array(300_000, 2) }));
      let taken = 0;
      const counted = function* (): Generator<Uint8Array> {
        for (const chunk of chunksOf(other, 1000)) {
          taken += chunk.length;
          yield chunk;
        }
      };
      await expect(loadCheckpoint(optimizer, streamOf(counted()))).rejects.toThrow('Expected 2 values of param of "b"');
      expect(taken).toBeLessThan(5000);
    });

    test('without waiting for its cancellation', async () => {
      const stream = new ReadableStream({
        pull: (controller) => controller.enqueue(any('abc')),
        cancel: () => new Promise<void>(() => {}),
      });
      await expect(loadCheckpoint(optimizer, stream)).rejects.toThrow('a Uint8Array, got "abc".');
    });

    test('that is locked', async () => {
      const stream = streamOf([bytes]);
      stream.getReader();
      await expect(loadCheckpoint(optimizer, stream)).rejects.toThrow(
        'Expected the stream to be one that is not locked',
      );
    });

    test('without allocating memory for a long header before its bytes arrive', async () => {
      const before = process.memoryUsage().arrayBuffers;
      let fail: (reason: Error) => void = () => {};
      const waiting = new Promise<void>((_, reject) => (fail = reject));
      const stream = new ReadableStream<Uint8Array>({
        start: (controller) => controller.enqueue(joinFile('{', new Uint8Array(0), 8_000_000n)),
        pull: () => waiting,
      });
      const loading = loadCheckpoint(optimizer, stream);
      await new Promise((resolve) => setTimeout(resolve, 20));
      expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(2 ** 20);
      fail(new Error('gone'));
      await expect(loading).rejects.toThrow('The stream failed after 9 bytes: gone');
    });
  });
});

describe('ignores properties of Object.prototype:', () => {
  const names = `dtype shape data_offsets as bytes name begin end length params stateDict state param_groups param_names
    shapes metadata scaler __metadata__ format version slot array index exp_avg exp_avg_sq param w b 0 strict options F32 F64 F16
    U8 start pull type size highWaterMark getReader stream fatal toJSON clone read array word has`.split(/\s+/);
  const values: [string, unknown][] = [
    ['a function', () => 'polluted'],
    ['a string', 'f32'],
    ['a record', { w: [1, 6] }],
    ['null', null],
  ];

  test.each(names)('%s', async (name) => {
    const floats = Float32Array.of(1, 2);
    const run = async (): Promise<unknown[]> => {
      const optimizer = await small({ w: [2, 3] });
      const bytes = await saveCheckpoint(optimizer, { metadata: { epoch: [3, {}] } });
      const plain = await saveCheckpoint(await small());
      const chunks: Uint8Array[] = [];
      for await (const chunk of streamed(checkpointStream(optimizer))) chunks.push(chunk);
      const decoded = decodeCheckpoint(bytes);
      const epoch = await loadCheckpoint(optimizer, bytes);
      await loadCheckpoint(optimizer, plain, { strict: false, options: 'current' });
      const nothing = await loadCheckpoint(optimizer, streamOf([plain]));
      const parsed = parseSafetensors(bytes);
      const { tensors: taken } = parseSafetensors(bytes, { as: 'f32' });
      const own = { dtype: 'F64' as const, shape: [1], bytes: new Uint8Array(floats.buffer) };
      const written = serializeSafetensors(new Map([['t', own]]));
      const fault = ((): unknown => {
        try {
          return parseSafetensors(written, { as: 'f32' });
        } catch (error) {
          return (error as Error).message;
        }
      })();
      return [
        [bytes, plain, ...chunks, encodeCheckpoint(decoded), serializeSafetensors(parsed.tensors, parsed.metadata)],
        [decoded, epoch, nothing, [...parsed.tensors], [...taken], written, fault, await snapshot(optimizer)],
      ];
    };
    const expected = await run();
    const plain = Object.getPrototypeOf({}) as object;
    for (const [what, value] of values) {
      let given: unknown;
      Object.defineProperty(plain, name, { value, enumerable: true, configurable: true, writable: true });
      try {
        given = await run().catch(String);
      } finally {
        Reflect.deleteProperty(plain, name);
      }
      expect(given, what).toEqual(expected);
    }
  });
});
