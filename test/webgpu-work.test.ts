// Tests sizes beyond the limits of a device, and counts submits, dispatches and created objects.

import { readdirSync, readFileSync } from 'node:fs';
import { adam, adamw } from 'twinstep';
import { describe, expect, test, vi } from 'vitest';
import { openDevice } from '../tools/dawn.js';
import { buffer, device, expectClose, onCpu } from './support/gpu.js';
import { array } from './support/numbers.js';
import { SQUARES } from './support/tolerances.js';

describe('limits', () => {
  test('steps arrays longer than a binding and than one dimension of workgroups', async () => {
    // 34 million floats are 136 MB: more than the 128 MiB that every device allows for a binding. They are bound in
    // pieces. Each piece takes more than 65,535 workgroups. The scalar kernel updates the odd end.
    const length = 34_000_003;
    expect(length * 4).toBeGreaterThan(device.limits.maxStorageBufferBindingSize);
    const w = new Float32Array(length).map((_, i) => (i % 1009) / 1009);
    const grad = new Float32Array(length).map((_, i) => ((i % 1013) - 506) / 1013);
    const [mine, gradient] = [buffer(w), buffer(grad)];
    const optimizer = await adam({ w: mine }, { device });
    optimizer.step({ w: gradient });
    const cpu = await adam({ w });
    cpu.step({ w: grad });
    expectClose(await optimizer.read('w'), cpu.params.w, 1);
    const norm = (await optimizer.norms({ w: gradient })).w.grad!;
    expect(Math.abs(norm / (await cpu.norms({ w: grad })).w.grad! - 1)).toBeLessThanOrEqual(SQUARES / 2);
    for (const each of [optimizer, cpu]) each.dispose();
    for (const each of [mine, gradient]) each.destroy();
  });

  test('puts tensors that exceed one buffer into several arenas', async () => {
    const lengths = { a: 20_000_000, b: 20_000_001, c: 3 };
    const params = Object.fromEntries(
      Object.entries(lengths).map(([name, length]) => [name, new Float32Array(length).fill(0.5)]),
    );
    const grads = Object.fromEntries(Object.entries(params).map(([name, values]) => [name, values.map(() => 1)]));
    const optimizer = await adam(params, { device, backend: 'webgpu', lr: 0.25 });
    const buffers = new Set(Object.values(optimizer.params).map((each) => each.buffer));
    expect(buffers.size).toBe(2);
    optimizer.step(grads);
    for (const name in lengths) {
      const read = await optimizer.read(name);
      expect(
        read.every((x) => x === read[0]),
        name,
      ).toBe(true);
      expect(read[0]).toBeCloseTo(0.25, 6);
    }
    optimizer.dispose();
  });

  test('refuses a tensor that exceeds a buffer', async () => {
    const small = await openDevice();
    if (typeof small === 'string') throw new Error(small);
    const length = small.device.limits.maxBufferSize / 4 + 1;
    const w = new Float32Array(length);
    await expect(adam({ w }, { device: small.device, backend: 'webgpu' })).rejects.toThrow(
      `No backend can run this optimizer. WebGPU: "w" needs ${small.device.limits.maxBufferSize + 256} bytes, ` +
        `the device's buffers have at most ${small.device.limits.maxBufferSize}.`,
    );
    small.device.destroy();
  });
});

describe('work', () => {
  const folder = new URL('../wgsl/', import.meta.url);
  const sources = readdirSync(folder).map((file) => readFileSync(new URL(file, folder), 'utf8'));
  // Those over whole tensors: other kernels read a few numbers.
  const functions = sources
    .filter((source) => source.includes('array<Real>'))
    .flatMap((source) =>
      source
        .split(/^fn /m)
        .slice(1)
        .filter((text) => text.includes('[i]'))
        .map((text) => [text.slice(0, text.indexOf('(')), text] as const),
    );

  // A compiler must assume that arrays may share a buffer, so a load after a store would read memory again.
  test.each(functions)('%s loads each array once, before it stores any', (_, text) => {
    const loaded = new Set<string>();
    let isStoring = false;
    for (const statement of text.split(/[;{}]/)) {
      const [, right = statement] = /^\s*\w+\[i\] = (.*)$/s.exec(statement) ?? [];
      for (const [load] of right.matchAll(/\w+\[i\]/g)) {
        expect([isStoring, loaded.has(load)], load).toEqual([false, false]);
        loaded.add(load);
      }
      isStoring ||= right !== statement;
    }
  });

  test('a step takes one submit and one dispatch for all tensors of a group, and creates no objects', async () => {
    const names = Array.from({ length: 200 }, (_, i) => `w${i}`);
    const params = Object.fromEntries(names.map((name, i) => [name, array(5 + i, i)]));
    const optimizer = await adamw(params, { device, backend: 'webgpu' });
    optimizer.step(params);
    const spies = [
      vi.spyOn(device.queue, 'submit'),
      vi.spyOn(device, 'createBuffer'),
      vi.spyOn(device, 'createBindGroup'),
      vi.spyOn(device, 'createComputePipelineAsync'),
    ];
    const dispatch = vi.spyOn(Object.getPrototypeOf(someComputePass()) as GPUComputePassEncoder, 'dispatchWorkgroups');
    for (let t = 0; t < 10; t++) optimizer.step(params);
    expect(spies.map((spy) => spy.mock.calls.length)).toEqual([10, 0, 0, 0]);
    expect(dispatch).toHaveBeenCalledTimes(10);
    for (const spy of [...spies, dispatch]) spy.mockRestore();
  });

  test('with the caller’s buffers a step takes one submit, one pass, one pipeline, and a dispatch for each', async () => {
    const made = (seed: number) =>
      Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`w${i}`, buffer(array(64, seed + i))]));
    const optimizer = await adamw(made(1), { device });
    const grads = made(100);
    const pass = Object.getPrototypeOf(someComputePass()) as GPUComputePassEncoder;
    const encoder = Object.getPrototypeOf(device.createCommandEncoder()) as GPUCommandEncoder;
    const spies = [
      vi.spyOn(device.queue, 'submit'),
      vi.spyOn(encoder, 'beginComputePass'),
      vi.spyOn(pass, 'dispatchWorkgroups'),
      vi.spyOn(pass, 'setPipeline'),
    ];
    for (let t = 0; t < 3; t++) optimizer.step(grads);
    expect(spies.map((spy) => spy.mock.calls.length)).toEqual([3, 3, 60, 3]);
    for (const spy of spies) spy.mockRestore();
  });

  test('the caller’s gradient buffers are bound once', async () => {
    const optimizer = await adamw({ a: buffer(array(64, 1)), b: buffer(array(9, 2)) }, { device });
    const grads = [3, 4].map((seed) => ({ a: buffer(array(64, seed)), b: buffer(array(9, seed)) }));
    for (const each of grads) optimizer.step(each);
    const create = vi.spyOn(device, 'createBindGroup');
    for (let t = 0; t < 10; t++) optimizer.step(grads[t % 2]);
    expect(create).not.toHaveBeenCalled();
    create.mockRestore();
  });

  test('two halves of one buffer are bound once, even if they alternate', async () => {
    const w = array(70, 1);
    const optimizer = await adamw({ w: buffer(w) }, { device });
    const [even, odd] = [array(70, 2), array(70, 3)];
    const both = buffer(new Float32Array([...even, ...new Float32Array(58), ...odd]));
    const halves = [0, 512].map((offset) => ({ w: { buffer: both, offset, size: 280 } }));
    for (const each of halves) optimizer.step(each);
    const create = vi.spyOn(device, 'createBindGroup');
    for (let t = 0; t < 10; t++) optimizer.step(halves[t % 2]);
    expect(create).not.toHaveBeenCalled();
    create.mockRestore();
    const steps = Array.from({ length: 12 }, (_, t) => ({ w: t % 2 === 0 ? even : odd }));
    expectClose(await optimizer.read('w'), (await onCpu({ w }, steps)).w, 12);
  });

  test('a state dict takes one submit', async () => {
    const params = Object.fromEntries(Array.from({ length: 50 }, (_, i) => [`w${i}`, array(i, i)]));
    const optimizer = await adamw(params, { device, backend: 'webgpu' });
    optimizer.step(params);
    const submit = vi.spyOn(device.queue, 'submit');
    await optimizer.stateDict();
    expect(submit).toHaveBeenCalledTimes(1);
    submit.mockRestore();
  });

  test('a mask makes two dispatches of a group, with any order of names', async () => {
    const params = Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`w${i}`, array(5, i)]));
    const decayMask = (name: string): boolean => Number(name.slice(1)) % 2 === 0;
    const optimizer = await adamw(params, { device, backend: 'webgpu', decayMask });
    const pass = Object.getPrototypeOf(someComputePass()) as GPUComputePassEncoder;
    const dispatch = vi.spyOn(pass, 'dispatchWorkgroups');
    optimizer.step(params);
    expect(dispatch).toHaveBeenCalledTimes(2);
    dispatch.mockRestore();
  });

  test('pipelines are created once per device', async () => {
    const create = vi.spyOn(device, 'createComputePipelineAsync');
    await adamw({ w: array(4, 1) }, { device, backend: 'webgpu' });
    await adam({ w: array(4, 1) }, { device, backend: 'webgpu' });
    expect(create).not.toHaveBeenCalled();
    create.mockRestore();
  });
});

function someComputePass(): GPUComputePassEncoder {
  const pass = device.createCommandEncoder().beginComputePass();
  pass.end();
  return pass;
}
