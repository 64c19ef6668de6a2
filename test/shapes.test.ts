// Tests the option `shapes`: its checks, how it is shown, what it is given to, and checkpoints of other shapes.

import { readFileSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { adamw, decayMatricesOnly, ema, lookahead } from 'twinstep';
import {
  checkpointStream,
  decodeCheckpoint,
  encodeCheckpoint,
  loadCheckpoint,
  parseSafetensors,
  saveCheckpoint,
  type AnyOptimizer,
} from 'twinstep/checkpoint';
import * as sync from 'twinstep/sync';
import * as gpu from 'twinstep/webgpu';
import { describe, expect, test } from 'vitest';
import { backends } from './support/backends.js';
import { bundle } from './support/bundle.js';
import { expectSnapshot, joinFile, small, snapshot, splitFile, streamOf } from './support/checkpoints.js';
import { fresh, freshFolder } from './support/fresh.js';
import { any, buffer, device } from './support/gpu.js';
import { array } from './support/numbers.js';

const params = () => ({ w: array(6, 1), b: array(2, 2), s: array(1, 3), none: array(0, 4) });
const shapes = { w: [2, 3], s: [], none: [0, 4] };

const shapesInFile = (bytes: Uint8Array): Record<string, readonly number[]> =>
  Object.fromEntries(Array.from(parseSafetensors(bytes).tensors, ([name, { shape }]) => [name, shape]));

describe.each(backends)('%s', (...[, backend]) => {
  test('shows the shapes that are known, frozen, of all tensors that are in the optimizer', async () => {
    const optimizer = await adamw(params(), { ...backend, shapes });
    expect(optimizer.shapes).toEqual(shapes);
    expect(Object.keys(optimizer.shapes)).toEqual(['w', 's', 'none']);
    expect(optimizer.shapes).toBe(optimizer.shapes);
    expect([optimizer.shapes, ...Object.values(optimizer.shapes)].every(Object.isFrozen)).toBe(true);
    await optimizer.addParamGroup({ params: { v: array(12, 5), u: array(3, 6) }, shapes: { v: [3, 2, 2] } });
    await optimizer.addParams(1, { x: array(4, 7), y: array(4, 8) }, { shapes: { y: [4, 1] } });
    await optimizer.removeParams(['w']);
    expect(optimizer.shapes).toEqual({ s: [], none: [0, 4], v: [3, 2, 2], y: [4, 1] });
    const plain = await adamw(params(), backend);
    expect(plain.shapes).toEqual({});
    optimizer.dispose();
    expect(() => optimizer.shapes).toThrow('This optimizer has been disposed of.');
  });

  test('shapes of a group override those of the optimizer', async () => {
    const [w, v] = [array(6, 1), array(6, 1)];
    const optimizer = await adamw([{ params: { w }, shapes: { w: [3, 2] } }, { params: { v } }], {
      ...backend,
      shapes: { w: [2, 3], v: [6, 1] },
    });
    expect(optimizer.shapes).toEqual({ w: [3, 2], v: [6, 1] });
  });

  test('decayMatricesOnly and other masks get the shape of each tensor', async () => {
    const own = { w: [2, 3], b: [2], s: [], none: [0, 4] };
    const seen: unknown[] = [];
    const decayMask = (name: string, shape: readonly number[] | undefined): boolean => {
      seen.push([name, shape]);
      return false;
    };
    await adamw(params(), { ...backend, shapes, decayMask });
    expect(seen).toEqual(Object.keys(params()).map((name) => [name, { ...shapes, b: undefined }[name]]));
    const masked = await adamw(params(), { ...backend, shapes: own, decayMask: decayMatricesOnly });
    expect((await masked.stateDict()).param_groups[0].no_decay).toEqual(['b', 's']);
    await masked.addParams(0, { m: array(4, 1), v: array(4, 1) }, { shapes: { m: [2, 2], v: [4] } });
    await masked.addParamGroup({ params: { n: array(4, 1), u: array(4, 1) }, shapes: { n: [1, 2, 2], u: [4] } });
    const dict = await masked.stateDict();
    expect(dict.param_groups.map(({ no_decay: names }) => names)).toEqual([['b', 's', 'v'], ['u']]);
    const lacks = (name: string): string =>
      `Expected the shape of "${name}" for decayMatricesOnly to be an array, from the option \`shapes\`, got undefined.`;
    await expect(adamw(params(), { ...backend, shapes, decayMask: decayMatricesOnly })).rejects.toThrow(lacks('b'));
    await expect(masked.addParams(0, { o: array(4, 1) })).rejects.toThrow(lacks('o'));
    await expect(masked.addParamGroup({ params: { o: array(4, 1) } })).rejects.toThrow(lacks('o'));
    expect(Object.keys(masked.params)).not.toContain('o');
  });

  test('averages and Lookahead have the shapes of their optimizer, also in checkpoints', async () => {
    const optimizer = await adamw(params(), { ...backend, shapes });
    const average = await ema(optimizer);
    expect(average.shapes).toEqual(shapes);
    expect(shapesInFile(await saveCheckpoint(average))).toMatchObject({ 'param/w': [2, 3], 'param/s': [] });
    const ahead = await lookahead(optimizer);
    expect(ahead.slow.shapes).toEqual(shapes);
    await optimizer.addParams(0, { v: array(4, 1), u: array(4, 1) }, { shapes: { v: [2, 2] } });
    await ahead.follow();
    expect(ahead.slow.shapes).toEqual({ ...shapes, v: [2, 2] });
    const saved = shapesInFile(await saveCheckpoint(ahead));
    expect(saved).toMatchObject({ 'param/v': [2, 2], 'slow_param/v': [2, 2], 'slow_param/w': [2, 3], 'param/u': [4] });
    await expect(ema(optimizer, any({ shapes }))).rejects.toThrow('Unknown option "shapes", got an Object; ema has');
  });

  test('a checkpoint of other dimensions of the same length is refused, and nothing is changed', async () => {
    const saved = await adamw(params(), { ...backend, shapes });
    saved.step(params());
    const bytes = await saveCheckpoint(saved, { metadata: 1 });
    const other = await adamw(params(), { ...backend, shapes: { w: [3, 2] } });
    other.step({ w: array(6, 9) });
    const before = await snapshot(other);
    for (const options of [{}, { strict: false }] as const) {
      for (const source of [bytes, streamOf([bytes])]) {
        await expect(loadCheckpoint(other, source, options)).rejects.toThrow(
          'Expected the shape of "w" to be the optimizer\'s, [3, 2], got [2, 3].',
        );
      }
    }
    await expectSnapshot(other, before);
    expect(other.shapes).toEqual({ w: [3, 2] });
  });

  test('a flat file loads into an optimizer with shapes, a file with shapes into one without, neither changes them', async () => {
    const [flat, shaped] = [await adamw(params(), backend), await adamw(params(), { ...backend, shapes })];
    for (const [from, to] of [
      [flat, shaped],
      [shaped, flat],
    ]) {
      from.step(params());
      const [bytes, known] = [await saveCheckpoint(from), to.shapes];
      for (const source of [bytes, streamOf([bytes])]) {
        to.step(params());
        await loadCheckpoint(to, source);
        await expectSnapshot(to, await snapshot(from));
        expect(to.shapes).toEqual(known);
      }
    }
  });
});

test('an optimizer restarts from decodeCheckpoint with its shapes', async () => {
  const own = { w: [2, 3], b: [2] };
  const saved = await small(own);
  const bytes = await saveCheckpoint(saved);
  const { params: values, shapes: read, stateDict } = decodeCheckpoint(bytes);
  const restarted = await adamw(values, { shapes: read, decayMask: decayMatricesOnly });
  await restarted.loadStateDict(stateDict, { options: 'current' });
  expect(restarted.shapes).toEqual(own);
  await loadCheckpoint(saved, bytes);
});

test('a file tells a tensor without a shape from one of one dimension, so that a resume refuses what creation does', async () => {
  const all = { w: [6], b: [2] };
  for (const own of [{}, { b: [2] }, all]) {
    const [saved, other] = [await small(own), await small({ w: [3, 2] })];
    const bytes = await saveCheckpoint(saved);
    expect(await new Response(checkpointStream(saved)).bytes()).toEqual(bytes);
    expect(shapesInFile(bytes)).toMatchObject({ 'param/w': [6], 'param/b': [2] });
    const { params: values, shapes: read, ...others } = decodeCheckpoint(bytes);
    expect(read).toEqual(own);
    expect(encodeCheckpoint({ params: values, shapes: read, ...others })).toEqual(bytes);
    const resuming = adamw(values, { shapes: read, decayMask: decayMatricesOnly });
    if (own === all) expect((await (await resuming).stateDict()).param_groups[0].no_decay).toEqual(['w', 'b']);
    else await expect(resuming).rejects.toThrow('Expected the shape of "w" for decayMatricesOnly to be an array');
    // The optimizer that is made of a file loads what the first one loads.
    const resumed = await adamw(values, { shapes: read });
    const loadsOf = (each: typeof saved): Promise<unknown> =>
      saveCheckpoint(other).then((shaped) => loadCheckpoint(each, shaped).catch((error: Error) => error.message));
    expect(await loadsOf(resumed)).toBe(await loadsOf(saved));
  }
});

test('no_shape is absent from a file whose shapes are all known, and without it one dimension is a shape', async () => {
  const full = await saveCheckpoint(await small({ w: [2, 3], b: [2] }));
  expect(splitFile(full).header).not.toContain('no_shape');
  const { header, data } = splitFile(await saveCheckpoint(await small()));
  const older = joinFile(header.replace(/,"no_shape":"(\\.|[^"])*"/, ''), data);
  expect(decodeCheckpoint(older).shapes).toEqual({ w: [6], b: [2] });
  await loadCheckpoint(await small({ w: [2, 3] }), older);
});

test.each([
  ['["v"]', 'There is no parameter "v", listed in no_shape; there are "w", "b".'],
  ['["w"]', 'Expected the shape of "w" (listed in no_shape) to be [length], got [2, 3].'],
  ['"b"', 'Expected no_shape in __metadata__ to be an array, got "b".'],
  ['[1]', 'Expected no_shape[0] in __metadata__ to be a string, got 1.'],
  ['["b"', 'no_shape'],
])('refuses a file with %s as no_shape, and changes nothing', async (given, message) => {
  const { header, data } = splitFile(await saveCheckpoint(await small({ w: [2, 3] })));
  const bytes = joinFile(
    header.replace('["b"]'.replaceAll('"', '\\"'), () => given.replaceAll('"', '\\"')),
    data,
  );
  expect(() => decodeCheckpoint(bytes)).toThrow(message);
  const optimizer = await small();
  const before = await snapshot(optimizer);
  for (const source of [bytes, streamOf([bytes])]) {
    await expect(loadCheckpoint(optimizer, source)).rejects.toThrow(message);
  }
  await expectSnapshot(optimizer, before);
});

test('a shape that is undefined is not given', async () => {
  const given = { w: [2, 3], b: undefined };
  expect((await adamw(params(), { shapes: given })).shapes).toEqual({ w: [2, 3] });
  expect(sync.adamw(params(), { shapes: given }).shapes).toEqual({ w: [2, 3] });
  const groups = [{ params: params(), shapes: { w: undefined, s: [] } }];
  const optimizer = await adamw(groups, { shapes: { w: [2, 3] } });
  expect(optimizer.shapes).toEqual({ w: [2, 3], s: [] });
  await optimizer.addParams(0, { v: array(2, 1) }, { shapes: { v: undefined } });
  expect(optimizer.shapes).toEqual({ w: [2, 3], s: [] });
  const values = { w: array(6, 1), v: array(2, 1) };
  const bytes = encodeCheckpoint({
    params: values,
    stateDict: await (await adamw(values)).stateDict(),
    shapes: { w: [2, 3], v: undefined },
  });
  expect(decodeCheckpoint(bytes).shapes).toEqual({ w: [2, 3] });
});

test('a wrapper without shapes is saved without, and loads a file of any shapes', async () => {
  const optimizer = await small({ w: [2, 3] });
  const wrapper: AnyOptimizer = {
    groups: optimizer.groups,
    read: (name) => optimizer.read(name),
    stateDict: () => optimizer.stateDict(),
    lazyStateDict: () => optimizer.lazyStateDict(),
    loadStateDict: (dict, options) => optimizer.loadStateDict(dict, options),
  };
  const saved = await saveCheckpoint(wrapper);
  expect(decodeCheckpoint(saved).shapes).toEqual({});
  expect(await new Response(checkpointStream(wrapper)).bytes()).toEqual(saved);
  const bytes = await saveCheckpoint(await small({ w: [3, 2] }), { metadata: 1 });
  for (const source of [bytes, streamOf([bytes])]) expect(await loadCheckpoint(wrapper, source)).toBe(1);
});

test('twinstep/sync takes shapes', async () => {
  const optimizer = sync.adamw(params(), { shapes, decayMask: (_, shape) => shape?.length === 2 });
  expect(optimizer.shapes).toEqual(shapes);
  expect((await optimizer.stateDict()).param_groups[0].no_decay).toEqual(['b', 's']);
  expect(sync.ema(optimizer).shapes).toEqual(shapes);
  expect(() => sync.adamw(params(), { shapes: { w: [6, 2] } })).toThrow('whose product is 6, got [6, 2].');
});

test('twinstep/webgpu takes shapes', async () => {
  const optimizer = await gpu.adamw(params(), { device, shapes });
  expect(optimizer.shapes).toEqual(shapes);
});

test('creation reads shapes at the call, each once, and copies them', async () => {
  const { adamw: create } = await fresh();
  const shape = [2, 3];
  let reads = 0;
  const given = {
    get w() {
      reads += 1;
      return shape;
    },
  };
  const ofGroup = { v: [3, 1] };
  const mask: Record<string, boolean> = { w: true };
  const [w, v] = [array(6, 1), array(3, 1)];
  const creating = create(
    [
      { params: { w }, decayMask: mask },
      { params: { v }, shapes: ofGroup },
    ],
    { shapes: given },
  );
  shape[0] = 7;
  ofGroup.v = [9];
  mask.w = false;
  const optimizer = await creating;
  expect(optimizer.shapes).toEqual({ w: [2, 3], v: [3, 1] });
  expect(reads).toBe(1);
  expect((await optimizer.stateDict()).param_groups[0].no_decay).toEqual([]);
  shape.splice(0, 2, 2, 2);
  const added = optimizer.addParams(1, { x: array(4, 1) }, { shapes: { x: shape } });
  shape[0] = 7;
  expect((await added).shapes.x).toEqual([2, 2]);
});

test('GPU buffers have shapes, checked against their length in elements', async () => {
  const optimizer = await adamw({ w: buffer(array(64, 1)) }, { device, shapes: { w: [8, 8] } });
  expect(optimizer.shapes).toEqual({ w: [8, 8] });
  await expect(adamw({ w: buffer(array(64, 1)) }, { device, shapes: { w: [64, 4] } })).rejects.toThrow(
    'Expected the shape of "w" to be whole numbers whose product is 64, got [64, 4].',
  );
});

test('creation with shapes throws a sentence if a bundler dropped their code', async () => {
  const entry = fileURLToPath(new URL('../dist/sync-fastly.js', import.meta.url));
  const [{ code }] = await bundle(entry, 'adamw', () => false);
  const { adamw: create } = (await import(`data:text/javascript,${encodeURIComponent(code)}`)) as typeof sync;
  const message = 'adamw() cannot run: this build of twinstep, for edge runtimes, lacks the code.';
  expect(() => create(params(), { shapes })).toThrow(message);
  expect(() => create([{ params: params(), shapes }])).toThrow(message);
  expect(
    create(params(), { backend: 'wasm', wasm: readFileSync(new URL('../dist/core.wasm', import.meta.url)) }).shapes,
  ).toEqual({});
});

test('creation with shapes rejects with a sentence if their code cannot be loaded', async () => {
  const folder = freshFolder();
  rmSync(new URL('shapes.js', folder));
  const { adamw: create } = (await import(new URL('index.js', folder).href)) as typeof import('twinstep');
  await expect(create(params(), { shapes })).rejects.toThrow('adamw() cannot run: its code cannot be loaded here');
  expect((await create(params())).shapes).toEqual({});
});

test('tensors may have any names', async () => {
  const names = ['__proto__', 'constructor', 'toString', 'length', '', '7'];
  const record = (make: () => unknown): never => Object.fromEntries(names.map((name) => [name, make()])) as never;
  const optimizer = await adamw(
    record(() => array(6, 1)),
    { shapes: record(() => [3, 2]) },
  );
  expect(optimizer.shapes).toEqual(record(() => [3, 2]));
  expect(Object.keys(optimizer.shapes).toSorted()).toEqual(names.toSorted());
  const saved = await saveCheckpoint(optimizer);
  await loadCheckpoint(optimizer, saved);
  expect(decodeCheckpoint(saved).shapes).toEqual(optimizer.shapes);
  // None of these is a shape of a tensor of the same name.
  const plain = await adamw(record(() => array(6, 1)));
  expect(plain.shapes).toEqual({});
  await loadCheckpoint(plain, saved);
});

describe('refuses', () => {
  const fits = (shape: string): string =>
    `Expected the shape of "w" to be whole numbers whose product is 6, got ${shape}.`;
  const overrides = {
    every() {
      throw new Error('every() of the caller was called.');
    },
  };
  const cases: [string, unknown, string][] = [
    ['another product', { w: [2, 2] }, fits('[2, 2]')],
    ['many dimensions', { w: [1, 2, 3, 1, 1, 2] }, fits('[1, 2, 3, 1, 1, 2]')],
    ['a scalar', { w: [] }, fits('[]')],
    ['a fraction', { w: [12, 0.5] }, fits('[12, 0.5]')],
    ['NaN', { w: [6, NaN] }, fits('[6, NaN]')],
    ['negative sizes', { w: [-2, -3] }, fits('[-2, -3]')],
    ['-0', { none: [-0] }, 'the shape of "none" to be whole numbers whose product is 0, got [-0].'],
    ['strings', { w: ['2', '3'] }, fits('["2", "3"]')],
    ['bigints', { w: [2n, 3n] }, fits('[2n, 3n]')],
    ['a hole', { w: Object.assign(Array(2), { 0: 6 }) }, fits('[6, undefined]')],
    ['a product of 2^53', { w: [2 ** 52, 2] }, fits('[4503599627370496, 2]')],
    ['a product that overflows before a 0', { none: [2 ** 52, 2 ** 52, 0] }, 'whose product is 0, got [45035'],
    ['a product of Infinity', { w: Array(40).fill(2 ** 50) }, fits('Array(40)')],
    ['257 dimensions', { w: [6, ...Array<number>(256).fill(1)] }, fits('Array(257)')],
    ['a long sparse array', { w: Array(2 ** 32 - 1) }, fits('Array(257)')],
    ['a number', { w: 6 }, fits('6')],
    ['a string', { w: '6' }, fits('"6"')],
    ['null', { w: null }, fits('null')],
    ['a typed array', { w: Int32Array.of(2, 3) }, fits('Int32Array(2)')],
    ['an array of a class', { w: Object.assign([2, 2], overrides) }, fits('[2, 2]')],
    ['an unknown name', { v: [1] }, 'There is no parameter "v", listed in shapes; there are "w", "b", "s", "none".'],
    ['a misspelt name', { W: [6] }, 'listed in shapes; there are "w", "b", "s", "none". Did you mean w?'],
    ['a list', [[6]], 'Expected shapes to be a record of shapes by name, got Array(1).'],
    ['a Map', new Map([['w', [6]]]), 'Expected shapes to be a record of shapes by name, got a Map.'],
    ['null for all', null, 'Expected shapes to be a record of shapes by name, got null.'],
  ];
  test.each(cases)('%s', async (_, given, message) => {
    await expect(adamw(params(), { shapes: any(given) })).rejects.toThrow(message);
    expect(() => sync.adamw(params(), { shapes: any(given) })).toThrow(message);
    const optimizer = await adamw({ first: array(3, 1) });
    const before = await snapshot(optimizer);
    const ofAdded = message.replace('in shapes', 'in shapes of group 0').replace('Expected shapes', '$& of group 0');
    await expect(optimizer.addParams(0, params(), { shapes: any(given) })).rejects.toThrow(ofAdded);
    const ofGroup = ofAdded.replace('group 0', 'group 1');
    await expect(optimizer.addParamGroup({ params: params(), shapes: any(given) })).rejects.toThrow(ofGroup);
    await expectSnapshot(optimizer, before);
    expect(optimizer.groups).toHaveLength(1);
  });

  test('an error of a getter', async () => {
    const given = {
      get w(): never {
        throw new Error('no shape today');
      },
    };
    await expect(adamw(params(), { shapes: given })).rejects.toThrow('no shape today');
  });

  test('shapes of tensors of another group, and of existing tensors', async () => {
    const [w, v] = [array(6, 1), array(3, 1)];
    await expect(adamw([{ params: { w }, shapes: { v: [3] } }, { params: { v } }])).rejects.toThrow(
      '"v", listed in shapes of group 0; there are "w".',
    );
    const optimizer = await adamw({ w: array(6, 1) });
    const added = { params: { v: array(3, 1) }, shapes: { w: [6] } };
    await expect(optimizer.addParamGroup(any(added))).rejects.toThrow(
      '"w", listed in shapes of group 1; there are "v".',
    );
    expect(optimizer.shapes).toEqual({});
  });

  test('misspelt options, assignments, and decayMatricesOnly without a shape', async () => {
    await expect(adamw(params(), any({ shape: {} }))).rejects.toThrow(
      /^Unknown option "shape", .* Did you mean shapes\?$/,
    );
    const optimizer = await adamw(params(), { shapes });
    await expect(optimizer.addParams(0, { v: array(1, 1) }, any({ shape: {} }))).rejects.toThrow(
      'Unknown option "shape"; addParams has "shapes". Did you mean shapes?',
    );
    expect(() => {
      (optimizer as { shapes: unknown }).shapes = {};
    }).toThrow('shapes is read-only, got an Object.');
    // A callback of `filter` gets an index.
    expect(() => ['w'].filter(decayMatricesOnly as never)).toThrow(
      'the shape of "w" for decayMatricesOnly to be an array',
    );
  });
});
