// Tests sums of squares on the GPU: their values, and the work that they take.

import { describe, expect, test, vi } from 'vitest';
import { FLOAT, pack } from '../src/backends/layout.js';
import type { Section } from '../src/backends/section.js';
import { Reduction, type Work } from '../src/backends/webgpu/reduction.js';
import { SectionMemory } from '../src/backends/webgpu/section-memory.js';
import { ema } from '../src/rules/table.js';
import { openNullDevice } from '../tools/dawn.js';
import { buffer, contents, device, STORAGE } from './support/gpu.js';
import { array } from './support/numbers.js';
import { unplaced } from './support/tensors.js';
import { SQUARES } from './support/tolerances.js';

type Arrays = readonly Float32Array[];

/** A reduction over one section of tensors of these lengths, in arenas of at most `capacity` bytes. */
function open(lengths: readonly number[], on = device, capacity = Infinity) {
  const reduction = new Reduction(on);
  const added = add(reduction, lengths, on, capacity);
  return { reduction, ...added };
}

function add(reduction: Reduction, lengths: readonly number[], on = device, capacity = Infinity) {
  const tensors = lengths.map((length, index) => unplaced(`w${index}`, index, length));
  const names = tensors.map(({ name }) => name);
  const section: Section = { index: 0, rule: ema, rules: [ema], names, tensors };
  const sources = new Map(tensors.map((tensor) => [tensor, new Float32Array(tensor.length)]));
  const memory = new SectionMemory(on, section, pack(tensors, capacity), sources, new WeakSet());
  reduction.add(section, memory);
  return { section, memory, tensors };
}

type Opened = ReturnType<typeof open>;

/** Uploads gradients, and returns the work over all tensors of the section. */
function own({ reduction, section, memory, tensors }: Opened, values: Arrays): readonly Work[] {
  for (const [i, tensor] of tensors.entries()) memory.upload(memory.grad(tensor), values[i]);
  return reduction.adjoining(section, 0, tensors.length - 1);
}

/** Records the work, and returns the largest magnitudes and the sums of squares, by slot. */
async function results(reduction: Reduction, works: readonly Work[], limits?: Float32Array) {
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  reduction.record(pass, works, limits && { buffer: buffer(limits), offset: 0, size: limits.byteLength });
  pass.end();
  device.queue.submit([encoder.finish()]);
  const bits = new Uint32Array((await contents(reduction.sums)).buffer);
  const parts = new Float32Array(bits.buffer);
  return Array.from({ length: reduction.slots }, (_, slot) => {
    const limit = limits?.[slot] || Infinity;
    const exponent = Math.max(1, new Uint32Array(Float32Array.of(Math.min(parts[2 * slot], limit)).buffer)[0] >> 23);
    return { bits: bits[2 * slot], squares: parts[2 * slot + 1] * 4 ** (exponent - 127) };
  });
}

const bitsOf = (x: number): number => new Uint32Array(Float32Array.of(x).buffer)[0];

function expected(values: Float32Array, limit = 0) {
  const most = limit || Infinity;
  let [squares, largest] = [0, 0];
  for (const x of values) {
    squares += Math.min(Math.abs(x), most) ** 2;
    largest = Math.max(largest, Math.abs(x));
  }
  return { bits: bitsOf(largest), squares };
}

function check(actual: { bits: number; squares: number }, values: Float32Array, limit = 0): void {
  const { bits, squares } = expected(values, limit);
  expect(actual.bits).toBe(bits);
  expect(squares).toBeLessThan(Infinity);
  expect(Math.abs(actual.squares - squares)).toBeLessThanOrEqual(SQUARES * squares);
}

const lengths = [1, 0, 5, 64, 4097, 100_000, 3];
const ordinary = lengths.map((length, i) => array(length, i));

/** Numbers of all magnitudes. `power` below 1: most of them are large. */
const mixed = (length: number, power: number): Float32Array =>
  array(length, 9, (next) => (next() < 0.5 ? -1 : 1) * 10 ** (-44 + 82 * next() ** power));

describe('sums of squares', () => {
  test.each([Infinity, 1024])('of tensors in arenas of %d bytes', async (capacity) => {
    const opened = open(lengths, device, capacity);
    const { reduction, section, tensors, memory } = opened;
    for (const [i, tensor] of tensors.entries()) memory.upload(memory.grad(tensor), ordinary[i]);
    const works = tensors.flatMap(({ arena }, first) => {
      if (tensors[first - 1]?.arena === arena) return [];
      return reduction.adjoining(
        section,
        first,
        tensors.findLastIndex((tensor) => tensor.arena === arena),
      );
    });
    const sums = await results(reduction, works);
    for (const [i, values] of ordinary.entries()) check(sums[i], values);
  });

  test('of the caller’s buffers, at offsets', async () => {
    const { reduction, tensors } = open(lengths);
    const works = tensors.flatMap((tensor, i) => {
      const offset = 256 * (i + 1);
      const whole = new Float32Array(offset / FLOAT + tensor.length).fill(1e30);
      whole.set(ordinary[i], offset / FLOAT);
      return reduction.bound(tensor, { buffer: buffer(whole, STORAGE), offset });
    });
    const sums = await results(reduction, works);
    for (const [i, values] of ordinary.entries()) check(sums[i], values);
  });

  test('of a part of the neighbours, and of others in the caller’s buffers', async () => {
    const opened = open(lengths);
    const { reduction, section, tensors } = opened;
    own(opened, ordinary);
    const [given, last] = [array(5, 77), array(3, 78)];
    const works = [
      ...reduction.bound(tensors[2], { buffer: buffer(given), offset: 0 }),
      ...reduction.adjoining(section, 3, 5),
      ...reduction.bound(tensors[6], { buffer: buffer(last), offset: 0 }),
    ];
    const sums = await results(reduction, works);
    for (const i of [3, 4, 5]) check(sums[i], ordinary[i]);
    check(sums[2], given);
    check(sums[6], last);
  });

  test('of several sections, added and removed', async () => {
    const opened = open([4097, 5]);
    const { reduction, tensors } = opened;
    const before = own(opened, [array(4097, 1), array(5, 2)]);
    check((await results(reduction, before))[1], array(5, 2));
    const second = add(reduction, [70, 9000]);
    const values = [array(70, 3), array(9000, 4)];
    const works = [...own({ reduction, ...second }, values), ...own(opened, [array(4097, 1), array(5, 2)])];
    const sums = await results(reduction, works);
    expect([...tensors, ...second.tensors].map((tensor) => reduction.slotOf(tensor))).toEqual([0, 1, 2, 3]);
    for (const [i, each] of [array(4097, 1), array(5, 2), ...values].entries()) check(sums[i], each);

    reduction.remove([tensors[0]]);
    reduction.remove(second.tensors);
    const third = add(reduction, [7, 8]);
    const slots = third.tensors.map((tensor) => reduction.slotOf(tensor));
    expect([reduction.slots, new Set([...slots, reduction.slotOf(tensors[1])]).size]).toEqual([4, 3]);
    const left = await results(reduction, [
      ...own({ reduction, ...third }, [array(7, 5), array(8, 6)]),
      ...reduction.adjoining(opened.section, 1, 1),
    ]);
    for (const [i, slot] of slots.entries()) check(left[slot], array(7 + i, 5 + i));
    check(left[reduction.slotOf(tensors[1])], array(5, 2));
  });

  const large = 300_000;
  test.each([
    ['mixed magnitudes, most of them large', mixed(large, 0.2)],
    ['mixed magnitudes, most of them small', mixed(large, 5)],
    ['many small ones and one that is large', array(large, 3).map((x, i) => (i === 777 ? 1000 : x))],
    ['growing ones', new Float32Array(large).map((_, i) => 1.0001 ** i * 1e-20)],
    ['equal ones', new Float32Array(large).fill(0.1)],
    ['1e30', new Float32Array(large).fill(1e30)],
    ['the largest f32', new Float32Array(1000).fill(-(2 - 2 ** -23) * 2 ** 127)],
    ['zeros', new Float32Array(1000)],
    ['negative zeros', new Float32Array(1000).fill(-0)],
    ['subnormal ones', mixed(1000, 1).map((x) => (Math.abs(x) > 1e-39 ? 1e-39 : x))],
    ['the smallest f32', new Float32Array(1000).fill(2 ** -149)],
    ['normal and subnormal ones', array(1000, 1).map((x) => x * 2 ** -126)],
  ])('of %s', async (_, values) => {
    const opened = open([values.length]);
    const [sum] = await results(opened.reduction, own(opened, [values]));
    check(sum, values);
  });

  test.each([NaN, Infinity, -Infinity])('%d shows in the bits of its tensor alone', async (value) => {
    const opened = open([1000, 1000]);
    const values = [array(1000, 1), array(1000, 2)];
    values[0][500] = value;
    const sums = await results(opened.reduction, own(opened, values));
    expect(sums[0].bits).toBe(bitsOf(Math.abs(value)));
    check(sums[1], values[1]);
  });

  test('with limits', async () => {
    const opened = open([5000, 5000, 5000, 3, 2]);
    const values = [array(5000, 1), mixed(5000, 1), array(5000, 3), array(3, 4), new Float32Array([1e-42, -3e-42])];
    const limits = new Float32Array([0.5, 1e-10, 0, 100, 2e-42]);
    const sums = await results(opened.reduction, own(opened, values), limits);
    for (const [i, each] of values.entries()) check(sums[i], each, limits[i]);
  });

  test('of infinity with a limit', async () => {
    const opened = open([1000]);
    const values = array(1000, 1).fill(-Infinity, 3, 5);
    const [sum] = await results(opened.reduction, own(opened, [values]), Float32Array.of(0.25));
    check(sum, values, 0.25);
  });

  test('have the same bits again, and in a caller’s buffer', async () => {
    const opened = open([300, large]);
    const values = [array(300, 1), mixed(large, 1)];
    const first = await results(opened.reduction, own(opened, values));
    const bound = opened.reduction.bound(opened.tensors[1], { buffer: buffer(values[1]), offset: 0 });
    expect(await results(opened.reduction, own(opened, values))).toEqual(first);
    expect(await results(opened.reduction, bound)).toEqual(first);
  });
});

describe('work', () => {
  const begin = (on: GPUDevice): GPUComputePassEncoder => on.createCommandEncoder().beginComputePass();

  test('takes one dispatch for all neighbours and two to add their parts, and creates nothing again', async () => {
    const on = await openNullDevice();
    const { reduction, section, tensors } = open(
      Array.from({ length: 1000 }, (_, i) => 5 * i),
      on,
    );
    const limits = { buffer: buffer(new Float32Array(1000), STORAGE, on), offset: 0, size: 4000 };
    reduction.record(begin(on), reduction.adjoining(section, 0, 999), limits);
    const created = [vi.spyOn(on, 'createBuffer'), vi.spyOn(on, 'createBindGroup'), vi.spyOn(on.queue, 'writeBuffer')];
    const pass = begin(on);
    const dispatch = vi.spyOn(pass, 'dispatchWorkgroups');
    reduction.record(pass, reduction.adjoining(section, 0, 999), limits);
    expect(dispatch).toHaveBeenCalledTimes(3);
    const grad = { buffer: buffer(new Float32Array(45), STORAGE, on), offset: 0 };
    for (const spy of created) spy.mockClear();
    for (let t = 0; t < 3; t++) {
      const works = [...reduction.bound(tensors[9], grad), ...reduction.adjoining(section, 10, 400)];
      reduction.record(pass, works, limits);
    }
    expect(created.map((spy) => spy.mock.calls.length)).toEqual([0, 2, 0]);
  });

  test('over an array longer than a binding takes a dispatch for each piece', async () => {
    const on = await openNullDevice();
    const { maxStorageBufferBindingSize } = on.limits;
    const { reduction, section, tensors } = open([7, 1.25 * (maxStorageBufferBindingSize / FLOAT), 7], on, 2 ** 27);
    on.pushErrorScope('validation');
    const works = tensors.map((_, i) => reduction.adjoining(section, i, i));
    reduction.record(begin(on), works.flat());
    expect(works.map(({ length }) => length)).toEqual([1, 2, 1]);
    expect((await on.popErrorScope())?.message).toBeUndefined();
  });

  test('allocates nothing before its first use', async () => {
    const on = await openNullDevice();
    const { reduction, section } = open([7], on);
    const create = vi.spyOn(on, 'createBuffer');
    const compile = vi.spyOn(on, 'createComputePipeline');
    add(reduction, [], on);
    expect([create.mock.calls.length, compile.mock.calls.length]).toEqual([0, 0]);
    reduction.adjoining(section, 0, 0);
    expect(create.mock.calls.length).toBeGreaterThan(0);
    expect(compile).toHaveBeenCalledTimes(2);
  });

  test('bind groups of old buffers are freed, and those of many offsets in one buffer', async () => {
    const on = await openNullDevice();
    const { reduction, tensors } = open([7], on);
    const groups: WeakRef<GPUBindGroup>[] = [];
    const steps = 200;
    const shared = buffer(new Float32Array(64 * steps), STORAGE, on);
    for (let t = 0; t < steps; t++) {
      const fresh = buffer(new Float32Array(7), STORAGE, on);
      for (const place of [
        { buffer: fresh, offset: 0 },
        { buffer: shared, offset: 256 * t },
      ]) {
        const works = reduction.bound(tensors[0], place);
        groups.push(new WeakRef(works[0].arrays));
        reduction.record(begin(on), works, { buffer: fresh, offset: 0, size: 28 });
      }
    }
    const alive = () => groups.filter((group) => group.deref() !== undefined).length;
    for (let tries = 0; tries < 50 && alive() > 20; tries++) {
      await new Promise((resolve) => setTimeout(resolve, 5));
      globalThis.gc!();
    }
    expect(alive()).toBeLessThanOrEqual(20);
  });
});
