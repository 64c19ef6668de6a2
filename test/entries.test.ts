// Tests the entries `twinstep/sync` and `twinstep/webgpu` against `twinstep`.

import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import * as twinstep from 'twinstep';
import { loadCheckpoint, saveCheckpoint } from 'twinstep/checkpoint';
import * as onGpu from 'twinstep/webgpu';
import * as sync from 'twinstep/sync';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { algorithms, type Create } from './support/algorithms.js';
import type { Options } from './support/backends.js';
import { bundle } from './support/bundle.js';
import { freshFolder } from './support/fresh.js';
import { any, buffer, COPY_SRC, device, STORAGE } from './support/gpu.js';
import { array, tensors } from './support/numbers.js';
import { readAll, same, type Tensors } from './support/tensors.js';

const lengths = [1, 3, 64, 130];
const params = (): Tensors => tensors(lengths, 1);
const grads = (t: number): Tensors => tensors(lengths, 10 + t);
const STEPS = 6;

type Optimizer = Awaited<ReturnType<Create>>;
type Names = Readonly<Record<string, unknown>>;

/** Returns the function that has the name of an algorithm in another entry. */
const inEntry = <Result>(entry: Names, name: string): ((...args: unknown[]) => Result) =>
  entry[name.split(' ')[0]] as never;
const createNow = (name: string, given: unknown, options: Options): Optimizer =>
  inEntry<Optimizer>(sync, name)(given, options);
const createOnGpu = (name: string, given: unknown, options: Options): Promise<Optimizer> =>
  inEntry<Promise<Optimizer>>(onGpu, name)(given, options);

/** Steps, with one evaluation in between. Returns the parameters. */
async function train(optimizer: Optimizer): Promise<Tensors> {
  for (let t = 0; t < STEPS; t++) {
    optimizer.step(grads(t));
    if (t === 2) {
      optimizer.eval();
      optimizer.train();
    }
  }
  return readAll(optimizer, params());
}

/** Loads a copy of twinstep/sync like a new process does: nothing is compiled yet. */
const freshSync = async (): Promise<typeof sync> => import(new URL('sync.js', freshFolder()).href);

afterEach(() => {
  vi.unstubAllGlobals();
});

test('the entries have the same names, except that twinstep/webgpu has no WebAssembly to widen', () => {
  const names = Object.keys(twinstep).toSorted();
  expect(Object.keys(sync).toSorted()).toEqual(names);
  expect(Object.keys(onGpu).toSorted()).toEqual(names.filter((name) => name !== 'enableWideSimd'));
});

// A bundler drops a file that `sideEffects` lacks if nothing that the file itself exports is used.
describe('sideEffects of package.json has each file whose effects are needed:', () => {
  const read = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
    sideEffects: string[];
    unpkg: string;
    exports: Record<string, string | Record<string, string>>;
  };
  const targets = Object.values(read.exports).flatMap((each) =>
    typeof each === 'string' ? [each] : Object.values(each),
  );
  const files = [read.unpkg, ...targets.filter((target) => target.endsWith('.js'))];
  const pathOf = (file: string): string => fileURLToPath(new URL(`../${file}`, import.meta.url));
  const listed = new Set(read.sideEffects.map(pathOf));

  /** Returns the files in a bundle that uses one name of a file of the package. `has`: whether a file has effects. */
  async function filesInBundle(file: string, has: (path: string) => boolean): Promise<string[]> {
    const [, name] = /\bexport ?\{ ?(?:[\w$]+ as )?([\w$]+)/.exec(readFileSync(pathOf(file), 'utf8'))!;
    const chunks = await bundle(pathOf(file), name, has);
    const modules = chunks.flatMap((chunk) => Object.entries(chunk.modules));
    return modules.filter(([, { renderedLength }]) => renderedLength > 0).map(([path]) => path);
  }

  test.each(files)('%s', async (file) => {
    const wanted = await filesInBundle(file, () => true);
    expect(wanted.length).toBeGreaterThan(0);
    expect(new Set(await filesInBundle(file, (path) => listed.has(path)))).toEqual(new Set(wanted));
  });

  test('and no file that is not there', () => {
    expect([...listed].filter((path) => !existsSync(path))).toEqual([]);
  });
});

test('the entries share the class of optimizers', async () => {
  const classes = [sync.adamw(params()), await twinstep.adamw(params()), await onGpu.adamw(params(), { device })].map(
    (optimizer) => Object.getPrototypeOf(optimizer) as object,
  );
  expect(new Set(classes).size).toBe(1);
});

describe.each(algorithms)('%s', (...[name, create, own]) => {
  test.each(['wasm', 'reference'] as const)('twinstep/sync gives the bits of twinstep on %s', async (backend) => {
    const optimizer = createNow(name, params(), { ...own, backend });
    expect(optimizer.backend).toEqual((await create(params(), { ...own, backend })).backend);
    same(await train(optimizer), await train(await create(params(), { ...own, backend })));
  });

  test('twinstep/webgpu gives the bits of twinstep on WebGPU', async () => {
    const optimizer = await createOnGpu(name, params(), { ...own, device });
    expect(optimizer.backend.name).toBe('webgpu');
    same(await train(optimizer), await train(await create(params(), { ...own, backend: 'webgpu', device })));
  });

  test('checkpoints travel between the entries', async () => {
    const make = async (): Promise<Optimizer[]> => [
      await create(params(), own),
      createNow(name, params(), own),
      await createOnGpu(name, params(), { ...own, device }),
    ];
    for (const from of await make()) {
      await train(from);
      const checkpoint = await saveCheckpoint(from);
      for (const to of await make()) {
        await loadCheckpoint(to, checkpoint);
        same(await readAll(to, params()), await readAll(from, params()));
        expect(await to.stateDict()).toEqual(await from.stateDict());
        await to.loadStateDict(await from.stateDict());
        expect(to.completedSteps).toBe(STEPS);
      }
    }
  });
});

describe('twinstep/sync', () => {
  test('creates an optimizer that runs WebAssembly, and steps, at once', () => {
    const optimizer = sync.adamw({ w: array(5, 1) }, { lr: 0.1 });
    optimizer.step({ w: array(5, 2) });
    expect(optimizer.backend).toEqual({
      name: 'wasm',
      reason: 'WebAssembly SIMD, for parameters in CPU memory.',
    });
    expect([optimizer.device, optimizer.completedSteps]).toEqual([undefined, 1]);
  });

  test('groups that are added later have the kernels of their own options', async () => {
    const { adam } = await freshSync();
    const optimizer = adam({ v: array(7, 1) });
    await optimizer.addParamGroup({ params: { w: array(9, 2) }, amsgrad: true });
    await optimizer.addParamGroup({ params: { x: array(9, 3) }, nesterov: true });
    const other = await twinstep.adam([
      { params: { v: array(7, 1) } },
      { params: { w: array(9, 2) }, amsgrad: true },
      { params: { x: array(9, 3) }, nesterov: true },
    ]);
    for (const each of [optimizer, other]) each.step({ v: array(7, 4), w: array(9, 5), x: array(9, 6) });
    same(await readAll(optimizer, { v: 0, w: 0, x: 0 }), await readAll(other, { v: 0, w: 0, x: 0 }));
  });

  test('an optimizer takes the option wasm, and keeps no gradients if asked to', () => {
    const wasm = readFileSync(new URL('../dist/core.wasm', import.meta.url));
    const optimizer = sync.nadam({ w: array(5, 1) }, { wasm, keepGrads: false });
    optimizer.step({ w: array(5, 2) });
    expect([optimizer.backend.name, Object.keys(optimizer.grads)]).toEqual(['wasm', []]);
  });

  test.each([
    ['is missing', undefined],
    [
      'compiles nothing',
      {
        Module: function forbidden() {
          throw new EvalError('forbidden by a policy');
        },
      },
    ],
  ])('the reference runs if WebAssembly %s', async (why, value) => {
    const fresh = await freshSync();
    vi.stubGlobal('WebAssembly', value);
    const optimizers = [fresh.adamw(params()), fresh.adamw(params(), { backend: ['wasm', 'reference'] })];
    const expected = await train(await twinstep.adamw(params(), { backend: 'reference' }));
    for (const optimizer of optimizers) {
      expect(optimizer.backend.name).toBe('reference');
      const reason = why === 'is missing' ? 'ReferenceError|TypeError' : 'EvalError: forbidden by a policy';
      expect(optimizer.backend.reason).toMatch(
        RegExp(
          `^Plain JavaScript, .*\\. Not WebAssembly SIMD: WebAssembly cannot be compiled here \\((${reason}).*\\)\\.$`,
        ),
      );
      same(await train(optimizer as Optimizer), expected);
    }
    expect(() => fresh.adamw(params(), { backend: 'wasm' })).toThrow(
      'No backend can run this optimizer. WebAssembly SIMD: WebAssembly cannot be compiled here',
    );
  });

  test.each([
    ['webgpu', { backend: 'webgpu' }, 'Expected backend to be one of auto, wasm, reference, or a list of backends'],
    ['fastest', { backend: 'fastest' }, '(`twinstep` has others), got "fastest".'],
    [
      'a list with webgpu',
      { backend: ['webgpu', 'wasm'] },
      'Expected backend[0] to be one of wasm, reference (`twinstep`',
    ],
    ['a device', { device }, 'Expected device to be absent in twinstep/sync (`twinstep` accepts others), got'],
    [
      'threads',
      { threads: 2 },
      'Expected threads to be 1 or absent in twinstep/sync (`twinstep` accepts others), got 2.',
    ],
    ['other bytes as wasm', { wasm: new Uint8Array(8) }, 'Expected wasm to be a WebAssembly.Module'],
    ['an unknown option', { rate: 1 }, 'Unknown option "rate", got 1; adamw has "weightDecay"'],
    ['a bad option', { lr: -1 }, 'Expected lr to be'],
  ])('refuses %s', (_, options, message) => {
    expect(() => sync.adamw({ w: array(5, 1) }, any(options))).toThrow(message);
  });

  test('refuses GPU buffers, and more arguments', () => {
    expect(() => sync.adamw(any({ w: buffer(array(4, 1)) }))).toThrow(
      'Expected parameter "w" to be a Float32Array (`twinstep` and `twinstep/webgpu` take GPU buffers), got a GPUBuffer.',
    );
    const create = sync.adamw as (...args: unknown[]) => unknown;
    expect(() => create(params(), {}, {})).toThrow('Expected the number of arguments of adamw to be at most 2, got 3.');
  });

  test('takes one thread, and options that are undefined', () => {
    const optimizer = sync.adamw(params(), any({ threads: 1, device: undefined, backend: undefined }));
    expect(optimizer.backend.name).toBe('wasm');
  });

  test('ema and lookahead are synchronous, and give the bits of twinstep', async () => {
    const here = sync.adamw(params());
    const there = await twinstep.adamw(params());
    const averages = [sync.ema(here, { decay: 0.5 }), await twinstep.ema(there, { decay: 0.5 })];
    const aheads = [sync.lookahead(here, { k: 2 }), await twinstep.lookahead(there, { k: 2 })];
    for (let t = 0; t < 5; t++) {
      for (const ahead of aheads) ahead.step(grads(t));
      for (const [i, average] of averages.entries()) average.step([here, there][i].params);
    }
    same(await readAll(averages[0], params()), await readAll(averages[1], params()));
    same(await readAll(aheads[0].optimizer, params()), await readAll(aheads[1].optimizer, params()));
    expect(await aheads[0].stateDict()).toEqual(await aheads[1].stateDict());
    await aheads[0].loadStateDict(await aheads[1].stateDict());
  });

  test('averages are made of optimizers of other entries on the CPU, and refused of those on the GPU', async () => {
    const optimizer = await twinstep.adamw(params(), { backend: 'reference' });
    const averages = [sync.ema(optimizer), await twinstep.ema(sync.adamw(params()))];
    expect(averages.map(({ backend }) => backend.name)).toEqual(['reference', 'wasm']);
    for (const average of averages) same(await readAll(average, params()), params());
    const far = await twinstep.adamw(params(), { backend: 'webgpu', device });
    const message = 'Expected the optimizer to be on the CPU (`twinstep` has averages on both), got';
    expect(() => sync.ema(any(far))).toThrow(message);
    expect(() => sync.lookahead(any(far))).toThrow(message);
    expect(() => sync.ema(any({}))).toThrow('Expected the first argument of ema to be an optimizer, got');
    expect(() => sync.ema(optimizer, any({ backend: 'wasm' }))).toThrow('Unknown option "backend", got "wasm"');
    expect(() => sync.lookahead(sync.sgdScheduleFree(params()))).toThrow('one without an average of its own');
  });
});

describe('twinstep/webgpu', () => {
  test('steps the caller’s buffers in place', async () => {
    const w = buffer(array(8, 1));
    const optimizer = await onGpu.adamw({ w }, { device });
    expect(optimizer.params.w.buffer).toBe(w);
    optimizer.step({ w: buffer(array(8, 2)) });
    const other = await twinstep.adamw({ w: array(8, 1) }, { backend: 'webgpu', device });
    other.step({ w: array(8, 2) });
    expect(await optimizer.read('w')).toEqual(await other.read('w'));
    expect(optimizer.backend).toEqual({ name: 'webgpu', reason: 'WebGPU, the only backend of twinstep/webgpu.' });
  });

  test('requests a device of navigator.gpu, or says that there is none', async () => {
    vi.stubGlobal('navigator', { gpu: { requestAdapter: async () => null } });
    await expect(onGpu.adamw(params())).rejects.toThrow(
      'twinstep/webgpu cannot run: navigator.gpu has no adapter. `twinstep` also runs on the CPU.',
    );
    const requestDevice = vi.fn(async () => device);
    vi.stubGlobal('navigator', { gpu: { requestAdapter: async () => ({ requestDevice, limits: device.limits }) } });
    // The shared device must live on: the optimizer would destroy a device that it requested.
    const kept = await onGpu.adamw(params(), { device });
    const optimizer = await onGpu.adamw(params());
    expect(requestDevice).toHaveBeenCalledOnce();
    expect(optimizer.device).toBe(device);
    kept.step(grads(0));
  });

  test.each([
    [
      'wasm',
      { backend: 'wasm' },
      'Expected backend to be "webgpu" or absent in twinstep/webgpu (`twinstep` accepts others), got "wasm".',
    ],
    ['fastest', { backend: 'fastest' }, 'got "fastest".'],
    [
      'a list with wasm',
      { backend: ['wasm'] },
      'Expected backend to be "webgpu" or absent in twinstep/webgpu (`twinstep` accepts others), got ["wasm"].',
    ],
    ['threads', { threads: 2 }, 'Expected threads to be absent in twinstep/webgpu (`twinstep` accepts others), got 2.'],
    ['the option wasm', { wasm: new Uint8Array(8) }, 'Expected wasm to be absent in twinstep/webgpu'],
    ['another device', { device: {} }, 'Expected device to be a GPUDevice'],
    ['a bad option', { lr: -1 }, 'Expected lr to be'],
  ])('refuses %s', async (_, options, message) => {
    await expect(onGpu.adamw({ w: array(4, 1) }, any({ device, ...options }))).rejects.toThrow(message);
  });

  test('refuses buffers without a device, and what is no memory', async () => {
    await expect(onGpu.adamw({ w: buffer(array(4, 1)) })).rejects.toThrow(
      "Expected the GPUDevice of the parameters' buffers",
    );
    await expect(onGpu.adamw(any({ w: [1, 2] }), { device })).rejects.toThrow(
      'Expected parameter "w" to be a Float32Array',
    );
  });

  test('averages give the bits of twinstep, and are refused on the CPU', async () => {
    const w = buffer(array(8, 1), STORAGE | COPY_SRC);
    const optimizer = await onGpu.adamw({ w }, { device });
    const other = await twinstep.adamw({ w: array(8, 1) }, { backend: 'webgpu', device });
    const averages = [await onGpu.ema(optimizer, { decay: 0.5 }), await twinstep.ema(other, { decay: 0.5 })];
    const aheads = [await onGpu.lookahead(optimizer, { k: 2 }), await twinstep.lookahead(other, { k: 2 })];
    for (let t = 0; t < 5; t++) {
      for (const ahead of aheads) ahead.step({ w: array(8, 10 + t) });
      for (const [i, average] of averages.entries()) average.step([optimizer, other][i].params);
    }
    same(await readAll(averages[0], { w }), await readAll(averages[1], { w }));
    expect(await aheads[0].stateDict()).toEqual(await aheads[1].stateDict());
    const near = any(sync.adamw(params()));
    const message = 'Expected the optimizer to be on the GPU (`twinstep` has averages on both), got';
    await expect(onGpu.ema(near)).rejects.toThrow(message);
    await expect(onGpu.lookahead(near)).rejects.toThrow(message);
  });
});
