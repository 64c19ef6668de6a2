// Groups while they run: added to, frozen, masked; and steps in parts. What is refused changes nothing.

import { adamw, adamwScheduleFree, noDecayOnBiasAndNorm } from 'twinstep';
import { describe, expect, test, vi } from 'vitest';
import { backends, webgpu } from './support/backends.js';
import { any, buffer, contents, STORAGE } from './support/gpu.js';
import { array, tensors } from './support/numbers.js';
import { readAll, same } from './support/tensors.js';

const lengths = [3, 64];
const x = (): Float32Array => array(5, 9);

/** How many entries are put into maps, sets and frozen objects by `work`. */
async function entriesOf(work: () => Promise<void>): Promise<number> {
  const { freeze } = Object;
  let entries = 0;
  const spies = [
    vi.spyOn(Map.prototype, 'set'),
    vi.spyOn(Set.prototype, 'add'),
    vi.spyOn(Object, 'freeze').mockImplementation((object) => {
      entries += Object.keys(object as object).length;
      return freeze(object);
    }),
  ];
  await work();
  for (const { mock } of spies.slice(0, 2)) entries += mock.calls.length;
  for (const spy of spies) spy.mockRestore();
  return entries;
}

describe.each(backends)('%s', (...[, backend]) => {
  const make = () => adamw([{ params: tensors(lengths, 1), decayMask: { w3: true, w64: false } }], backend);

  test.each([
    ['a name that is taken', { params: { w3: x() } }, 'There is a parameter "w3" already, another one of group 1.'],
    ['no parameter', { params: {} }, 'Expected at least one parameter, got an Object.'],
    ['no record', [x()], 'Expected group 1 to be a record with params, got [Float32Array(5)].'],
    [
      'a bad option',
      { params: { x: x() }, lr: -1 },
      'Expected lr of group 1 to be a finite number of at least 0, got -1.',
    ],
    ['an unknown one', { params: { x: x() }, momentum: 1 }, 'Unknown option "momentum" of group 1, got 1;'],
    [
      'a mask that misses it',
      { params: { x: x() }, decayMask: {} },
      'decayMask of group 1 does not say whether "x" decays.',
    ],
    ['a list of numbers', { params: { x: [1] } }, 'Expected parameter "x" to be a Float32Array, a GPUBuffer or a'],
  ])('a group with %s is refused', async (_, group, sentence) => {
    const optimizer = await make();
    const before = await optimizer.stateDict();
    await expect(optimizer.addParamGroup(any(group))).rejects.toThrow(sentence);
    expect(await optimizer.stateDict()).toEqual(before);
    expect(Object.keys(optimizer.params)).toEqual(['w3', 'w64']);
    await optimizer.addParamGroup({ params: { x: x() } });
    optimizer.step({ x: x() });
    expect(optimizer.stepOf('x')).toBe(1);
  });

  test('tensors are refused for a group that does not exist, or whose mask cannot know them', async () => {
    const optimizer = await make();
    const lacks = 'decayMask of group 0 does not say whether "x" decays.';
    await expect(optimizer.addParams(0, { x: x() })).rejects.toThrow(lacks);
    await expect(optimizer.addParams(1, { x: x() })).rejects.toThrow(
      'Expected the group to be an index below 1, got 1.',
    );
    await expect(optimizer.addParams(0, {})).rejects.toThrow('Expected at least one parameter, got an Object.');
    expect(Object.keys(optimizer.params)).toEqual(['w3', 'w64']);
  });

  test('one addition at a time, and none to what is disposed of', async () => {
    const optimizer = await make();
    const first = optimizer.addParamGroup({ params: { x: x() } });
    await expect(optimizer.addParamGroup({ params: { y: x() } })).rejects.toThrow('await that first');
    await first;
    const late = optimizer.addParamGroup({ params: { y: x() } });
    optimizer.dispose();
    await expect(late).rejects.toThrow('disposed of');
  });

  test('to add a tensor is as much work, however many there are', async () => {
    const optimizer = await adamw(tensors(lengths, 1), backend);
    const added = async (i: number): Promise<void> => {
      await optimizer.addParams(0, { [`x${i}`]: x() });
      await optimizer.addParamGroup({ params: { [`y${i}`]: x() } });
    };
    for (let i = 0; i < 10; i++) await added(i);
    const few = await entriesOf(() => added(10));
    for (let i = 11; i < 300; i++) await added(i);
    expect(await entriesOf(() => added(300))).toBe(few);
  });

  test('tensors that were added one by one are stepped as those of one record, and listed in the order they came', async () => {
    const names = Array.from({ length: 300 }, (_, i) => `x${i}`);
    const made = (seed: number) => Object.fromEntries(names.map((name, i) => [name, array(1 + (i % 70), seed + i)]));
    const params = made(1);
    const [apart, whole] = [await adamw({ x0: params.x0 }, backend), await adamw(params, backend)];
    for (const name of names.slice(1)) await apart.addParams(0, { [name]: params[name] });
    for (const seed of [500, 1000]) for (const optimizer of [apart, whole]) optimizer.step(made(seed));
    same(await readAll(apart, params), await readAll(whole, params));
    for (const shown of [apart.params, apart.grads]) {
      expect(Object.keys(shown)).toEqual(names);
      expect(Object.isFrozen(shown)).toBe(true);
    }
    expect(apart.params).toBe(apart.params);
  });

  test('a group that is added has the options that the optimizer was made with', async () => {
    const schedule = (): number => 0.5;
    const optimizer = await adamw([{ params: tensors(lengths, 1), lr: 0.25 }], { ...backend, lr: 0.125, schedule });
    await optimizer.addParamGroup({ params: { x: x() }, weightDecay: 0 });
    const [, { lr, weightDecay, betas }] = optimizer.groups;
    expect([lr, weightDecay, betas]).toEqual([0.125, 0, [0.9, 0.999]]);
    optimizer.step({ x: x() });
    expect(optimizer.groups[1].scheduledLr).toBe(0.0625);
  });

  test('a group that is added in eval mode is in eval mode', async () => {
    const optimizer = await adamwScheduleFree(tensors(lengths, 1), backend);
    optimizer.step(tensors(lengths, 2));
    optimizer.eval();
    await optimizer.addParamGroup({ params: { x: x() } });
    expect(optimizer.groups[1].trainMode).toBe(false);
    same(await readAll(optimizer, { x: 0 }), { x: x() });
    optimizer.train();
    optimizer.step({ x: x() });
  });

  test('freezing what does not exist is refused', async () => {
    const optimizer = await make();
    expect(() => optimizer.freeze('x')).toThrow('There is no parameter "x"; there are "w3", "w64".');
    expect(() => optimizer.unfreeze(1)).toThrow('Expected the group to be an index below 1, got 1.');
    expect(() => optimizer.freeze(any(null))).toThrow(
      'Expected what is frozen to be the name of a tensor or the index of a group, got null.',
    );
    const dict = await optimizer.stateDict();
    dict.param_groups[0].frozen = ['x'];
    await expect(optimizer.loadStateDict(dict)).rejects.toThrow('no parameter "x" to be frozen in param_groups[0]');
  });

  test('a gradient for a frozen tensor is checked all the same', async () => {
    const optimizer = await make();
    optimizer.freeze('w3');
    expect(() => optimizer.step({ w3: x() })).toThrow('Expected 3 gradient values for "w3", got 5.');
  });

  test('a state dict of another decay mask is refused, by the names on which they differ', async () => {
    const [optimizer, other] = [await make(), await adamw([{ params: tensors(lengths, 1) }], backend)];
    const dict = await optimizer.stateDict();
    expect(dict.param_groups[0].no_decay).toEqual(['w64']);
    await expect(other.loadStateDict(dict)).rejects.toThrow('says otherwise of "w64" than the state dict');
    const [{ no_decay: _, ...group }] = dict.param_groups;
    await other.loadStateDict({ ...dict, param_groups: [group as (typeof dict.param_groups)[0]] });
  });

  test('a key of a state dict in camelCase is refused', async () => {
    const optimizer = await make();
    const dict = await optimizer.stateDict();
    dict.param_groups[0].weightDecay = 0.5;
    await expect(optimizer.loadStateDict(dict)).rejects.toThrow(
      'State dicts have PyTorch\'s words, "weight_decay", got "weightDecay" in param_groups[0].',
    );
  });

  test('a step in parts takes each gradient once, and is finished before anything else', async () => {
    const optimizer = await adamwScheduleFree(tensors(lengths, 1), backend);
    const { w3, w64 } = tensors(lengths, 2);
    optimizer.step({ w3 }, { more: true });
    expect(() => optimizer.step({ w3 })).toThrow('The gradient of "w3" came a second time within one step.');
    expect(() => optimizer.eval()).toThrow('A step is unfinished');
    await expect(optimizer.stateDict()).rejects.toThrow('A step is unfinished');
    expect(optimizer.stepOf('w3')).toBe(0);
    optimizer.step({ w64 });
    expect(optimizer.stepOf('w3')).toBe(1);
    optimizer.step({ w3 }, { more: true });
    optimizer.step({});
    expect(optimizer.stepOf('w3')).toBe(2);
    expect(() => optimizer.step({ w3 }, { more: any(1) })).toThrow('Expected more to be true or false, got 1.');
  });
});

test.each(['wasm', 'reference'] as const)('%s: small tensors that are added share a memory', async (backend) => {
  const optimizer = await adamw(tensors(lengths, 1), { backend });
  for (let i = 0; i < 400; i++) await optimizer.addParams(0, { [`x${i}`]: x() });
  const buffers = new Set(Object.values(optimizer.params).map((each) => each.buffer));
  expect(buffers.size).toBe(2);
});

test('on the CPU no GPU buffers can be added', async () => {
  const optimizer = await adamw(tensors(lengths, 1));
  const added = optimizer.addParamGroup({ params: { x: any(buffer(x())) } });
  await expect(added).rejects.toThrow('one kind of memory, got "w3" on the CPU and "x" on the GPU');
});

test('buffers of the caller’s are added where they are, and must not overlap others', async () => {
  const { device } = webgpu!;
  const [first, second] = [buffer(array(64, 1)), buffer(array(64, 2))];
  const optimizer = await adamwScheduleFree({ first }, { device, lr: 0.1 });
  await expect(optimizer.addParamGroup({ params: { again: first } })).rejects.toThrow('"first", "again" overlap');
  const part = { buffer: first, offset: 0, size: 4 };
  await expect(optimizer.addParams(0, { fresh: buffer(x()), part })).rejects.toThrow('"first", "part" overlap');
  await expect(optimizer.addParams(0, { s: second, t: second })).rejects.toThrow('"s", "t" overlap');
  const unread = buffer(array(4, 1), STORAGE);
  const needs = 'z of "unread" begins at the parameter, which takes COPY_SRC usage';
  await expect(optimizer.addParams(0, { unread })).rejects.toThrow(needs);
  await optimizer.addParams(0, { second });
  optimizer.step({ first: array(64, 3), second: array(64, 4) });
  const apart = await adamwScheduleFree({ second: array(64, 2) }, { backend: 'webgpu', device, lr: 0.1 });
  apart.step({ second: array(64, 4) });
  same({ second: await contents(second) }, { second: await apart.read('second') });
});

test.each([
  ['model.layers.0.self_attn.q_proj.weight', true],
  ['fc.bias', false],
  ['h.0.LayerNorm.weight', false],
  ['model.layers.0.input_layernorm.weight', false],
  ['model.norm.weight', false],
  ['norm', false],
  ['layers.3.post_norm.weight', false],
  ['normalizer.weight', true],
  ['abnormal.weight', true],
])('no decay on biases and norms: %s decays is %s', (name, decays) => {
  expect(noDecayOnBiasAndNorm(name)).toBe(decays);
});
