// Tests steps with a gradient scaler: what they skip, and when the scale is updated.

import { adamw, gradScaler, type GradScaler, type Optimizer } from 'twinstep';
import { checkpointStream, loadCheckpoint, saveCheckpoint } from 'twinstep/checkpoint';
import { describe, expect, test } from 'vitest';
import { openDevice } from '../tools/dawn.js';
import { backends, type Options } from './support/backends.js';
import { adapter, any, buffer, contents, COPY_SRC, device, STORAGE } from './support/gpu.js';
import { largest } from './support/numbers.js';
import { ROUNDING, SKIPPABLE_ROUNDINGS, webgpuRoundings } from './support/tolerances.js';

const make = (options: Options = {}): Promise<Optimizer<Float32Array>> =>
  adamw({ w: Float32Array.of(1, -2, 3) }, { lr: 0.1, ...options }) as Promise<Optimizer<Float32Array>>;

/** Steps with gradients of 0.5 times the scale, or with an infinity among them. */
async function step(optimizer: Optimizer<Float32Array>, scaler: GradScaler, found = false): Promise<void> {
  const { scale } = await scaler.read();
  const w = new Float32Array(3).fill(0.5 * scale);
  if (found) w[1] = -Infinity;
  optimizer.step({ w }, { scaler });
}

/** Returns the number of steps that were taken. */
async function taken(optimizer: Optimizer<Float32Array>): Promise<number> {
  await optimizer.skippedSteps();
  return optimizer.stepOf('w');
}

/** Compares the parameter after `steps` that could be skipped with the one after steps that could not. */
async function expectNear(optimizer: Optimizer<Float32Array>, expected: Float32Array, steps: number): Promise<void> {
  const actual = await optimizer.read('w');
  if (optimizer.device === undefined) return expect(actual).toEqual(expected);
  const roundings = SKIPPABLE_ROUNDINGS * steps + webgpuRoundings(adapter, steps);
  expect(largest(actual.map((x, i) => x - expected[i]))).toBeLessThanOrEqual(roundings * ROUNDING * largest(expected));
}

const scaleOf = async (scaler: GradScaler): Promise<number> => (await scaler.read()).scale;

describe.each(backends)('on %s', (...[, backend]) => {
  test('the scale follows the published sequence, and a step with an overflow changes nothing', async () => {
    const [optimizer, plain] = [await make(backend), await make(backend)];
    const scaler = gradScaler({ initScale: 8, growthInterval: 2 });
    const read: number[] = [];
    for (const found of [false, false, false, true, false, false, true, true, false]) {
      const before = await optimizer.read('w');
      await step(optimizer, scaler, found);
      if (found) expect(await optimizer.read('w')).toEqual(before);
      else plain.step({ w: new Float32Array(3).fill(0.5) });
      read.push(await scaleOf(scaler));
    }
    expect(read).toEqual([8, 16, 16, 8, 8, 16, 8, 4, 4]);
    expect(await scaler.read()).toEqual({ scale: 4, growthTracker: 1, skipped: 3 });
    expect([await taken(optimizer), await optimizer.skippedSteps()]).toEqual([6, 3]);
    await expectNear(optimizer, await plain.read('w'), 6);
  });

  test('several optimizers have the same scale; an overflow skips only the steps that found it', async () => {
    const [a, b, c] = [await make(backend), await make(backend), await make(backend)];
    const scaler = gradScaler({ initScale: 8, growthInterval: 1, optimizers: 3 });
    for (const [optimizer, found] of [
      [a, false],
      [b, true],
      [c, false],
    ] as const) {
      expect(await scaleOf(scaler)).toBe(8);
      await step(optimizer, scaler, found);
    }
    expect(await Promise.all([a, b, c].map(taken))).toEqual([1, 0, 1]);
    expect(await scaler.read()).toEqual({ scale: 4, growthTracker: 0, skipped: 1 });
    // In any order.
    for (const optimizer of [c, a, b]) await step(optimizer, scaler);
    expect(await scaler.read()).toEqual({ scale: 8, growthTracker: 0, skipped: 1 });
  });

  test('the same optimizer cannot step twice with a scale that others have yet to step with', async () => {
    const [a, b] = [await make(backend), await make(backend)];
    const scaler = gradScaler({ initScale: 8, optimizers: 2 });
    await step(a, scaler);
    const before = await a.stateDict();
    await expect(step(a, scaler)).rejects.toThrow(
      'This optimizer has already stepped with this scale; 1 of the 2 optimizers of the scaler must step first.',
    );
    expect(await a.stateDict()).toEqual(before);
    await step(b, scaler);
    await step(a, scaler);
    expect(await taken(a)).toBe(2);
  });

  test('a step that is refused is not counted by the scaler', async () => {
    const optimizer = await make(backend);
    const scaler = gradScaler({ initScale: 8, growthInterval: 1 });
    expect(() => optimizer.step({ w: new Float32Array(2) }, { scaler })).toThrow('w');
    expect(await scaler.read()).toEqual({ scale: 8, growthTracker: 0, skipped: 0 });
  });

  test.each([
    ['grows to 2^126 and not above', 2 ** 125, false, [2 ** 126, 2 ** 126]],
    ['shrinks to 2^-126 and not below', 2 ** -125, true, [2 ** -126, 2 ** -126]],
  ])('the scale %s', async (...[, initScale, found, expected]) => {
    const [optimizer, scaler] = [await make(backend), gradScaler({ initScale, growthInterval: 1 })];
    const read: number[] = [];
    while (read.length < expected.length) {
      await step(optimizer, scaler, found);
      read.push(await scaleOf(scaler));
    }
    expect(read).toEqual(expected);
  });

  test('accumulated batches have the same scale', async () => {
    const [optimizer, plain] = [await make(backend), await make(backend)];
    const scaler = gradScaler({ initScale: 4, growthInterval: 1 });
    for (const value of [1, 2]) {
      optimizer.accumulate({ w: new Float32Array(3).fill(value * 4) });
      plain.accumulate({ w: new Float32Array(3).fill(value) });
    }
    optimizer.step(optimizer.grads, { scaler });
    plain.step();
    await expectNear(optimizer, await plain.read('w'), 1);
    expect(await scaleOf(scaler)).toBe(8);
  });

  test('between the steps of several optimizers the state is neither saved nor loaded', async () => {
    const [a, b] = [await make(backend), await make(backend)];
    const scaler = gradScaler({ initScale: 8, optimizers: 2 });
    const dict = await scaler.stateDict();
    await step(a, scaler);
    const which = '1 of its 2 optimizers have stepped since the latest one.';
    await expect(scaler.stateDict()).rejects.toThrow(
      `A scaler can be saved only between updates of the scale, but ${which}`,
    );
    await expect(scaler.loadStateDict(dict)).rejects.toThrow(
      `A scaler can be loaded only between updates of the scale, but ${which}`,
    );
    expect(await scaler.read()).toEqual({ scale: 8, growthTracker: 0, skipped: 0 });
    await step(b, scaler);
    expect(await scaler.stateDict()).toEqual({ ...dict, _growth_tracker: 1 });
  });

  test('a scaler that resumes from a state dict goes on as the one that was saved', async () => {
    const optimizer = await make(backend);
    const [saved, resumed] = [gradScaler({ initScale: 8, growthInterval: 3, growthFactor: 3 }), gradScaler()];
    for (let t = 0; t < 2; t++) await step(optimizer, saved);
    await resumed.loadStateDict(await saved.stateDict());
    for (const scaler of [saved, resumed]) {
      await step(optimizer, scaler);
      expect(await scaleOf(scaler)).toBe(24);
    }
  });

  test('a checkpoint between the steps of several optimizers is refused', async () => {
    const [optimizer, scaler] = [await make(backend), gradScaler({ optimizers: 2 })];
    const bytes = await saveCheckpoint(optimizer, { scaler });
    await step(optimizer, scaler);
    const message = 'only between updates of the scale, but 1 of its 2 optimizers have stepped since the latest one.';
    await expect(saveCheckpoint(optimizer, { scaler })).rejects.toThrow(message);
    await optimizer.skippedSteps();
    await expect(new Response(checkpointStream(optimizer, { scaler })).arrayBuffer()).rejects.toThrow(message);
    const before = await optimizer.read('w');
    await expect(loadCheckpoint(optimizer, bytes, { scaler })).rejects.toThrow(message);
    expect(await optimizer.read('w')).toEqual(before);
  });
});

test('on the GPU, a caller binds the scale from the first step on, and each update changes it in place', async () => {
  const optimizer = await make({ backend: 'webgpu', device });
  const scaler = gradScaler({ device, initScale: 8, growthInterval: 1 });
  const binding = scaler.buffer;
  const code = `
    @group(0) @binding(0) var<uniform> scale: f32;
    @group(0) @binding(1) var<storage, read_write> grads: array<f32>;
    @compute @workgroup_size(3) fn backward(@builtin(local_invocation_index) i: u32) { grads[i] = scale * 0.5; }`;
  const module = device.createShaderModule({ code });
  const pipeline = device.createComputePipeline({ layout: 'auto', compute: { module } });
  const w = buffer(new Float32Array(3), STORAGE | COPY_SRC);
  const entries = [
    { binding: 0, resource: binding },
    { binding: 1, resource: { buffer: w } },
  ];
  const group = device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
  const encoder = device.createCommandEncoder();
  for (let t = 0; t < 3; t++) {
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(1);
    pass.end();
    optimizer.encode(encoder, { w }, { scaler });
  }
  device.queue.submit([encoder.finish()]);
  expect([...(await contents(w))]).toEqual([16, 16, 16]);
  expect(await scaleOf(scaler)).toBe(64);
  expect(scaler.buffer).toBe(binding);
  const plain = await make({ backend: 'wasm' });
  for (let t = 0; t < 3; t++) plain.step({ w: new Float32Array(3).fill(0.5) });
  await expectNear(optimizer, plain.params.w, 3);
});

describe('the place of a scaler', () => {
  const bufferSentence = 'The scale is on no GPU before the first step: pass the option device to gradScaler().';

  test('is the CPU after a step there', async () => {
    const scaler = gradScaler();
    expect(() => scaler.buffer).toThrow(new TypeError(bufferSentence));
    await step(await make(), scaler);
    expect(() => scaler.buffer).toThrow(new TypeError('The scale is on the CPU: use the number scaler.scale.'));
  });

  test('an optimizer elsewhere is refused, and nothing changes', async () => {
    const [optimizer, onGpu] = [
      await make(),
      await adamw({ w: Float32Array.of(1, -2, 3) }, { device, backend: 'webgpu' }),
    ];
    const grads = { w: new Float32Array(3) };
    const [scaler, gpuScaler] = [gradScaler(), gradScaler({ device })];
    await step(optimizer, scaler);
    expect(() => onGpu.step(grads, { scaler })).toThrow(
      new TypeError('The optimizer is on a GPU device and the scaler on the CPU: make a scaler for this optimizer.'),
    );
    expect(() => optimizer.step(grads, { scaler: gpuScaler })).toThrow(
      new TypeError('The optimizer is on the CPU and the scaler on a GPU device: make a scaler for this optimizer.'),
    );
    expect([optimizer.completedSteps, onGpu.completedSteps]).toEqual([1, 0]);
    const other = await openDevice();
    if (typeof other === 'string') throw new Error(other);
    const elsewhere = gradScaler({ device: other.device });
    expect(() => onGpu.step(grads, { scaler: elsewhere })).toThrow(
      new TypeError(
        'The optimizer is on a GPU device and the scaler on another one: make a scaler for this optimizer.',
      ),
    );
    other.device.destroy();
  });

  test('a scaler that has been disposed of is refused', async () => {
    const [optimizer, scaler] = [await make(), gradScaler()];
    scaler.dispose();
    expect(() => optimizer.step({ w: null }, { scaler })).toThrow(new Error('This scaler has been disposed of.'));
  });

  test('what is not a scaler is refused', async () => {
    const optimizer = await make();
    for (const [scaler, shown] of [
      [3, '3'],
      [{}, 'an Object'],
      [optimizer, 'an Optimizer'],
      [null, 'null'],
    ] as const) {
      expect(() => optimizer.step({ w: null }, any({ scaler }))).toThrow(
        new TypeError(`Expected scaler to be one that gradScaler() made, got ${shown}.`),
      );
    }
  });
});
