// Tests gradScaler: its options, its state, and checkpoints with it. Steps with it, and wgsl/scaler.wgsl, have tests of
// their own.

import { adamw, gradScaler, type Optimizer } from 'twinstep';
import {
  checkpointStream,
  decodeCheckpoint,
  encodeCheckpoint,
  loadCheckpoint,
  saveCheckpoint,
} from 'twinstep/checkpoint';
import * as sync from 'twinstep/sync';
import * as gpu from 'twinstep/webgpu';
import { describe, expect, test } from 'vitest';
import { openDevice } from '../tools/dawn.js';
import { streamOf, withMetadata } from './support/checkpoints.js';
import { any, contents, device } from './support/gpu.js';

const make = (): Promise<Optimizer<Float32Array>> => adamw({ w: Float32Array.of(1, -2, 3) }, { lr: 0.1 });

const dictOf = (scale: number, tracker = 0, growth = 2, backoff = 0.5, interval = 2000) => ({
  scale,
  growth_factor: growth,
  backoff_factor: backoff,
  growth_interval: interval,
  _growth_tracker: tracker,
});

test('every entry with optimizers has the same gradScaler', () => {
  expect(sync.gradScaler).toBe(gradScaler);
  expect(gpu.gradScaler).toBe(gradScaler);
});

test('is made at once, with the defaults of PyTorch', async () => {
  const scaler = gradScaler();
  expect(scaler.scale).toBe(65536);
  expect(await scaler.read()).toEqual({ scale: 65536, growthTracker: 0, skipped: 0 });
  expect(await scaler.stateDict()).toEqual(dictOf(65536));
  expect(await gradScaler({ initScale: undefined, device: undefined }).stateDict()).toEqual(dictOf(65536));
  expect(gradScaler({ initScale: 0.1 }).scale).toBe(Math.fround(0.1));
});

const scales = 'Expected initScale to be a number from 2^-126 to 2^126, got ';
test.each<[unknown, string]>([
  [null, 'Expected the options of gradScaler to be a record, got null.'],
  [{ initscale: 8 }, 'Did you mean initScale?'],
  [{ initScale: 0 }, `${scales}0.`],
  [{ initScale: -1 }, `${scales}-1.`],
  [{ initScale: NaN }, `${scales}NaN.`],
  [{ initScale: Infinity }, `${scales}Infinity.`],
  [{ initScale: 2 ** 127 }, `${scales}1.7014118346046923e+38.`],
  [{ initScale: 1e-40 }, `${scales}1e-40.`],
  [{ initScale: '8' }, `${scales}"8".`],
  [{ growthFactor: 1 }, 'Expected growthFactor to be a finite number greater than 1, got 1.'],
  [{ growthFactor: Infinity }, 'Expected growthFactor to be a finite number greater than 1, got Infinity.'],
  [{ backoffFactor: 1 }, 'Expected backoffFactor to be a number greater than 0 and less than 1, got 1.'],
  [{ backoffFactor: 0 }, 'Expected backoffFactor to be a number greater than 0 and less than 1, got 0.'],
  [{ growthInterval: 0 }, 'Expected growthInterval to be a whole number from 1 to 4294967295, got 0.'],
  [{ growthInterval: 1.5 }, 'Expected growthInterval to be a whole number from 1 to 4294967295, got 1.5.'],
  [{ growthInterval: 2 ** 32 }, 'Expected growthInterval to be a whole number from 1 to 4294967295, got 4294967296.'],
  [{ optimizers: 0 }, 'Expected optimizers to be a whole number of at least 1, got 0.'],
  [{ device: {} }, 'Expected device to be a GPUDevice, got an Object.'],
])('refuses the options %o', (options, message) => {
  expect(() => gradScaler(any(options))).toThrow(message);
});

test('without the option device, there is no buffer before the first step', () => {
  const message = 'The scale is on no GPU before the first step: pass the option device to gradScaler().';
  expect(() => gradScaler().buffer).toThrow(new TypeError(message));
});

test('with the option device, a buffer has the scale before the first step', async () => {
  const scaler = gradScaler({ device, initScale: 0.1 });
  const { buffer, offset, size } = scaler.buffer;
  expect([offset, size, Object.isFrozen(scaler.buffer)]).toEqual([0, 4, true]);
  expect(scaler.buffer).toBe(scaler.buffer);
  const { STORAGE, UNIFORM, COPY_SRC, COPY_DST } = { STORAGE: 0x80, UNIFORM: 0x40, COPY_SRC: 4, COPY_DST: 8 };
  expect(buffer.usage).toBe(STORAGE | UNIFORM | COPY_SRC | COPY_DST);
  expect((await contents(buffer as GPUBuffer))[0]).toBe(Math.fround(0.1));
  expect(() => scaler.scale).toThrow(
    new TypeError('The scale is on a GPU: bind scaler.buffer in your kernel of the loss, or await scaler.read().'),
  );
  expect(await scaler.read()).toEqual({ scale: Math.fround(0.1), growthTracker: 0, skipped: 0 });
});

describe.each([
  ['the CPU', {}],
  ['a GPU', { device }],
])('the state dict on %s', (_, place) => {
  test('is that of PyTorch, and loads', async () => {
    const dict = dictOf(24, 3, 1.5, 0.7, 5);
    const scaler = gradScaler(place);
    await scaler.loadStateDict(dict);
    expect(await scaler.stateDict()).toEqual(dict);
    expect(await scaler.read()).toEqual({ scale: 24, growthTracker: 3, skipped: 0 });
    expect(Object.keys(await scaler.stateDict())).toEqual(Object.keys(dict));
  });

  const wrong = 'of the state dict of a scaler to be';
  test.each<[string, unknown, string]>([
    ['nothing', undefined, 'Expected the state dict of a scaler to be a record, got undefined.'],
    ['that of a disabled GradScaler', {}, `Expected scale ${wrong} a number from 2^-126 to 2^126, got undefined.`],
    ['a scale of 0', dictOf(0), `Expected scale ${wrong} a number from 2^-126 to 2^126, got 0.`],
    ['a growth of 1', dictOf(8, 0, 1), `Expected growth_factor ${wrong} a finite number greater than 1, got 1.`],
    [
      'a backoff of 2',
      dictOf(8, 0, 2, 2),
      `Expected backoff_factor ${wrong} a number greater than 0 and less than 1, got 2.`,
    ],
    [
      'an interval of 0',
      dictOf(8, 0, 2, 0.5, 0),
      `Expected growth_interval ${wrong} a whole number from 1 to 4294967295, got 0.`,
    ],
    [
      'a negative count',
      dictOf(8, -1),
      `Expected _growth_tracker ${wrong} a whole number from 0 to 4294967295, got -1.`,
    ],
    [
      'another key',
      { ...dictOf(8), step: 3 },
      'Unknown key "step"; the state dict of a scaler has "scale", "growth_factor",',
    ],
  ])('is refused, and nothing changes: %s', async (...[, dict, message]) => {
    const scaler = gradScaler({ ...place, initScale: 16 });
    await expect(scaler.loadStateDict(any(dict))).rejects.toThrow(message);
    expect(await scaler.stateDict()).toEqual(dictOf(16));
  });

  test('does not share the record with its caller', async () => {
    const [scaler, dict] = [gradScaler(place), dictOf(8)];
    await scaler.loadStateDict(dict);
    dict.scale = 3;
    (await scaler.stateDict()).scale = 4;
    expect((await scaler.stateDict()).scale).toBe(8);
  });
});

describe('dispose()', () => {
  test.each([
    ['on the CPU', {}],
    ['on a GPU', { device }],
  ])('%s: everything else throws, and a second call does nothing', async (_, place) => {
    const scaler = gradScaler(place);
    const dict = await scaler.stateDict();
    scaler.dispose();
    scaler.dispose();
    const disposed = new Error('This scaler has been disposed of.');
    expect(() => scaler.scale).toThrow(disposed);
    expect(() => scaler.buffer).toThrow(disposed);
    for (const call of [() => scaler.read(), () => scaler.stateDict(), () => scaler.loadStateDict(dict)]) {
      await expect(call()).rejects.toThrow(disposed);
    }
  });

  test('frees the buffer', async () => {
    const scaler = gradScaler({ device });
    const { buffer } = scaler.buffer;
    scaler.dispose();
    device.pushErrorScope('validation');
    const encoder = device.createCommandEncoder();
    encoder.clearBuffer(buffer as GPUBuffer);
    device.queue.submit([encoder.finish()]);
    expect((await device.popErrorScope())?.message).toContain('destroyed');
  });
});

test('on a lost device, what reads or writes it rejects with the reason', async () => {
  const other = await openDevice();
  if (typeof other === 'string') throw new Error(other);
  const scaler = gradScaler({ device: other.device });
  const dict = await scaler.stateDict();
  other.device.destroy();
  await other.device.lost;
  for (const call of [() => scaler.read(), () => scaler.stateDict(), () => scaler.loadStateDict(dict)]) {
    await expect(call()).rejects.toThrow(/^The GPU device was lost: /);
  }
});

describe.each([
  ['on the CPU', {}],
  ['on a GPU', { device }],
])('a checkpoint with a scaler %s', (_, place) => {
  const dict = dictOf(24, 3, 1.5, 0.7, 5);
  const begun = async () => {
    const [optimizer, scaler] = [await make(), gradScaler(place)];
    optimizer.step({ w: Float32Array.of(1, 2, 3) });
    await scaler.loadStateDict(dict);
    return { optimizer, scaler };
  };
  const streamed = async (stream: ReadableStream<Uint8Array>): Promise<Uint8Array> =>
    new Uint8Array(await new Response(stream).arrayBuffer());

  test('loads it again: from bytes, from a stream, and decoded', async () => {
    const { optimizer, scaler } = await begun();
    const bytes = await saveCheckpoint(optimizer, { scaler, metadata: { epoch: 3 } });
    expect(await streamed(checkpointStream(optimizer, { scaler, metadata: { epoch: 3 } }))).toEqual(bytes);
    const decoded = decodeCheckpoint(bytes);
    expect(decoded.scaler).toEqual(dict);
    expect(encodeCheckpoint(decoded)).toEqual(bytes);
    for (const source of [bytes, streamOf([bytes])]) {
      const [other, resumed] = [await make(), gradScaler(place)];
      expect(await loadCheckpoint(other, source, { scaler: resumed })).toEqual({ epoch: 3 });
      expect(await resumed.stateDict()).toEqual(dict);
      expect(other.params).toEqual(optimizer.params);
    }
  });

  test('has the state at the call', async () => {
    const { optimizer, scaler } = await begun();
    const saving = [saveCheckpoint(optimizer, { scaler }), streamed(checkpointStream(optimizer, { scaler }))];
    const loading = scaler.loadStateDict(dictOf(8));
    for (const saved of saving) expect(decodeCheckpoint(await saved).scaler).toEqual(dict);
    await loading;
  });

  test('loads without the scaler', async () => {
    const { optimizer, scaler } = await begun();
    const other = await make();
    await loadCheckpoint(other, await saveCheckpoint(optimizer, { scaler }));
    expect(other.params).toEqual(optimizer.params);
  });

  test('refuses a file without the state of one, except with strict: false, which changes no scaler', async () => {
    const { optimizer } = await begun();
    const bytes = await saveCheckpoint(optimizer);
    expect(decodeCheckpoint(bytes).scaler).toBeUndefined();
    for (const source of [() => bytes, () => streamOf([bytes])]) {
      const [other, scaler] = [await make(), gradScaler(place)];
      await expect(loadCheckpoint(other, source(), { scaler })).rejects.toThrow(
        'The checkpoint has no state of a scaler: it was saved without the option scaler. Load it without it, too.',
      );
      expect(other.params.w).toEqual(Float32Array.of(1, -2, 3));
      await loadCheckpoint(other, source(), { scaler, strict: false });
      expect(other.params).toEqual(optimizer.params);
      expect(await scaler.stateDict()).toEqual(dictOf(65536));
    }
  });

  test.each<[string, string]>([
    ['x', 'Expected the state dict of a scaler to be JSON, got "x" at character 0.'],
    ['{"scale":0}', 'Expected scale of the state dict of a scaler to be a number from 2^-126 to 2^126, got 0.'],
    ['[]', 'Expected the state dict of a scaler to be a record, got [].'],
  ])('refuses a damaged state: %s', async (json, message) => {
    const { optimizer, scaler } = await begun();
    const bytes = withMetadata(await saveCheckpoint(optimizer, { scaler }), { scaler: json });
    const other = await make();
    expect(() => decodeCheckpoint(bytes)).toThrow(message);
    for (const source of [bytes, streamOf([bytes])]) {
      await expect(loadCheckpoint(other, source, { scaler })).rejects.toThrow(message);
    }
    expect(other.params.w).toEqual(Float32Array.of(1, -2, 3));
    expect(await scaler.stateDict()).toEqual(dict);
  });

  test('refuses what is not a scaler, and a scaler that has been disposed of', async () => {
    const { optimizer, scaler } = await begun();
    const bytes = await saveCheckpoint(optimizer);
    const stateDict = await optimizer.stateDict();
    const { params } = decodeCheckpoint(bytes);
    scaler.dispose();
    for (const [given, message] of [
      [{ stateDict: () => dict }, 'Expected scaler to be one that gradScaler() made, got an Object.'],
      [scaler, 'This scaler has been disposed of.'],
    ] as const) {
      const options = any({ scaler: given });
      await expect(saveCheckpoint(optimizer, options)).rejects.toThrow(message);
      expect(() => checkpointStream(optimizer, options)).toThrow(message);
      await expect(loadCheckpoint(optimizer, bytes, options)).rejects.toThrow(message);
    }
    expect(() => encodeCheckpoint(any({ params, stateDict, scaler: {} }))).toThrow(
      'Expected scale of the state dict of',
    );
  });
});
