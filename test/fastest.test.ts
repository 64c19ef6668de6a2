// Tests backend: 'fastest', which measures the backends for the given sizes, and the reason it reports.

import { adam, adamw } from 'twinstep';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { webgpu } from './support/backends.js';
import { fresh } from './support/fresh.js';
import { buffer, device } from './support/gpu.js';
import { array, difference } from './support/numbers.js';
import { run } from './support/program.js';

afterEach(() => vi.unstubAllGlobals());

const params = (length: number) => ({ w: array(length, 1), bias: array(7, 2) });
const backendOf = async (create: typeof adamw, length: number, options: object = {}) =>
  (await create(params(length), { backend: 'fastest', ...options })).backend;

const MILLISECONDS = String.raw`(about )?[\d.]+ ms`;

test('reports the time of each backend and the size of the step', async () => {
  const { name, reason } = await backendOf(adamw, 100_000, { device });
  expect(name).toBe('wasm');
  expect(reason).toMatch(
    new RegExp(
      `^WebAssembly SIMD, the fastest here: ${MILLISECONDS}, (Plain JavaScript|WebGPU) ${MILLISECONDS}, ` +
        `(Plain JavaScript|WebGPU) ${MILLISECONDS} for a step of 100007 parameters, gradients in and parameters out, ` +
        String.raw`found in \d+ ms\.$`,
    ),
  );
});

test('steps like the chosen backend', async () => {
  const [chosen, named] = [
    await adamw(params(1000), { backend: 'fastest' }),
    await adamw(params(1000), { backend: 'reference' }),
  ];
  const grads = { w: array(1000, 3), bias: array(7, 4) };
  for (const optimizer of [chosen, named]) for (let t = 0; t < 3; t++) optimizer.step(grads);
  for (const name of ['w', 'bias'] as const) {
    expect(difference(await chosen.read(name), await named.read(name))).toBeUndefined();
  }
});

test.each([
  ['600 tensors', Array.from({ length: 600 }, (_, i) => 8 + (i % 2))],
  ['512 layers with biases of one element', Array.from({ length: 1024 }, (_, i) => (i % 2 === 0 ? 1 : 900))],
  ['tensors of no elements', [0, 0]],
])('measures %s', async (_, lengths) => {
  const tensors = Object.fromEntries(lengths.map((length, i) => [`w${i}`, new Float32Array(length)]));
  const { name, reason } = (await adamw(tensors, { backend: 'fastest' })).backend;
  expect(reason).toMatch(new RegExp(`^[\\w ]+, the fastest here: ${MILLISECONDS}, [\\w ]+ ${MILLISECONDS} for a step`));
  if (lengths[0] > 0) expect(name).toBe('wasm');
});

test('measures once for the same sizes, kernels, threads and device, and again for others', async () => {
  const first = await backendOf(adamw, 5000);
  expect(await backendOf(adamw, 5000)).toEqual(first);
  // adam has the same kernel.
  expect(await backendOf(adam, 5000)).toEqual(first);
  expect((await backendOf(adamw, 5001)).reason).toContain('a step of 5008 parameters');
  expect((await backendOf(adamw, 5000, { device })).reason).toContain('WebGPU');
  expect(first.reason).toContain('Not WebGPU: there is no navigator.gpu');
});

test('does not choose WASM if it is slow', async () => {
  const twinstep = await fresh();
  const { Instance } = WebAssembly;
  const slow = (kernel: (...args: number[]) => void) => {
    return (...args: number[]) => {
      for (const end = performance.now() + 20; performance.now() < end;);
      kernel(...args);
    };
  };
  vi.stubGlobal(
    'WebAssembly',
    Object.assign(Object.create(WebAssembly) as typeof WebAssembly, {
      Instance: function Slow(module: WebAssembly.Module, imports: WebAssembly.Imports) {
        const { exports } = new Instance(module, imports);
        return {
          exports: Object.fromEntries(Object.entries(exports).map(([name, each]) => [name, slow(each as never)])),
        };
      },
    }),
  );
  const { name, reason } = await backendOf(twinstep.adamw, 1000);
  expect(name).toBe('reference');
  expect(reason).toMatch(/^Plain JavaScript, the fastest here: [\d.]+ ms, WebAssembly SIMD [2-9]/);
});

describe('if not all backends can run', () => {
  test('it reports why', async () => {
    const twinstep = await fresh();
    vi.stubGlobal('WebAssembly', undefined);
    const { name, reason } = await backendOf(twinstep.adamw, 1000);
    expect(name).toBe('reference');
    expect(reason).toMatch(/^Plain JavaScript, the fastest here: [\d.]+ ms for a step of 1007 parameters/);
    expect(reason).toContain('Not WebGPU: there is no navigator.gpu');
    expect(reason).toContain('Not WebAssembly SIMD: WebAssembly cannot be compiled here');
  });

  test('a build for the edge measures nothing, since clocks do not advance there', () => {
    const program = `
      const { backend } = await adamw({ w: new Float32Array(8) }, { backend: 'fastest' });
      console.log(backend.name, backend.reason);`;
    expect(run(program, 'fastly.js')).toContain(
      'reference Plain JavaScript, for parameters in CPU memory. ' +
        'Not by measurement: this build of twinstep, for edge runtimes, lacks the code. Not WebGPU: ',
    );
  });

  test('it ignores a group without tensors', async () => {
    const { backend } = await adamw([{ params: {} }, { params: params(1000) }], { backend: 'fastest' });
    expect(backend.name).toBe('wasm');
    expect(backend.reason).toContain('a step of 1007 parameters');
  });

  test('it refuses bad kernels, and does not cache the failure', async () => {
    const foreign = Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0);
    await expect(backendOf(adamw, 4321, { wasm: foreign })).rejects.toThrow('has no kernel "adam"');
    expect((await backendOf(adamw, 4321)).name).toBe('wasm');
  });

  test('it steps GPU buffers on the GPU without measuring', async () => {
    const { backend } = await adamw({ w: buffer(array(64, 1)) }, { backend: 'fastest', device });
    expect(backend).toEqual({ name: 'webgpu', reason: 'WebGPU, for parameters in GPU memory.' });
  });
});

test('destroys every buffer of its trials', async () => {
  const created = vi.spyOn(webgpu!.device, 'createBuffer');
  const optimizer = await adamw(params(3000), { backend: 'fastest', device });
  const buffers = created.mock.results.map(({ value }) => value as GPUBuffer);
  created.mockRestore();
  expect(buffers.length).toBeGreaterThan(0);
  optimizer.dispose();
  for (const each of buffers) {
    device.pushErrorScope('validation');
    device.queue.writeBuffer(each, 0, new Uint8Array(4));
    expect((await device.popErrorScope())?.message).toMatch(/destroyed/);
  }
});
