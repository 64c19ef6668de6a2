// Tests which backend runs, and the reason it reports.

import { readFileSync } from 'node:fs';
import { adam, adamw } from 'twinstep';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { openDevice } from '../tools/dawn.js';
import { webgpu } from './support/backends.js';
import { fresh } from './support/fresh.js';
import { array, difference } from './support/numbers.js';

const params = { w: array(67, 1) };

afterEach(() => vi.unstubAllGlobals());

test('Float32Arrays run on WASM, even with a device', async () => {
  const reason =
    'WebAssembly SIMD, for parameters in CPU memory. ' +
    'Not WebGPU: parameters in CPU memory are updated on the CPU, unless WebGPU is asked for by name.';
  expect((await adamw(params)).backend).toEqual({ name: 'wasm', reason });
  expect((await adamw(params, { backend: 'auto', device: webgpu?.device })).backend.name).toBe('wasm');
});

test.each(['wasm', 'reference'] as const)('%s runs if the option backend names it', async (backend) => {
  const { name, reason } = (await adamw(params, { backend })).backend;
  expect(name).toBe(backend);
  expect(reason).toMatch(/, asked for by name\.$/);
});

describe('if WebAssembly cannot run', () => {
  const refusing = new Proxy(WebAssembly, {
    get: (target, name) =>
      name !== 'Module'
        ? Reflect.get(target, name)
        : function Module() {
            throw new WebAssembly.CompileError('Wasm code generation disallowed by embedder');
          },
  });

  test.each([
    ['it does not exist', undefined, 'WebAssembly is not defined'],
    ['a policy forbids compiling', refusing, 'CompileError: Wasm code generation disallowed by embedder'],
  ])('because %s, the reference runs and says why', async (...[, stub, cause]) => {
    const twinstep = await fresh();
    vi.stubGlobal('WebAssembly', stub);
    if (stub === undefined) delete (globalThis as { WebAssembly?: unknown }).WebAssembly;
    const optimizer = await twinstep.adamw(params);
    expect(optimizer.backend.name).toBe('reference');
    expect(optimizer.backend.reason).toContain('Plain JavaScript, for parameters in CPU memory. Not WebGPU: ');
    expect(optimizer.backend.reason).toContain(`Not WebAssembly SIMD: WebAssembly cannot be compiled here (`);
    expect(optimizer.backend.reason).toContain(cause);
    await expect(twinstep.adamw(params, { backend: 'wasm' })).rejects.toThrow(
      'No backend can run this optimizer. WebAssembly SIMD: WebAssembly cannot be compiled here (',
    );
    optimizer.step(params);
    vi.unstubAllGlobals();
    const wasm = await adamw(params);
    wasm.step(params);
    expect(difference(optimizer.params.w, wasm.params.w)).toBeUndefined();
  });

  test('because memory is exhausted, the reference runs', async () => {
    vi.stubGlobal('WebAssembly', {
      ...WebAssembly,
      Module: WebAssembly.Module,
      Memory: function Memory() {
        throw new RangeError('could not allocate memory');
      },
    });
    const { name, reason } = (await adamw(params)).backend;
    expect(name).toBe('reference');
    expect(reason).toContain('Not WebAssembly SIMD: WebAssembly cannot allocate 65536 bytes (RangeError: could not');
  });
});

describe('the option wasm', () => {
  const bytes = readFileSync(new URL('../dist/core.wasm', import.meta.url));

  test.each([
    ['a module', new WebAssembly.Module(bytes)],
    ['bytes', bytes],
    ['an ArrayBuffer', new Uint8Array(bytes).buffer],
  ])('takes kernels as %s', async (_, wasm) => {
    const [own, plain] = [await adamw(params, { wasm }), await adamw(params)];
    for (const each of [own, plain]) each.step(params);
    expect(own.backend.name).toBe('wasm');
    expect(difference(own.params.w, plain.params.w)).toBeUndefined();
  });

  test('gives its kernels also to averages, in a build without any', async () => {
    const entry = new URL('../dist/fastly.js', import.meta.url).href;
    const { adamw: create, ema, lookahead } = (await import(entry)) as typeof import('twinstep');
    const transferred = Uint8Array.from(bytes);
    const optimizer = await create(params, { wasm: transferred });
    structuredClone(transferred, { transfer: [transferred.buffer] });
    const { slow } = await lookahead(optimizer);
    for (const average of [await ema(optimizer), slow]) expect(average.backend.name).toBe('wasm');
  });

  test.each([
    ['core.wasm', 'Expected wasm to be a WebAssembly.Module, or the bytes of one, got "core.wasm".'],
    [null, 'Expected wasm to be a WebAssembly.Module, or the bytes of one, got null.'],
    [
      new TextEncoder().encode('<!doctype html>'),
      'Expected wasm to be a WebAssembly.Module, or the bytes of one, got Uint8Array(15).',
    ],
    [{ exports: {} }, 'Expected wasm to be a WebAssembly.Module, or the bytes of one, got an Object.'],
  ])('refuses %s', async (wasm, sentence) => {
    await expect(adamw(params, { wasm: wasm as never })).rejects.toThrow(sentence);
  });

  test('refuses a module without the kernels', async () => {
    const empty = Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0);
    await expect(adamw(params, { wasm: empty })).rejects.toThrow(
      'The WebAssembly module has no kernel "adam": is it this',
    );
    const { backend } = await adamw(params, { wasm: empty.subarray(0, 5) });
    expect(backend.reason).toContain('Not WebAssembly SIMD: WebAssembly cannot be compiled here (CompileError');
  });
});

describe('WebGPU without the option device', () => {
  test('is refused without navigator.gpu', async () => {
    vi.stubGlobal('navigator', {});
    await expect(adam(params, { backend: 'webgpu' })).rejects.toThrow(
      'No backend can run this optimizer. ' +
        'WebGPU: there is no navigator.gpu; pass a GPUDevice as the option device.',
    );
    vi.stubGlobal('navigator', undefined);
    await expect(adam(params, { backend: 'webgpu' })).rejects.toThrow('there is no navigator.gpu');
  });

  test('is refused if navigator.gpu has no adapter', async () => {
    vi.stubGlobal('navigator', { gpu: { requestAdapter: () => Promise.resolve(null) } });
    await expect(adam(params, { backend: 'webgpu' })).rejects.toThrow('WebGPU: navigator.gpu has no adapter.');
  });

  describe('requests a device from navigator.gpu', () => {
    let requested: GPUDeviceDescriptor[];
    let devices: GPUDevice[];

    beforeEach(() => {
      [requested, devices] = [[], []];
      const limits = { maxBufferSize: 2 ** 30, maxStorageBufferBindingSize: 2 ** 29 };
      const requestDevice = async (descriptor: GPUDeviceDescriptor): Promise<GPUDevice> => {
        requested.push(descriptor);
        const opened = await openDevice('adapter');
        if (typeof opened === 'string') throw new Error(opened);
        devices.push(opened.device);
        return opened.device;
      };
      vi.stubGlobal('navigator', { gpu: { requestAdapter: () => Promise.resolve({ limits, requestDevice }) } });
    });

    test('without unneeded limits, and destroys it at the end', async () => {
      const optimizer = await adamw(params, { backend: 'webgpu' });
      expect(requested).toEqual([{ requiredLimits: {} }]);
      optimizer.step(params);
      const wasm = await adamw(params);
      wasm.step(params);
      (await optimizer.read('w')).forEach((x, i) => expect(x).toBeCloseTo(wasm.params.w[i], 6));
      optimizer.dispose();
      expect((await devices[0].lost).reason).toBe('destroyed');
    });

    test('with the limits that large tensors need, up to those of the adapter', async () => {
      const large = { w: new Float32Array(2 ** 27 + 64) };
      await adam(large, { backend: 'webgpu' }).then((optimizer) => optimizer.dispose());
      expect(requested).toEqual([
        { requiredLimits: { maxStorageBufferBindingSize: 2 ** 29, maxBufferSize: 2 ** 29 + 256 } },
      ]);
    });
  });
});
