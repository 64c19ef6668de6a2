// What WebGPU refuses: a sentence, and nothing changed.

import { adam } from 'twinstep';
import { describe, expect, test } from 'vitest';
import { openDevice } from '../tools/dawn.js';
import { COPY_DST, COPY_SRC, STORAGE, any, buffer, device, expectClose } from './support/gpu.js';
import { array, difference } from './support/numbers.js';

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
