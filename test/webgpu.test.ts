// What only WebGPU has: the caller's buffers, encoders, limits, and counts of what is made and submitted.

import { adam, adamw } from 'twinstep';
import { beforeAll, describe, expect, test, vi } from 'vitest';
import { openDevice } from '../tools/dawn.js';
import { webgpu, whyNoWebGPU } from './support/backends.js';
import { array, difference, largest } from './support/numbers.js';
import { ROUNDING, webgpuRoundings } from './support/tolerances.js';

const STORAGE = 0x80;
const COPY_SRC = 0x4;
const COPY_DST = 0x8;

const any = (value: unknown): never => value as never;

test('WebGPU runs on this machine', () => {
  expect(whyNoWebGPU, 'without it none of the WebGPU tests has run').toBeUndefined();
});

describe.runIf(webgpu)('on the device', () => {
  let device: GPUDevice;
  beforeAll(() => {
    device = webgpu!.device;
  });

  function buffer(values: Float32Array, usage = STORAGE | COPY_SRC | COPY_DST, on = device): GPUBuffer {
    const made = on.createBuffer({ size: values.byteLength, usage: usage | COPY_DST });
    on.queue.writeBuffer(made, 0, values as Float32Array<ArrayBuffer>);
    return made;
  }

  async function contents(source: GPUBuffer): Promise<Float32Array> {
    const staging = device.createBuffer({ size: source.size, usage: COPY_DST | 0x1 });
    const encoder = device.createCommandEncoder();
    encoder.copyBufferToBuffer(source, 0, staging, 0, source.size);
    device.queue.submit([encoder.finish()]);
    await staging.mapAsync(0x1);
    const copy = new Float32Array(staging.getMappedRange().slice(0));
    staging.destroy();
    return copy;
  }

  function expectClose(actual: Float32Array, expected: Float32Array, steps: number): void {
    const bound = webgpuRoundings(webgpu!.adapter, steps) * ROUNDING * largest(expected);
    expect(actual.length).toBe(expected.length);
    let worst = 0;
    for (let i = 0; i < expected.length; i++) worst = Math.max(worst, Math.abs(actual[i] - expected[i]));
    expect(worst).toBeLessThanOrEqual(bound);
  }

  /** Steps on the CPU: what every buffer below must come to. */
  async function onCpu(params: Record<string, Float32Array>, grads: Record<string, Float32Array>[], options = {}) {
    const optimizer = await adamw(params, options);
    for (const each of grads) optimizer.step(each);
    return optimizer.params;
  }

  describe('the caller’s buffers', () => {
    test.each([1, 2, 3, 4, 5, 63, 64, 65, 67, 128, 1001, 4099])(
      'of %i elements are stepped in place, whatever the gradients are in',
      async (length) => {
        const [w, g1, g2, g3] = [1, 2, 3, 4].map((seed) => array(length, seed));
        const mine = buffer(w);
        const optimizer = await adamw({ w: mine }, { device, amsgrad: true });
        expect(optimizer.backend).toEqual({ name: 'webgpu', reason: 'WebGPU, for parameters in GPU memory.' });
        optimizer.step({ w: buffer(g1) });
        optimizer.step({ w: g2 });
        const larger = buffer(new Float32Array([...new Float32Array(64), ...g3, 7, 7, 7, 7]));
        optimizer.step({ w: { buffer: larger, offset: 256 } });
        const expected = await onCpu({ w }, [{ w: g1 }, { w: g2 }, { w: g3 }], { amsgrad: true });
        expectClose(await contents(mine), expected.w, 3);
        expectClose(await optimizer.read('w'), expected.w, 3);
        expect(optimizer.params.w).toEqual({ buffer: mine, offset: 0, size: length * 4 });
      },
    );

    test('may all be parts of one, gradients included, and what lies between is left alone', async () => {
      const all = array(512, 1);
      const one = buffer(all);
      const part = (offset: number, length: number) => ({ buffer: one, offset: offset * 4, size: length * 4 });
      const optimizer = await adamw({ a: part(0, 5), b: part(64, 64) }, { device });
      optimizer.step({ a: part(192, 5), b: part(256, 64) });
      const slice = (offset: number, length: number) => all.slice(offset, offset + length);
      const grads = { a: slice(192, 5), b: slice(256, 64) };
      const expected = await onCpu({ a: slice(0, 5), b: slice(64, 64) }, [grads]);
      const after = await contents(one);
      expectClose(after.slice(0, 5), expected.a, 1);
      expectClose(after.slice(64, 128), expected.b, 1);
      expect(difference(after.slice(5, 64), slice(5, 59))).toBeUndefined();
      expect(difference(after.slice(128), slice(128, 384))).toBeUndefined();
    });

    test('step apart where one has no gradient, each by its own count', async () => {
      const params = { a: array(70, 1), b: array(70, 2) };
      const optimizer = await adamw({ a: buffer(params.a), b: buffer(params.b) }, { device });
      const grads = [{ a: array(70, 3), b: array(70, 4) }, { b: array(70, 5) }, { a: array(70, 6), b: array(70, 7) }];
      for (const each of grads) {
        optimizer.step(Object.fromEntries(Object.entries(each).map(([name, values]) => [name, buffer(values)])));
      }
      const expected = await onCpu(params, any(grads));
      expectClose(await optimizer.read('a'), expected.a, 3);
      expectClose(await optimizer.read('b'), expected.b, 3);
      expect([optimizer.stepOf('a'), optimizer.stepOf('b')]).toEqual([2, 3]);
    });

    test('outlive the optimizer', async () => {
      const mine = buffer(array(8, 1));
      const optimizer = await adam({ w: mine }, { device });
      optimizer.dispose();
      expect(difference(await contents(mine), array(8, 1))).toBeUndefined();
    });

    test('state goes from them to the CPU and back', async () => {
      const optimizer = await adam({ w: buffer(array(67, 1)) }, { device });
      optimizer.step({ w: array(67, 2) });
      const cpu = await adam({ w: array(67, 1) });
      cpu.step({ w: array(67, 2) });
      const [a, b] = [await optimizer.stateDict(), await cpu.stateDict()];
      expectClose(a.state[0].exp_avg as Float32Array, b.state[0].exp_avg as Float32Array, 1);
      await optimizer.loadStateDict(b);
      expect(await optimizer.stateDict()).toEqual(b);
    });
  });

  describe('encode', () => {
    test('records into the caller’s encoder and submits nothing', async () => {
      const w = array(67, 1);
      const optimizer = await adamw({ w: buffer(w) }, { device });
      const grad = buffer(array(67, 2));
      const submit = vi.spyOn(device.queue, 'submit');
      const encoder = device.createCommandEncoder();
      optimizer.encode(encoder, { w: grad });
      const commands = encoder.finish();
      expect(submit).not.toHaveBeenCalled();
      submit.mockRestore();
      expect(difference(await optimizer.read('w'), w)).toBeUndefined();
      device.queue.submit([commands]);
      expectClose(await optimizer.read('w'), (await onCpu({ w }, [{ w: array(67, 2) }])).w, 1);
    });

    test('300 steps recorded before the first submit are each told their own scalars', async () => {
      const w = array(64, 1);
      const optimizer = await adamw({ w: buffer(w) }, { device, schedule: (t) => 1 / (1 + t) });
      const values = [array(64, 2), array(64, 3)];
      const grads = values.map((each) => buffer(each));
      const encoder = device.createCommandEncoder();
      for (let t = 0; t < 300; t++) optimizer.encode(encoder, { w: grads[t % 2] });
      device.queue.submit([encoder.finish()]);
      const steps = Array.from({ length: 300 }, (_, t) => ({ w: values[t % 2] }));
      const expected = await onCpu({ w }, steps, { schedule: (t: number) => 1 / (1 + t) });
      expectClose(await optimizer.read('w'), expected.w, 300);
    });

    test('takes the optimizer’s own gradient memory, and steps of both kinds follow each other', async () => {
      const w = array(67, 1);
      const optimizer = await adamw({ w }, { device, backend: 'webgpu' });
      const { buffer: own, offset = 0 } = optimizer.grads.w;
      for (let t = 0; t < 4; t++) {
        device.queue.writeBuffer(own, offset, array(67, 2 + t));
        if (t % 2 === 0) optimizer.step();
        else {
          const encoder = device.createCommandEncoder();
          optimizer.encode(encoder);
          device.queue.submit([encoder.finish()]);
        }
      }
      const expected = await onCpu(
        { w },
        [2, 3, 4, 5].map((seed) => ({ w: array(67, seed) })),
      );
      expectClose(await optimizer.read('w'), expected.w, 4);
    });

    test('refuses to upload', async () => {
      const optimizer = await adamw({ w: buffer(array(4, 1)) }, { device });
      const encoder = device.createCommandEncoder();
      expect(() => optimizer.encode(encoder, any({ w: array(4, 2) }))).toThrow(
        'encode() cannot upload: the gradient of "w" is a Float32Array, not a GPUBuffer.',
      );
      expect(optimizer.stepOf('w')).toBe(0);
    });
  });

  describe('is refused', () => {
    const ok = (): GPUBuffer => buffer(array(12, 1));

    test('a parameter without STORAGE usage', async () => {
      const w = device.createBuffer({ size: 48, usage: COPY_DST });
      await expect(adam({ w }, { device })).rejects.toThrow(
        'Expected the GPUBuffer of parameter "w" to have STORAGE usage, got usage 8.',
      );
    });

    test('a parameter of no whole number of floats, or outside its buffer', async () => {
      const w = device.createBuffer({ size: 49 + 2, usage: STORAGE });
      await expect(adam({ w }, { device })).rejects.toThrow(
        'Expected the size of parameter "w" to be a multiple of 4 bytes, got 51.',
      );
      const part = (offset: number, size: number) => ({ w: { buffer: ok(), offset, size } });
      await expect(adam(part(4, 4), { device })).rejects.toThrow(
        'Expected the offset of parameter "w" to be a multiple of 256 bytes, got 4.',
      );
      await expect(adam(part(0, 52), { device })).rejects.toThrow(
        'Expected parameter "w" to lie inside its GPUBuffer of 48 bytes, got bytes 0 to 52.',
      );
    });

    test('a mapped parameter', async () => {
      const w = device.createBuffer({ size: 48, usage: STORAGE, mappedAtCreation: true });
      await expect(adam({ w }, { device })).rejects.toThrow(
        'Expected the GPUBuffer of parameter "w" to be unmapped, got "mapped".',
      );
    });

    test('one part of a buffer under two names', async () => {
      const w = ok();
      await expect(adam({ w, v: { buffer: w, size: 16 } }, { device })).rejects.toThrow('"w", "v" overlap.');
    });

    test('parameters on both sides', async () => {
      await expect(adam(any({ w: ok(), v: array(1, 1) }), { device })).rejects.toThrow(
        'Expected all parameters in one kind of memory, got "w" on the GPU and "v" on the CPU.',
      );
    });

    test('a parameter without its device, or on a CPU backend', async () => {
      await expect(adam({ w: ok() }, any({}))).rejects.toThrow(
        "Expected the GPUDevice of the parameters' buffers as the option device, got undefined.",
      );
      for (const backend of ['wasm', 'reference'] as const) {
        await expect(adam({ w: ok() }, { device, backend })).rejects.toThrow('the parameters are in GPU buffers.');
      }
    });

    test('a parameter of another device', async () => {
      const other = await openDevice();
      if (typeof other === 'string') throw new Error(other);
      const foreign = buffer(array(12, 1), STORAGE | COPY_SRC, other.device);
      await expect(adam({ v: ok(), w: foreign }, { device })).rejects.toThrow(
        'The device cannot use the GPUBuffer of parameter "w"; does it belong to another device?',
      );
      other.device.destroy();
    });

    const grads: [string, () => unknown, string][] = [
      ['too small', () => buffer(array(11, 1)), 'Expected 12 gradient values for "w", got 11.'],
      [
        'without STORAGE usage',
        () => device.createBuffer({ size: 48, usage: COPY_DST }),
        'Expected the GPUBuffer of gradient "w" to have STORAGE usage, got usage 8.',
      ],
      [
        'mapped',
        () => device.createBuffer({ size: 48, usage: STORAGE, mappedAtCreation: true }),
        'Expected the GPUBuffer of gradient "w" to be unmapped, got "mapped".',
      ],
      ['at an odd offset', () => ({ buffer: buffer(array(99, 1)), offset: 16 }), 'Expected the offset of gradient "w"'],
    ];
    test.each(grads)('a gradient %s', async (...[, grad, message]) => {
      const optimizer = await adam({ w: ok() }, { device });
      expect(() => optimizer.step({ w: any(grad()) })).toThrow(message);
      expect(optimizer.stepOf('w')).toBe(0);
      expect(difference(await optimizer.read('w'), array(12, 1))).toBeUndefined();
    });

    test('a gradient that is the parameter', async () => {
      const w = ok();
      const optimizer = await adam({ w }, { device });
      expect(() => optimizer.step({ w })).toThrow('The gradient of "w" overlaps the parameter itself.');
    });

    test('a gradient of another device: found out later, nothing done, and the next call says so', async () => {
      const other = await openDevice();
      if (typeof other === 'string') throw new Error(other);
      const optimizer = await adam({ v: ok(), w: ok() }, { device });
      optimizer.step({ v: array(12, 2), w: buffer(array(12, 2), STORAGE, other.device) });
      await expect(optimizer.read('w')).rejects.toThrow(
        'The device cannot use the GPUBuffer of gradient "w"; does it belong to another device?',
      );
      expect([optimizer.stepOf('v'), optimizer.stepOf('w')]).toEqual([0, 0]);
      expect(difference(await optimizer.read('v'), array(12, 1))).toBeUndefined();
      other.device.destroy();
      optimizer.step({ v: array(12, 2), w: array(12, 2) });
      expectClose(await optimizer.read('w'), (await onCpuAdam()).w, 1);
    });

    const onCpuAdam = async () => {
      const optimizer = await adam({ w: array(12, 1) });
      optimizer.step({ w: array(12, 2) });
      return optimizer.params;
    };

    test('reading a buffer that cannot be copied from', async () => {
      const w = buffer(array(4, 1), STORAGE);
      const optimizer = await adam({ w }, { device });
      await expect(optimizer.read('w')).rejects.toThrow(
        'Reading "w" takes COPY_SRC usage of its GPUBuffer, got usage 136.',
      );
    });

    test('all, once the device is lost', async () => {
      const other = await openDevice();
      if (typeof other === 'string') throw new Error(other);
      const optimizer = await adam({ w: array(4, 1) }, { device: other.device, backend: 'webgpu' });
      other.device.destroy();
      await other.device.lost;
      expect(() => optimizer.step({ w: array(4, 2) })).toThrow('The GPU device was lost: ');
      await expect(optimizer.read('w')).rejects.toThrow('The GPU device was lost: ');
      const again = adam({ w: array(4, 1) }, { device: other.device, backend: 'webgpu' });
      await expect(again).rejects.toThrow('The GPU device was lost: ');
    });
  });

  describe('limits', () => {
    test('arrays longer than a binding may be, and than one dimension of workgroups', async () => {
      // 34 million floats are 136 MB: more than the 128 MiB of a binding that every device has, in pieces of which each
      // takes more than 65,535 workgroups. The odd end goes to the scalar kernel.
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
      for (const each of [optimizer, cpu]) each.dispose();
      for (const each of [mine, gradient]) each.destroy();
    });

    test('tensors of more than one buffer together are in several arenas', async () => {
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

    test('a tensor that no buffer holds', async () => {
      const small = await openDevice();
      if (typeof small === 'string') throw new Error(small);
      const length = small.device.limits.maxBufferSize / 4 + 1;
      const w = new Float32Array(length);
      await expect(adam({ w }, { device: small.device, backend: 'webgpu' })).rejects.toThrow(
        `No backend can run this optimizer. WebGPU: "w" takes ${small.device.limits.maxBufferSize + 256} bytes, ` +
          `the device's buffers at most ${small.device.limits.maxBufferSize}.`,
      );
      small.device.destroy();
    });
  });

  describe('work', () => {
    test('a step is one submit and one dispatch for all tensors of a group, and makes nothing anew', async () => {
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
      const dispatch = vi.spyOn(
        Object.getPrototypeOf(someComputePass(device)) as GPUComputePassEncoder,
        'dispatchWorkgroups',
      );
      for (let t = 0; t < 10; t++) optimizer.step(params);
      expect(spies.map((spy) => spy.mock.calls.length)).toEqual([10, 0, 0, 0]);
      expect(dispatch).toHaveBeenCalledTimes(10);
      for (const spy of [...spies, dispatch]) spy.mockRestore();
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

    test('pipelines are made once per device', async () => {
      const create = vi.spyOn(device, 'createComputePipelineAsync');
      await adamw({ w: array(4, 1) }, { device, backend: 'webgpu' });
      await adam({ w: array(4, 1) }, { device, backend: 'webgpu' });
      expect(create).not.toHaveBeenCalled();
      create.mockRestore();
    });
  });
});

function someComputePass(device: GPUDevice): GPUComputePassEncoder {
  const pass = device.createCommandEncoder().beginComputePass();
  pass.end();
  return pass;
}
