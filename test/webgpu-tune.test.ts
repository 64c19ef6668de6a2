// The size of workgroups: chosen by a clock, once for each adapter, and of no consequence for a single bit.

import { adam, adamw } from 'twinstep';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { create } from 'webgpu';
import './support/gpu.js';
import { array, difference } from './support/numbers.js';

/** The least that is measured for. */
const LARGE = 2 ** 22;
const large = { w: new Float32Array(LARGE) };

// Dawn aborts the process at random once these are collected.
const implementations = { real: create([]), null: create(['backend=null']) };

let adapters = 0;
const unknown = (): object => ({ vendor: 'nobody', device: `number ${(adapters += 1)}` });

/** A device that says it is of `adapter`. The null one checks everything and computes nothing. */
async function open(
  which: keyof typeof implementations,
  adapter = unknown(),
  requiredFeatures: GPUFeatureName[] = [],
): Promise<GPUDevice> {
  const device = await (await implementations[which].requestAdapter())!.requestDevice({ requiredFeatures });
  return Object.defineProperty(device, 'adapterInfo', { value: adapter });
}

/** What is done on a device from now on. */
function watch(device: GPUDevice) {
  const pass = device.createCommandEncoder().beginComputePass();
  pass.end();
  const passes = Object.getPrototypeOf(pass) as GPUComputePassEncoder;
  const set = vi.spyOn(passes, 'setPipeline');
  return {
    compile: vi.spyOn(device, 'createComputePipelineAsync'),
    createBuffer: vi.spyOn(device, 'createBuffer'),
    dispatch: vi.spyOn(passes, 'dispatchWorkgroups'),
    wait: vi.spyOn(device.queue, 'onSubmittedWorkDone'),
    /** The workgroups of the pipeline that was set last. */
    size: () => Number(/workgroups of (\d+)$/.exec(set.mock.lastCall![0].label)![1]),
  };
}

/** Has a run take so many milliseconds, by the clock on the wall. */
function time({ wait, size }: ReturnType<typeof watch>, milliseconds: (size: number) => number): void {
  let now = 0;
  vi.spyOn(performance, 'now').mockImplementation(() => now);
  wait.mockImplementation(() => {
    now += milliseconds(size());
    return Promise.resolve(undefined);
  });
}

const make = (device: GPUDevice, params: Record<string, Float32Array> = large) =>
  adamw(params, { backend: 'webgpu', device });

afterEach(() => vi.restoreAllMocks());

test('the size that is the fastest, and the bits are those of any other', async () => {
  const [params, grads] = [1, 2].map((seed) => ({ w: array(LARGE + 5, seed) }));
  const results: Float32Array[] = [];
  for (const fastest of [32, 64, 128, 256]) {
    const device = await open('real');
    const seen = watch(device);
    time(seen, (size) => (size === fastest ? 2.5 : 3));
    const optimizer = await make(device, params);
    seen.dispatch.mockClear();
    for (let t = 0; t < 2; t++) optimizer.step(grads);
    expect(seen.size()).toBe(fastest);
    expect(seen.dispatch.mock.calls[0]).toEqual([Math.ceil((LARGE + 64) / 4 / fastest), 1]);
    results.push(await optimizer.read('w'));
    vi.restoreAllMocks();
    device.destroy();
  }
  expect(difference(results[0], params.w)).toBeDefined();
  for (const result of results) expect(difference(result, results[0])).toBeUndefined();
});

test('by the GPU’s own clock, where it goes', async () => {
  for (const [goes, chosen] of [
    [true, 128],
    [false, 32],
  ] as const) {
    const device = await open('null', unknown(), ['timestamp-query']);
    const seen = watch(device);
    time(seen, (size) => (size === 32 ? 2.5 : 3));
    const buffers = Object.getPrototypeOf(device.createBuffer({ size: 4, usage: 8 })) as GPUBuffer;
    vi.spyOn(buffers, 'getMappedRange').mockImplementation(() => {
      const ticks = seen.size() === 128 ? 2_000_000n : 3_000_000n;
      return new BigUint64Array([5n, goes ? 5n + ticks : 5n]).buffer;
    });
    const optimizer = await make(device);
    optimizer.step(large);
    expect(seen.size()).toBe(chosen);
    vi.restoreAllMocks();
    optimizer.dispose();
  }
});

describe('is 64 unmeasured', () => {
  test('for few parameters', async () => {
    const device = await open('null');
    const seen = watch(device);
    await make(device, { w: new Float32Array(LARGE - 1) });
    expect(seen.wait).not.toHaveBeenCalled();
    expect(seen.compile).toHaveBeenCalledTimes(2);
  });

  test.each([
    ['where no other is better by more than noise', (size: number) => (size === 64 ? 3 : 2.9), 10],
    ['where a run takes too long, as it does in software', () => 11, 2],
    ['where the clock stands still', () => 0, 12],
  ])('%s', async (_, milliseconds, runs) => {
    const device = await open('null');
    const seen = watch(device);
    time(seen, milliseconds);
    (await make(device)).step(large);
    expect([seen.size(), seen.wait.mock.calls.length]).toEqual([64, runs]);
  });

  test('where the device gives no memory for it, or no answer, and the optimizer is made all the same', async () => {
    const device = await open('null');
    vi.spyOn(device, 'popErrorScope').mockResolvedValueOnce({ message: 'no memory' });
    const seen = watch(device);
    (await make(device)).step(large);
    expect([seen.size(), seen.wait.mock.calls.length]).toEqual([64, 0]);
    const mute = await open('null');
    const { wait, size } = watch(mute);
    wait.mockRejectedValueOnce(new Error('no answer'));
    (await make(mute)).step(large);
    expect(size()).toBe(64);
  });
});

test('once for each adapter, whoever else waits for it; where it has no name, once for each device', async () => {
  const adapter = unknown();
  const devices = await Promise.all([adapter, adapter, adapter, {}, {}].map((each) => open('null', each)));
  const waits = devices.map((device) => watch(device).wait);
  const isMeasured = (): boolean[] => waits.map((wait) => wait.mock.calls.length > 0);
  await Promise.all(devices.slice(0, 2).map((device) => make(device)));
  await adam(large, { backend: 'webgpu', device: devices[2] });
  expect(isMeasured()).toEqual([true, false, false, false, false]);
  await make(devices[3]);
  await make(devices[4]);
  expect(isMeasured()).toEqual([true, false, false, true, true]);
  for (const wait of waits) wait.mockClear();
  for (const device of devices) await make(device);
  expect(isMeasured()).toEqual([false, false, false, false, false]);
});

test('on memory that is let go of before the optimizer has its own, and is less than that', async () => {
  const device = await open('null');
  const createBuffer = device.createBuffer.bind(device);
  let [bytes, most, measuring] = [0, 0, 0];
  vi.spyOn(device, 'createBuffer').mockImplementation((descriptor) => {
    const buffer = createBuffer(descriptor);
    most = Math.max(most, (bytes += descriptor.size));
    if (descriptor.label === 'twinstep tune') measuring = bytes;
    const destroy = buffer.destroy.bind(buffer);
    buffer.destroy = () => {
      bytes -= descriptor.size;
      destroy();
    };
    return buffer;
  });
  await make(device);
  expect(measuring).toBeGreaterThan(0);
  expect([bytes, most]).toEqual([12 * LARGE, 12 * LARGE]);
});
