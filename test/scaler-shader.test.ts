// Tests wgsl/scaler.wgsl on the state of a scaler on a GPU, against the arithmetic of PyTorch's GradScaler: in f64, then
// rounded to f32.

import { readFileSync } from 'node:fs';
import { gradScaler } from 'twinstep';
import { expect, test } from 'vitest';
import { COPY_DST, COPY_SRC, contents, device, STORAGE } from './support/gpu.js';
import { random } from './support/numbers.js';

const { fround } = Math;

const source = readFileSync(new URL('../wgsl/scaler.wgsl', import.meta.url), 'utf8');
const module = device.createShaderModule({
  code: `
    @group(0) @binding(0) var<storage, read_write> scaler: Scaler;
    @group(0) @binding(1) var<storage, read_write> reciprocal: f32;
    override FOUND: bool;
    override IS_LAST: bool;
    ${source}
    @compute @workgroup_size(1) fn update() {
      reciprocal = unscale();
      update_scaler(FOUND, IS_LAST);
    }`,
});
const pipeline = (found: boolean, isLast: boolean): GPUComputePipeline =>
  device.createComputePipeline({
    layout: 'auto',
    compute: { module, constants: { FOUND: Number(found), IS_LAST: Number(isLast) } },
  });
const pipelines = [false, true].map((found) => [false, true].map((isLast) => pipeline(found, isLast)));

const reciprocal = device.createBuffer({ size: 4, usage: STORAGE | COPY_SRC });

/** Updates the state in `buffer`. Copies the scale and the reciprocal of the scale before to `results`, at `at`. */
function update(buffer: GPUBuffer, found: boolean, isLast = true, results?: GPUBuffer, at = 0): void {
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  const chosen = pipelines[Number(found)][Number(isLast)];
  pass.setPipeline(chosen);
  const entries = [buffer, reciprocal].map((each, binding) => ({ binding, resource: { buffer: each } }));
  pass.setBindGroup(0, device.createBindGroup({ layout: chosen.getBindGroupLayout(0), entries }));
  pass.dispatchWorkgroups(1);
  pass.end();
  if (results !== undefined) {
    encoder.copyBufferToBuffer(buffer, 0, results, at, 4);
    encoder.copyBufferToBuffer(reciprocal, 0, results, at + 4, 4);
  }
  device.queue.submit([encoder.finish()]);
}

test('the scale follows the published sequence, and counts what it skipped', async () => {
  const scaler = gradScaler({ device, initScale: 8, growthInterval: 2 });
  const scales: number[] = [];
  for (const found of [false, false, false, true, false, false, true, true, false]) {
    update(scaler.buffer.buffer, found);
    scales.push((await scaler.read()).scale);
  }
  expect(scales).toEqual([8, 16, 16, 8, 8, 16, 8, 4, 4]);
  expect(await scaler.read()).toEqual({ scale: 4, growthTracker: 1, skipped: 3 });
});

test('an overflow of any optimizer in a round counts once, at the end of the round', async () => {
  const scaler = gradScaler({ device, initScale: 8, growthInterval: 1, optimizers: 3 });
  for (const found of [false, true]) update(scaler.buffer.buffer, found, false);
  expect(await scaler.read()).toEqual({ scale: 8, growthTracker: 0, skipped: 0 });
  update(scaler.buffer.buffer, false);
  expect(await scaler.read()).toEqual({ scale: 4, growthTracker: 0, skipped: 1 });
  for (const isLast of [false, false, true]) update(scaler.buffer.buffer, false, isLast);
  expect(await scaler.read()).toEqual({ scale: 8, growthTracker: 0, skipped: 1 });
});

/** Returns a scale and a factor from 0.5 to 1 whose product is so close to a tie of f32 that f64 rounds it to the tie. */
function nearTie(a: number, b: number, above: boolean): [scale: number, factor: number] {
  const digits = 2 ** 23 + Math.floor(a * 2 ** 22) * 2 + 1;
  const top = BigInt(2 ** 23 + Math.floor(b * (digits - 2 ** 23)));
  const tie = (2n * top + 1n) * 2n ** 52n;
  const factor = Number(tie / BigInt(digits) + (above ? 1n : 0n));
  return [digits * 2 ** -10, factor * 2 ** -53];
}

test('the scale and its reciprocal are rounded as in f64, then in f32', async () => {
  const next = random(7);
  const cases = Array.from({ length: 600 }, (_, i): [scale: number, factor: number, found: boolean] => {
    if (i % 3 < 2) {
      const [scale, factor] = nearTie(next(), next(), i % 2 === 0);
      return [scale, i % 3 === 0 ? factor * 2 : factor, i % 3 === 1];
    }
    const scale = fround(2 ** (252 * next() - 126));
    return i % 2 === 0 ? [scale, 1 + 2 ** (40 * next() - 20), false] : [scale, 2 ** (-30 * next() - 2 ** -50), true];
  });
  const ties = cases.filter(([scale, factor]) => {
    const [exact, rounded] = [scale * factor, fround(scale * factor)];
    return Math.abs(exact - rounded) * 2 ** 25 === 2 ** Math.ceil(Math.log2(exact));
  });
  expect(ties.length).toBeGreaterThan(100);

  const scaler = gradScaler({ device });
  const results = device.createBuffer({ size: 8 * cases.length, usage: COPY_DST | COPY_SRC });
  for (const [i, [scale, factor, found]] of cases.entries()) {
    await scaler.loadStateDict({
      scale,
      growth_factor: found ? 2 : factor,
      backoff_factor: found ? factor : 0.5,
      growth_interval: 1,
      _growth_tracker: 0,
    });
    update(scaler.buffer.buffer, found, true, results, 8 * i);
  }
  const got = await contents(results);
  const expected = cases.flatMap(([scale, factor]) => {
    const scaled = fround(scale * factor);
    return [scaled >= 2 ** -126 && scaled <= 2 ** 126 ? scaled : scale, fround(1 / scale)];
  });
  expect([...got]).toEqual(expected);
});

test.each([
  ['grows to 2^126 and not above', 2 ** 125, false, [2 ** 126, 2 ** 126]],
  ['shrinks to 2^-126 and not below', 2 ** -125, true, [2 ** -126, 2 ** -126]],
])('the scale %s', async (_, initScale, found, expected) => {
  const scaler = gradScaler({ device, initScale, growthInterval: 1 });
  const scales: number[] = [];
  for (let k = 0; k < 2; k++) {
    update(scaler.buffer.buffer, found);
    scales.push((await scaler.read()).scale);
  }
  expect(scales).toEqual(expected);
  const { scale } = await scaler.stateDict();
  update(scaler.buffer.buffer, false);
  expect((await contents(reciprocal))[0]).toBe(1 / scale);
});
