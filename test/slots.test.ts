// Tests `optimizer.slots`, which shows the slots of a tensor where they lie.

import { adam, adamw, adamwScheduleFree, ema, lookahead } from 'twinstep';
import { describe, expect, test } from 'vitest';
import { openDevice } from '../tools/dawn.js';
import { algorithms } from './support/algorithms.js';
import { backends } from './support/backends.js';
import { any, buffer, device } from './support/gpu.js';
import { array, difference } from './support/numbers.js';
import { readAll, same, type Tensors } from './support/tensors.js';

const lengths: Record<string, number> = { one: 1, even: 64, odd: 67, none: 0 };
const names = Object.keys(lengths);
const make = (seed: number): Tensors =>
  Object.fromEntries(names.map((name, i) => [name, array(lengths[name], seed + i)]));

type Slots = Readonly<Record<string, Float32Array | GPUBufferBinding>>;

/** Copies the values of a view or a binding. */
async function values(slot: Float32Array | GPUBufferBinding): Promise<Float32Array> {
  if (slot instanceof Float32Array) return slot.slice();
  const { buffer: from, offset, size } = slot as Required<GPUBufferBinding>;
  const staging = device.createBuffer({ size, usage: 0x8 | 0x1 });
  const encoder = device.createCommandEncoder();
  encoder.copyBufferToBuffer(from as GPUBuffer, offset, staging, 0, size);
  device.queue.submit([encoder.finish()]);
  await staging.mapAsync(0x1);
  const copy = new Float32Array(staging.getMappedRange().slice(0));
  staging.destroy();
  return copy;
}

const valuesOf = async (slots: Slots): Promise<Tensors> =>
  Object.fromEntries(
    await Promise.all(Object.entries(slots).map(async ([name, slot]) => [name, await values(slot)] as const)),
  );

/** Returns the arrays of a tensor's state, without its counters. */
const arraysIn = (state: object): Tensors =>
  Object.fromEntries(Object.entries(state).filter(([, value]) => value instanceof Float32Array));

/** Overwrites a view or the buffer of a binding. */
function write(slot: Float32Array | GPUBufferBinding, from: Float32Array): void {
  if (slot instanceof Float32Array) slot.set(from);
  else device.queue.writeBuffer(slot.buffer, slot.offset!, from as Float32Array<ArrayBuffer>);
}

describe.each(backends)('%s', (...[, backend]) => {
  test.each(algorithms)('%s: slots are those of the state dict, in both modes', async (_, create, options) => {
    const optimizer = await create(make(1), { ...options, ...backend });
    for (let t = 0; t < 3; t++) optimizer.step(make(10 * t));
    for (const mode of ['train', 'eval'] as const) {
      optimizer[mode]();
      const { state } = await optimizer.stateDict();
      for (const [i, name] of names.entries()) {
        same(await valuesOf(optimizer.slots(name)), arraysIn(state[i]));
      }
    }
  });

  test('are frozen records of views or bindings of exactly the tensor, in memory of their own', async () => {
    const optimizer = await adam(make(1), { ...backend, amsgrad: true });
    const seen: (readonly [object, number])[] = [];
    for (const name of names) {
      const slots: Slots = optimizer.slots(name);
      expect(Object.keys(slots)).toEqual(['exp_avg', 'exp_avg_sq', 'max_exp_avg_sq']);
      expect(() => Object.assign(slots, { exp_avg: 0 })).toThrow(TypeError);
      for (const slot of [...Object.values(slots), optimizer.params[name], optimizer.grads[name]]) {
        const isArray = slot instanceof Float32Array;
        const [offset, size] = isArray ? [slot.byteOffset, slot.byteLength] : [slot.offset!, slot.size!];
        expect(size).toBe(4 * lengths[name]);
        expect(offset % 256).toBe(0);
        if (!isArray) expect(Object.isFrozen(slot)).toBe(true);
        const isShared = seen.some(([memory, at]) => memory === slot.buffer && at === offset);
        if (size > 0) {
          expect(isShared).toBe(false);
          seen.push([slot.buffer, offset]);
        }
      }
    }
  });

  test('stay where they are while tensors are added and removed, and states loaded', async () => {
    const optimizer = await adamw(make(1), backend);
    const slots = optimizer.slots('odd');
    optimizer.step(make(2));
    const dict = await optimizer.stateDict();
    await optimizer.addParams(0, { added: array(70_000, 3) });
    await optimizer.addParamGroup({ params: { other: array(5, 3) } });
    await optimizer.removeParams(['even', 'one', 'added']);
    optimizer.step({ odd: array(67, 8), other: array(5, 4) });
    const state = (await optimizer.stateDict()).state[0] as Record<string, Float32Array>;
    expect(difference(await values(slots.exp_avg), state.exp_avg)).toBeUndefined();
    expect(difference(await values(slots.exp_avg_sq), state.exp_avg_sq)).toBeUndefined();
    await optimizer.loadStateDict(dict, { strict: false });
    same(await valuesOf(slots), arraysIn(dict.state[2]));
    expect(await values(optimizer.slots('other').exp_avg)).not.toEqual(new Float32Array(5));
  });

  test('values that are written are those that the next step reads, and neighbours keep theirs', async () => {
    const [written, loaded] = [await adamw(make(1), backend), await adamw(make(1), backend)];
    for (const optimizer of [written, loaded]) optimizer.step(make(2));
    const dict = await loaded.stateDict();
    for (const name of ['even', 'odd']) {
      const [moments, squares] = [array(lengths[name], 5), array(lengths[name], 6).map((x) => x * x)];
      const slots = written.slots(name);
      write(slots.exp_avg, moments);
      write(slots.exp_avg_sq, squares);
      Object.assign(dict.state[names.indexOf(name)], { exp_avg: moments, exp_avg_sq: squares });
    }
    await loaded.loadStateDict(dict);
    expect(await written.stateDict()).toEqual(await loaded.stateDict());
    for (const optimizer of [written, loaded]) optimizer.step(make(3));
    same(await readAll(written, lengths), await readAll(loaded, lengths));
    expect(await written.stateDict()).toEqual(await loaded.stateDict());
  });

  test('before the first step are zeros, and z the parameter', async () => {
    const optimizer = await adamwScheduleFree(make(1), backend);
    const slots = await valuesOf(optimizer.slots('odd'));
    expect(difference(slots.z, make(1).odd)).toBeUndefined();
    expect(difference(slots.exp_avg_sq, new Float32Array(67))).toBeUndefined();
    // The first step does not read z.
    const plain = await adamwScheduleFree(make(1), backend);
    write(optimizer.slots('odd').z, array(67, 9));
    for (const each of [optimizer, plain]) each.step(make(2));
    same(await readAll(optimizer, lengths), await readAll(plain, lengths));
  });

  test('of averages are none; of Lookahead they are those of its optimizer', async () => {
    const optimizer = await adamw(make(1), backend);
    const average = await ema(optimizer);
    expect(average.slots('odd')).toEqual({});
    const ahead = await lookahead(optimizer);
    expect(ahead.slow.slots('odd')).toEqual({});
    ahead.step(make(2));
    const { state } = await ahead.optimizer.stateDict();
    same(await valuesOf(ahead.optimizer.slots('odd')), arraysIn(state[2]));
  });

  test('unknown and removed names and a disposed optimizer throw', async () => {
    const optimizer = await adamw(make(1), backend);
    expect(() => optimizer.slots('od')).toThrow(
      'There is no parameter "od"; there are "one", "even", "odd", "none". Did you mean odd?',
    );
    expect(() => optimizer.slots(any(1))).toThrow('Expected the parameter to be a name, got 1.');
    await optimizer.removeParams(['even']);
    expect(() => optimizer.slots('even')).toThrow('There is no parameter "even"; there are "one", "odd", "none".');
    optimizer.dispose();
    expect(() => optimizer.slots('odd')).toThrow('This optimizer has been disposed of.');
  });

  test('as gradients of their own tensor are refused where the step may change them', async () => {
    const optimizer = await adamw(make(1), { ...backend, keepGrads: false });
    expect(() => optimizer.step({ odd: optimizer.slots('odd').exp_avg as Float32Array })).toThrow(
      'The gradient of "odd" lies in the memory of another tensor or slot.',
    );
    optimizer.step(make(2));
  });
});

test('with threads are views of the shared memory', async () => {
  const [optimizer, alone] = await Promise.all([4, 1].map((threads) => adamw({ w: array(40_001, 1) }, { threads })));
  expect(optimizer.backend.reason).toContain('on 4 threads');
  const [slots, expected] = [optimizer.slots('w'), alone.slots('w')];
  expect(slots.exp_avg.buffer).toBeInstanceOf(SharedArrayBuffer);
  for (const each of [optimizer, alone]) for (let t = 0; t < 2; t++) each.step({ w: array(40_001, t) });
  same({ ...slots }, { ...expected });
  optimizer.dispose();
  alone.dispose();
});

test('bindings are those of a kernel of the caller, next to the caller’s own parameters', async () => {
  const [odd, even] = [array(67, 1), array(64, 2)];
  const optimizer = await adamw({ even: buffer(even), odd: buffer(odd) }, { device });
  const grads = { even: array(64, 3), odd: array(67, 4) };
  optimizer.step(grads);
  const before = await valuesOf({ ...optimizer.slots('odd'), neighbour: optimizer.slots('even').exp_avg });
  const module = device.createShaderModule({
    code: `@group(0) @binding(0) var<storage, read_write> slot: array<f32>;
      @compute @workgroup_size(64) fn halve(@builtin(global_invocation_id) id: vec3u) {
        if (id.x < arrayLength(&slot)) { slot[id.x] *= 0.5; }
      }`,
  });
  const pipeline = device.createComputePipeline({ layout: 'auto', compute: { module, entryPoint: 'halve' } });
  const entries = [{ binding: 0, resource: optimizer.slots('odd').exp_avg }];
  const group = device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, group);
  pass.dispatchWorkgroups(8);
  pass.end();
  device.queue.submit([encoder.finish()]);
  const after = await valuesOf({ ...optimizer.slots('odd'), neighbour: optimizer.slots('even').exp_avg });
  same(after, { ...before, exp_avg: before.exp_avg.map((x) => x / 2) });
});

test('of a lost device throw', async () => {
  const opened = await openDevice();
  if (typeof opened === 'string') throw new Error(opened);
  const optimizer = await adamw(make(1), { backend: 'webgpu', device: opened.device });
  opened.device.destroy();
  await opened.device.lost;
  expect(() => optimizer.slots('odd')).toThrow('The GPU device was lost: ');
});

describe('memory of the optimizer is refused as a new parameter:', () => {
  const own = (from: Float32Array) => buffer(from, 0x80 | 0x4 | 0x8);
  const make2 = () => adamw({ w: own(array(64, 1)), v: own(array(64, 2)) }, { device });
  type Made = Awaited<ReturnType<typeof make2>>;

  test.each<[string, (optimizer: Made) => unknown]>([
    ['a gradient', (optimizer) => optimizer.grads.w],
    ['a slot', (optimizer) => optimizer.slots('w').exp_avg],
    ['the whole buffer of a slot', (optimizer) => optimizer.slots('w').exp_avg_sq.buffer],
    ['the slot of a removed tensor', (optimizer) => optimizer.slots('v').exp_avg],
  ])('%s', async (_, pick) => {
    const [optimizer, plain] = await Promise.all([make2(), make2()]);
    const memory = pick(optimizer);
    for (const each of [optimizer, plain]) await each.removeParams(['v']);
    const sentence = 'Expected parameter "x" in a buffer of yours, got one that the optimizer allocated.';
    await expect(optimizer.addParams(0, { x: any(memory) })).rejects.toThrow(new TypeError(sentence));
    await expect(optimizer.addParamGroup({ params: { x: any(memory) } })).rejects.toThrow(new TypeError(sentence));
    for (const each of [optimizer, plain]) each.step({ w: array(64, 3) });
    expect(Object.keys(optimizer.params)).toEqual(['w']);
    expect(await optimizer.read('w')).toEqual(await plain.read('w'));
    expect(await optimizer.stateDict()).toEqual(await plain.stateDict());
  });

  test('the slot of a section that was freed', async () => {
    const optimizer = await (await make2()).addParams(0, { z: own(array(64, 3)) });
    const { exp_avg: memory } = optimizer.slots('z');
    await optimizer.removeParams(['z']);
    await expect(optimizer.addParams(0, { x: memory })).rejects.toThrow('parameter "x" in a buffer of yours');
  });
});
