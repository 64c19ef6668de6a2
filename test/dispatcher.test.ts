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

    test.each(['createBindGroupLayout', 'createComputePipelineAsync', 'createBuffer'] as const)(
      'and destroys it if %s throws',
      async (method) => {
        const { requestAdapter } = navigator.gpu;
        const requestDevice = async (): Promise<GPUDevice> => {
          const device = await (await requestAdapter())!.requestDevice({ requiredLimits: {} });
          return Object.defineProperty(device, method, {
            value() {
              throw new Error('refused here');
            },
          });
        };
        vi.stubGlobal('navigator', { gpu: { requestAdapter: async () => ({ limits: {}, requestDevice }) } });
        await expect(adamw(params, { backend: 'webgpu' })).rejects.toThrow('refused here');
        expect((await devices[0].lost).reason).toBe('destroyed');
      },
    );

    test('on a page with an enumerable property of Object.prototype', async () => {
      const keys: string[] = [];
      const { requestAdapter } = navigator.gpu;
      const requestDevice = async (descriptor: GPUDeviceDescriptor): Promise<GPUDevice> => {
        // WebGPU implementations read a record like this.
        // eslint-disable-next-line guard-for-in
        for (const key in descriptor.requiredLimits) keys.push(key);
        return (await requestAdapter())!.requestDevice({ requiredLimits: {} });
      };
      vi.stubGlobal('navigator', { gpu: { requestAdapter: async () => ({ limits: {}, requestDevice }) } });
      const plain = Object.getPrototypeOf({}) as object;
      Object.defineProperty(plain, 'clone', { value: 1, enumerable: true, configurable: true });
      try {
        await adamw(params, { backend: 'webgpu' }).catch(() => {});
      } finally {
        Reflect.deleteProperty(plain, 'clone');
      }
      expect(requested).toHaveLength(1);
      expect(keys).toEqual([]);
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

describe('a list', () => {
  const noGpu = { gpu: { requestAdapter: () => Promise.resolve(null) } };

  /** Opens a device for one test. */
  async function opened(): Promise<GPUDevice> {
    const own = await openDevice();
    if (typeof own === 'string') throw new Error(own);
    return own.device;
  }

  test.each([
    [['wasm', 'webgpu'], 'wasm', 'WebAssembly SIMD, the first in the list that can run.'],
    [['reference', 'wasm'], 'reference', 'Plain JavaScript, the first in the list that can run.'],
  ] as const)('%j runs %s', async (backend, name, reason) => {
    expect((await adamw(params, { backend })).backend).toEqual({ name, reason });
  });

  test('is read once: one that shrinks when it is read again cannot become empty', async () => {
    let reads = 0;
    const shrinking = new Proxy(['wasm'], {
      get: (target, name) => (name === 'length' && reads++ > 0 ? 0 : Reflect.get(target, name)),
    }) as ['wasm'];
    expect((await adamw(params, { backend: shrinking })).backend.name).toBe('wasm');
  });

  test('is copied at the call', async () => {
    const backend: ('wasm' | 'reference')[] = ['wasm'];
    const creation = adamw(params, { backend });
    backend[0] = 'reference';
    expect((await creation).backend.name).toBe('wasm');
  });

  test('runs on a GPU that is there, and equals WebGPU asked for by name', async () => {
    vi.stubGlobal('navigator', { gpu: { requestAdapter: async () => ({ requestDevice: opened }) } });
    const optimizer = await adamw(params, { backend: ['webgpu', 'wasm'] });
    expect(optimizer.backend).toEqual({ name: 'webgpu', reason: 'WebGPU, the first in the list that can run.' });
    const byName = await adamw(params, { backend: 'webgpu' });
    for (const each of [optimizer, byName]) each.step(params);
    expect(difference(await optimizer.read('w'), await byName.read('w'))).toBeUndefined();
    for (const each of [optimizer, byName]) each.dispose();
  });

  test('uses the option device', async () => {
    vi.stubGlobal('navigator', noGpu);
    const device = await opened();
    const optimizer = await adamw(params, { backend: ['webgpu', 'wasm'], device });
    expect(optimizer.device).toBe(device);
    expect((await adamw(params, { backend: ['wasm', 'webgpu'], device })).backend.name).toBe('wasm');
    optimizer.dispose();
    device.destroy();
  });

  const fails = (name: string) => () => Promise.reject(new DOMException('Not now.', name));
  test.each([
    ['there is no navigator', undefined, 'there is no navigator.gpu; pass a GPUDevice as the option device'],
    ['there is no navigator.gpu', {}, 'there is no navigator.gpu; pass a GPUDevice as the option device'],
    ['there is no adapter', noGpu, 'navigator.gpu has no adapter'],
    [
      'the request for an adapter fails',
      { gpu: { requestAdapter: fails('NotSupportedError') } },
      'the request for a device failed (NotSupportedError: Not now.)',
    ],
    [
      'the request for an adapter throws',
      { gpu: { requestAdapter: () => void (undefined as never as Uint8Array).length } },
      "the request for a device failed (TypeError: Cannot read properties of undefined (reading 'length'))",
    ],
    [
      'the request for a device fails',
      { gpu: { requestAdapter: async () => ({ limits: {}, requestDevice: fails('OperationError') }) } },
      'the request for a device failed (OperationError: Not now.)',
    ],
  ])('passes over WebGPU if %s', async (_, navigator, why) => {
    vi.stubGlobal('navigator', navigator);
    const optimizer = await adamw(params, { backend: ['webgpu', 'wasm'] });
    const reason = `WebAssembly SIMD, the first in the list that can run. Not WebGPU: ${why}.`;
    expect(optimizer.backend).toEqual({ name: 'wasm', reason });
    const wasm = await adamw(params);
    for (const each of [optimizer, wasm]) each.step(params);
    expect(difference(optimizer.params.w as Float32Array, wasm.params.w)).toBeUndefined();
    await expect(adamw(params, { backend: ['webgpu'] })).rejects.toThrow(
      `No backend can run this optimizer. WebGPU: ${why}.`,
    );
  });

  test.each<[string, (device: GPUDevice) => void, string]>([
    ['is lost', (device) => device.destroy(), 'The GPU device was lost: '],
    [
      'cannot hold the tensors',
      (device) => {
        const limits = { maxBufferSize: 256, maxStorageBufferBindingSize: 256 };
        Object.defineProperty(device, 'limits', { value: limits });
      },
      '"w" needs 512 bytes, the device\'s buffers have at most 256.',
    ],
    [
      'has no memory left',
      (device) => {
        const pop = device.popErrorScope.bind(device);
        device.popErrorScope = async () => (await pop()) ?? ({ message: 'no memory' } as GPUError);
      },
      'The GPU device cannot allocate memory for the optimizer: no memory.',
    ],
    [
      'cannot compile',
      (device) => {
        device.createComputePipelineAsync = fails('GPUPipelineError');
      },
      'The GPU device cannot compile the kernel adam: Not now.',
    ],
    [
      'cannot compile, and gives a text as the reason',
      (device) => {
        // eslint-disable-next-line prefer-promise-reject-errors -- Another implementation may do this.
        device.createComputePipelineAsync = () => Promise.reject('no\n');
      },
      'The GPU device cannot compile the kernel adam: no.',
    ],
    [
      'reports a message of several lines',
      (device) => {
        const pop = device.popErrorScope.bind(device);
        device.popErrorScope = async () =>
          (await pop()) ?? ({ message: 'no memory.\n - While calling.\n' } as GPUError);
      },
      'The GPU device cannot allocate memory for the optimizer: no memory.\n - While calling.',
    ],
  ])('passes over a device that %s', async (_, spoil, why) => {
    const device = await opened();
    spoil(device);
    const large = { w: array(67, 1) };
    const { backend } = await adamw(large, { backend: ['webgpu', 'reference'], device });
    expect(backend.name).toBe('reference');
    expect(backend.reason).toContain(`Plain JavaScript, the first in the list that can run. Not WebGPU: ${why}`);
    expect(backend.reason).toMatch(/[^.\n]\.$/);
    device.destroy();
  });

  test('gives all reasons if none can run', async () => {
    const twinstep = await fresh();
    vi.stubGlobal('navigator', noGpu);
    vi.stubGlobal('WebAssembly', undefined);
    await expect(twinstep.adamw(params, { backend: ['wasm', 'webgpu'] })).rejects.toThrow(
      /^No backend can run this optimizer\. WebAssembly SIMD: .*\. WebGPU: navigator\.gpu has no adapter\.$/,
    );
  });

  test('does not hide mistakes', async () => {
    const device = await opened();
    const list = { backend: ['webgpu', 'wasm', 'reference'], device } as const;
    await expect(adamw({ w: [1] as never }, list)).rejects.toThrow('parameter "w"');
    // The array is resized while the device is checked.
    const w = new Float32Array(Reflect.construct(ArrayBuffer, [16, { maxByteLength: 32 }]) as ArrayBuffer);
    const creation = adamw({ w }, list);
    (w.buffer as unknown as { resize(bytes: number): void }).resize(32);
    await expect(creation).rejects.toThrow(/^Expected parameter "w" to keep its 4 values, got 8\.$/);
    const wasm = Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0);
    await expect(adamw(params, { backend: ['wasm', 'reference'], wasm })).rejects.toThrow(
      /^The WebAssembly module has no kernel "adam"/,
    );
    device.destroy();
  });

  describe('for GPU buffers', () => {
    const bufferOn = (device: GPUDevice): GPUBuffer => device.createBuffer({ size: 268, usage: 0x80 | 0x4 | 0x8 });

    test.each([['webgpu', 'wasm'] as const, ['reference', 'wasm', 'webgpu'] as const])(
      'runs on their device: %j',
      async (...backend) => {
        const device = await opened();
        const optimizer = await adamw({ w: bufferOn(device) }, { backend, device });
        const before = ['Plain JavaScript', 'WebAssembly SIMD'].map((title) => {
          return ` Not ${title}: the parameters are in GPU buffers.`;
        });
        const passed = backend[0] === 'webgpu' ? '' : before.join('');
        const reason = `WebGPU, the first in the list that can run.${passed}`;
        expect(optimizer.backend).toEqual({ name: 'webgpu', reason });
        optimizer.dispose();
        device.destroy();
      },
    );

    test('refuses a list without webgpu, a lost device, and no device', async () => {
      const device = await opened();
      const w = bufferOn(device);
      const inBuffers = (title: string): string => ` ${title}: the parameters are in GPU buffers.`;
      await expect(adamw({ w }, { backend: ['wasm', 'reference'], device })).rejects.toThrow(
        `No backend can run this optimizer.${inBuffers('WebAssembly SIMD')}${inBuffers('Plain JavaScript')}`,
      );
      await expect(adamw({ w }, { backend: ['webgpu', 'wasm'] })).rejects.toThrow(
        "Expected the GPUDevice of the parameters' buffers as the option device, got undefined.",
      );
      device.destroy();
      await expect(adamw({ w }, { backend: ['webgpu', 'wasm'], device })).rejects.toThrow(
        /^No backend can run this optimizer\. WebGPU: The GPU device was lost: .*\. WebAssembly SIMD: the parameters are/,
      );
    });
  });
});
