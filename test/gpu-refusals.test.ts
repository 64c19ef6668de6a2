// What the GPU refuses late, once other calls have followed: what it counted is taken back, and only that.

import { adam, adamwScheduleFree, sgdScheduleFree } from 'twinstep';
import { expect, test, vi } from 'vitest';
import { buffer, COPY_DST, device, STORAGE } from './support/gpu.js';
import { array } from './support/numbers.js';
import { readAll, same } from './support/tensors.js';

const gradient = (seed: number): Float32Array => array(64, seed);
const make = () => sgdScheduleFree({ a: gradient(1), b: gradient(2) }, { backend: 'webgpu', device, lr: 0.1 });
const uploaded = (values: Float32Array): GPUBuffer => buffer(values, STORAGE | COPY_DST);

function dead(): GPUBuffer {
  const gone = uploaded(gradient(9));
  gone.destroy();
  return gone;
}

test('a batch that was refused takes the whole sum with it, and the next sum is its own', async () => {
  const [optimizer, plain] = await Promise.all([make(), make()]);
  optimizer.accumulate({ a: dead() });
  optimizer.accumulate({ a: gradient(3) });
  await expect(optimizer.read('a')).rejects.toThrow('The GPU device refused');
  optimizer.accumulate({ a: gradient(4), b: gradient(5) });
  optimizer.accumulate({ a: gradient(6), b: gradient(7) });
  optimizer.step();
  for (const [i, seed] of [4, 6].entries()) plain.accumulate({ a: gradient(seed), b: gradient(5 + 2 * i) });
  plain.step();
  same(await readAll(optimizer, { a: 0, b: 0 }), await readAll(plain, { a: 0, b: 0 }));
  expect(optimizer.stepOf('a')).toBe(1);
});

test('a batch that was refused changes no sum that was begun since', async () => {
  const [optimizer, plain] = await Promise.all([make(), make()]);
  optimizer.accumulate({ a: dead() });
  optimizer.zeroGrad();
  for (const each of [optimizer, plain]) each.accumulate({ a: gradient(3) });
  await expect(optimizer.read('a')).rejects.toThrow('The GPU device refused');
  for (const each of [optimizer, plain]) each.step();
  same(await readAll(optimizer, { a: 0, b: 0 }), await readAll(plain, { a: 0, b: 0 }));
  expect((await optimizer.stateDict()).state).not.toHaveProperty('1');
});

test('a step by accumulated gradients that was refused gives them back', async () => {
  const optimizer = await make();
  for (const seed of [3, 4]) optimizer.accumulate({ a: gradient(seed) });
  const { grad } = (await optimizer.norms()).a;
  vi.spyOn(device, 'popErrorScope').mockResolvedValueOnce({ message: 'no' });
  optimizer.step();
  await expect(optimizer.read('a')).rejects.toThrow('nothing of it was done: no');
  expect((await optimizer.norms()).a.grad).toBe(grad);
  expect(() => optimizer.step({ a: gradient(5) })).toThrow('There are accumulated gradients (batches: 2)');
  expect([optimizer.stepOf('a'), optimizer.completedSteps]).toEqual([0, 0]);
});

test('of a step in parts the last one can be handed over again', async () => {
  const [optimizer, plain] = await Promise.all([make(), make()]);
  optimizer.step({ a: gradient(3) }, { more: true });
  optimizer.step({ b: dead() });
  await expect(optimizer.read('b')).rejects.toThrow('The GPU device refused');
  await expect(optimizer.stateDict()).rejects.toThrow('A step is unfinished');
  expect(() => optimizer.step({ a: gradient(3) })).toThrow('came a second time within one step');
  optimizer.step({ b: gradient(4) });
  plain.step({ a: gradient(3), b: gradient(4) });
  same(await readAll(optimizer, { a: 0, b: 0 }), await readAll(plain, { a: 0, b: 0 }));
  expect(await optimizer.stateDict()).toEqual(await plain.stateDict());
});

test('a first part that was refused leaves nothing open', async () => {
  const optimizer = await make();
  optimizer.step({ a: dead() }, { more: true });
  await expect(optimizer.read('a')).rejects.toThrow('The GPU device refused');
  expect((await optimizer.stateDict()).state).toEqual({});
  optimizer.step({ a: gradient(3) });
  expect(optimizer.stepOf('a')).toBe(1);
});

test('what was refused is not counted, however many there were, and schedules go on from what was done', async () => {
  const optimizer = await adam({ a: gradient(1) }, { backend: 'webgpu', device, schedule: (t) => 2 ** -t });
  for (let t = 0; t < 2; t++) optimizer.step({ a: dead() });
  await expect(optimizer.read('a')).rejects.toThrow('The GPU device refused');
  expect([optimizer.completedSteps, optimizer.stepOf('a')]).toEqual([0, 0]);
  optimizer.step({ a: gradient(3) });
  expect(optimizer.groups[0].scheduledLr).toBe(1e-3);
  optimizer.step({ a: dead() });
  optimizer.step({ a: gradient(3) });
  await expect(optimizer.read('a')).rejects.toThrow('The GPU device refused');
  expect([optimizer.completedSteps, optimizer.stepOf('a')]).toEqual([2, 2]);
});

test('what was refused stays so, when another refusal comes later', async () => {
  const optimizer = await adam({ a: gradient(1) }, { backend: 'webgpu', device });
  optimizer.step({ a: dead() });
  const { popErrorScope } = Object.getPrototypeOf(device) as GPUDevice;
  const late = vi.spyOn(device, 'popErrorScope').mockImplementation(async () => {
    const error = await popErrorScope.call(device);
    await new Promise((resolve) => setTimeout(resolve, 100));
    return error;
  });
  optimizer.step({ a: dead() });
  late.mockRestore();
  await expect(optimizer.read('a')).rejects.toThrow('The GPU device refused');
  expect([optimizer.completedSteps, optimizer.stepOf('a')]).toEqual([0, 0]);
});

test.each([
  [
    'a part that began nothing',
    [
      ['a', false],
      ['a', true],
    ],
  ],
  [
    'parts of a step of which none was done',
    [
      ['a', true],
      ['b', true],
    ],
  ],
  [
    'a last part, after a refusal',
    [
      ['a', false],
      ['b', true],
    ],
  ],
] as const)('refused: %s', async (_, refused) => {
  const optimizer = await make();
  for (const [name, more] of refused) optimizer.step({ [name]: dead() }, { more });
  await expect(optimizer.read('a')).rejects.toThrow('The GPU device refused');
  await optimizer.stateDict();
  optimizer.step({ a: gradient(3), b: gradient(4) });
  expect([optimizer.stepOf('a'), optimizer.completedSteps]).toEqual([1, 1]);
});

test('a last part that was refused leaves the step open, whatever was asked for meanwhile', async () => {
  const optimizer = await make();
  optimizer.step({ a: gradient(3) }, { more: true });
  optimizer.step({ b: dead() });
  optimizer.freeze('a');
  optimizer.unfreeze('a');
  await expect(optimizer.read('b')).rejects.toThrow('The GPU device refused');
  await expect(optimizer.stateDict()).rejects.toThrow('A step is unfinished');
  optimizer.step({ b: gradient(4) });
  optimizer.step({ a: gradient(5), b: gradient(6) });
  expect([optimizer.stepOf('a'), optimizer.completedSteps]).toEqual([2, 2]);
});

test('a step that is open again in eval mode can be ended', async () => {
  const optimizer = await make();
  optimizer.step({ a: gradient(3) }, { more: true });
  optimizer.step({ b: dead() });
  optimizer.eval();
  await expect(optimizer.read('b')).rejects.toThrow('The GPU device refused');
  await expect(optimizer.stateDict()).rejects.toThrow('A step is unfinished');
  optimizer.train();
  optimizer.step({ b: gradient(4) });
  expect([optimizer.stepOf('a'), optimizer.groups[0].trainMode]).toEqual([1, true]);
  await optimizer.stateDict();
});

test('of two steps the one that was done keeps its lr and its weights', async () => {
  const [optimizer, plain] = await Promise.all(
    [0, 1].map(() => adamwScheduleFree({ a: gradient(1) }, { backend: 'webgpu', device, lr: 0.1 })),
  );
  optimizer.step({ a: dead() });
  optimizer.step({ a: gradient(3) });
  plain.step({ a: gradient(3) });
  await expect(optimizer.read('a')).rejects.toThrow('The GPU device refused');
  const [own, other] = [optimizer.groups[0], plain.groups[0]];
  expect([own.k, own.lrMax, own.scheduledLr]).toEqual([other.k, other.lrMax, other.scheduledLr]);
  expect(own.weightSum).toBeCloseTo(other.weightSum!, 15);
});

test('whoever reads hears of it, and not the first one only', async () => {
  const optimizer = await adam({ a: gradient(1) }, { backend: 'webgpu', device });
  optimizer.step({ a: dead() });
  const read = await Promise.allSettled([optimizer.read('a'), optimizer.stateDict(), optimizer.norms()]);
  expect(read.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected']);
  expect(optimizer.stepOf('a')).toBe(0);
});

test('accumulated gradients are not encoded, since the next batch may come first', async () => {
  const optimizer = await make();
  optimizer.accumulate({ a: gradient(3) });
  const encoder = device.createCommandEncoder();
  expect(() => optimizer.encode(encoder)).toThrow('Accumulated gradients are taken by step()');
  optimizer.step();
});
