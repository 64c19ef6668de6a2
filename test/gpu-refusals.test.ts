// Tests errors that the GPU reports late, after other calls.

import { adam, lookahead, sgdScheduleFree } from 'twinstep';
import { loadCheckpoint, saveCheckpoint } from 'twinstep/checkpoint';
import { describe, expect, test } from 'vitest';
import { buffer, COPY_DST, COPY_SRC, device, STORAGE } from './support/gpu.js';
import { array } from './support/numbers.js';
import { readAll, same } from './support/tensors.js';

const gradient = (seed: number): Float32Array => array(64, seed);
const make = () => sgdScheduleFree({ a: gradient(1), b: gradient(2) }, { backend: 'webgpu', device, lr: 0.1 });
const uploaded = (values: Float32Array): GPUBuffer => buffer(values, STORAGE | COPY_DST);

function destroyed(): GPUBuffer {
  const result = uploaded(gradient(9));
  result.destroy();
  return result;
}

type ScheduleFree = Awaited<ReturnType<typeof make>>;
const refused = 'The GPU device refused';

describe('every call throws an error of the GPU until a state dict is loaded:', () => {
  test.each<[string, (optimizer: ScheduleFree) => void]>([
    ['a step', (optimizer) => optimizer.step({ a: destroyed() })],
    ['a part of a step', (optimizer) => optimizer.step({ a: destroyed() }, { more: true })],
    [
      'the last part of a step',
      (optimizer) => {
        optimizer.step({ a: gradient(3) }, { more: true });
        optimizer.step({ b: destroyed() });
      },
    ],
    ['a batch of gradients', (optimizer) => optimizer.accumulate({ a: destroyed() })],
    [
      'a step among others',
      (optimizer) => {
        optimizer.step({ a: gradient(3) });
        optimizer.step({ a: destroyed() });
        optimizer.step({ a: gradient(4) });
      },
    ],
  ])('%s', async (_, spoil) => {
    const [optimizer, plain] = await Promise.all([make(), make()]);
    for (const each of [optimizer, plain]) each.step({ a: gradient(5), b: gradient(6) });
    const [dict, params] = [await optimizer.stateDict(), await readAll(optimizer, { a: 0, b: 0 })];
    spoil(optimizer);
    await expect(optimizer.read('a')).rejects.toThrow(refused);
    for (let i = 0; i < 2; i++) {
      expect(() => optimizer.step({ a: gradient(3) })).toThrow(/refused [^]* Load a state dict to go on\.$/);
      expect(() => optimizer.accumulate({ a: gradient(3) })).toThrow(refused);
      expect(() => optimizer.zeroGrad()).toThrow(refused);
      expect(() => optimizer.eval()).toThrow(refused);
      expect(() => optimizer.stepOf('a')).toThrow(refused);
      expect(() => optimizer.completedSteps).toThrow(refused);
      await expect(optimizer.stateDict()).rejects.toThrow(refused);
      await expect(optimizer.norms()).rejects.toThrow(refused);
      await expect(optimizer.addParams(0, { c: gradient(1) })).rejects.toThrow(refused);
    }
    await optimizer.loadStateDict(dict, { params });
    for (const each of [optimizer, plain]) each.step({ a: gradient(7), b: gradient(8) });
    same(await readAll(optimizer, { a: 0, b: 0 }), await readAll(plain, { a: 0, b: 0 }));
    expect(await optimizer.stateDict()).toEqual(await plain.stateDict());
  });

  test('a change of mode', async () => {
    const a = buffer(gradient(1), STORAGE | COPY_SRC | COPY_DST);
    const optimizer = await sgdScheduleFree({ a }, { device });
    optimizer.step({ a: gradient(2) });
    await optimizer.stateDict();
    a.destroy();
    optimizer.eval();
    await expect(optimizer.stateDict()).rejects.toThrow(refused);
    expect(() => optimizer.train()).toThrow(refused);
  });

  test('concurrent reads all reject', async () => {
    const optimizer = await adam({ a: gradient(1) }, { backend: 'webgpu', device });
    optimizer.step({ a: destroyed() });
    const read = await Promise.allSettled([optimizer.read('a'), optimizer.stateDict(), optimizer.norms()]);
    expect(read.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected']);
  });

  test('the first of two errors is thrown', async () => {
    const optimizer = await adam({ a: gradient(1), b: gradient(2) }, { backend: 'webgpu', device });
    optimizer.step({ b: destroyed() });
    optimizer.step({ a: destroyed() });
    await expect(optimizer.read('a')).rejects.toThrow('(gradients in new buffers: "b")');
    expect(() => optimizer.step({ a: gradient(3) })).toThrow('(gradients in new buffers: "b")');
  });

  test('dispose() still works', async () => {
    const optimizer = await make();
    optimizer.step({ a: destroyed() });
    await expect(optimizer.read('a')).rejects.toThrow(refused);
    optimizer.dispose();
    expect(() => optimizer.step({ a: gradient(3) })).toThrow('disposed of');
  });
});

test('encode() refuses accumulated gradients, since the next batch could run before its commands', async () => {
  const optimizer = await make();
  optimizer.accumulate({ a: gradient(3) });
  const encoder = device.createCommandEncoder();
  expect(() => optimizer.encode(encoder)).toThrow('Accumulated gradients need step()');
  optimizer.step();
});

describe('a checkpoint is loaded after an error of the GPU:', () => {
  const streamed = (bytes: Uint8Array<ArrayBuffer>) => new Blob([bytes]).stream();
  const whole = (bytes: Uint8Array<ArrayBuffer>) => bytes;
  const spoilt: [string, (optimizer: ScheduleFree) => void][] = [
    ['a step', (optimizer) => optimizer.step({ a: destroyed() })],
    ['a part of a step', (optimizer) => optimizer.step({ a: destroyed() }, { more: true })],
    ['a batch of gradients', (optimizer) => optimizer.accumulate({ a: destroyed() })],
  ];

  test.each(
    spoilt.flatMap(([what, spoil]) => [
      [`bytes, after ${what}`, spoil, whole] as const,
      [`a stream, after ${what}`, spoil, streamed] as const,
    ]),
  )('%s', async (_, spoil, source) => {
    const optimizer = await make();
    optimizer.step({ a: gradient(5), b: gradient(6) });
    const bytes = await saveCheckpoint(optimizer, { metadata: 7 });
    const [dict, params] = [await optimizer.stateDict(), await readAll(optimizer, { a: 0, b: 0 })];
    spoil(optimizer);
    await expect(optimizer.read('a')).rejects.toThrow(refused);
    const other = await saveCheckpoint(await sgdScheduleFree({ a: array(3, 1), b: gradient(2) }));
    await expect(loadCheckpoint(optimizer, source(other))).rejects.toThrow('got 3');
    expect(() => optimizer.lazyStateDict()).toThrow(refused);
    expect(await loadCheckpoint(optimizer, source(bytes))).toBe(7);
    expect(await optimizer.stateDict()).toEqual(dict);
    same(await readAll(optimizer, { a: 0, b: 0 }), params);
  });

  test('into a Lookahead, from a stream', async () => {
    const ahead = await lookahead(await adam({ a: gradient(1) }, { backend: 'webgpu', device }), { k: 2 });
    ahead.step({ a: gradient(2) });
    const [bytes, dict] = [await saveCheckpoint(ahead), await ahead.stateDict()];
    ahead.step({ a: destroyed() });
    await expect(ahead.optimizer.read('a')).rejects.toThrow(refused);
    await loadCheckpoint(ahead, streamed(bytes));
    expect(await ahead.stateDict()).toEqual(dict);
  });
});

test('Lookahead loads a state dict after an error of the GPU', async () => {
  const optimizer = await adam({ a: gradient(1) }, { backend: 'webgpu', device });
  const ahead = await lookahead(optimizer, { k: 2 });
  ahead.step({ a: gradient(2) });
  const dict = await ahead.stateDict();
  const params = { a: await optimizer.read('a') };
  ahead.step({ a: destroyed() });
  await expect(optimizer.read('a')).rejects.toThrow(refused);
  expect(() => ahead.step({ a: gradient(3) })).toThrow(refused);
  await ahead.loadStateDict(dict, { params });
  expect(await optimizer.read('a')).toEqual(params.a);
  expect(await ahead.stateDict()).toEqual(dict);
  ahead.step({ a: gradient(3) });
  expect(optimizer.stepOf('a')).toBe(2);
});

test('loadStateDict() rejects if the optimizer is disposed of before the device has answered', async () => {
  let onLoad: (() => void) | undefined;
  const schedule = Object.assign(() => 1, {
    stateDict: () => ({ a: 1 }),
    loadStateDict: () => queueMicrotask(() => onLoad?.()),
  });
  const optimizer = await adam({ a: gradient(1) }, { backend: 'webgpu', device, schedule });
  const dict = await optimizer.stateDict();
  onLoad = () => optimizer.dispose();
  await expect(optimizer.loadStateDict(dict)).rejects.toThrow('disposed of');
});
