// Tests the bias corrections that WGSL computes by integers: wgsl/corrections.wgsl and the table of powersOf().

import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { POWERS, powersOf } from '../src/backends/webgpu/powers.js';
import { COPY_DST, COPY_SRC, device, STORAGE } from './support/gpu.js';
import { random } from './support/numbers.js';
import { CORRECTION_ULPS } from './support/tolerances.js';

const betas = [0, 0.5, 0.8, 0.9, 0.99, 0.999, 0.9999, 0.999999, 0.9999999, 1e-5, 1 - 2 ** -40, 1 - 2 ** -53];
const steps = [1, 2, 3, 10, 63, 64, 1e3, 1e6, 1e9, 2 ** 31 - 2, 2 ** 31];
const draw = random(1);
for (let k = 0; k < 20; k++) steps.push(Math.floor(2 ** (31 * draw())));
const forms = ['1', 'sqrt(c2)/c1', 'sqrt(c2)', 'sqrt(c2)/c1 of the next step', 'c2', 'flush_below'];

/** Fractions of 1 as multiples of 2^-BITS. */
const BITS = 256n;
const ONE = 1n << BITS;
const asNumber = (fixed: bigint): number => Number(fixed) / 2 ** Number(BITS);

/** Returns beta^t, by squaring. */
function exactPower(beta: number, t: number): bigint {
  let [result, factor] = [ONE, BigInt(Math.round(beta * 2 ** 200)) << (BITS - 200n)];
  for (let rest = BigInt(t); rest > 0n; rest >>= 1n) {
    if (rest & 1n) result = (result * factor) >> BITS;
    factor = (factor * factor) >> BITS;
  }
  return result;
}

function exactRoot(fixed: bigint): bigint {
  const square = fixed << BITS;
  // Newton's method from above.
  for (let guess = ONE << 1n; ;) {
    const next = (guess + square / guess) >> 1n;
    if (next >= guess) return guess;
    guess = next;
  }
}

/** Returns the factor, rounded to f64 once. */
function exactFactor(form: number, t: number, beta1: number, beta2: number): number {
  if (form === 0) return 1;
  if (form === 5) return t % 64 === 0 ? 2 ** -126 : 0;
  const correction2 = ONE - exactPower(beta2, t);
  if (form === 4) return asNumber(correction2);
  const root = exactRoot(correction2);
  if (form === 2) return asNumber(root);
  return asNumber((root << BITS) / (ONE - exactPower(beta1, form === 3 ? t + 1 : t)));
}

interface Case {
  form: number;
  t: number;
  beta1: number;
  beta2: number;
}

/** Runs factor() for each case, and power() for its beta1, in one dispatch. */
async function onGpu(cases: readonly Case[]): Promise<{ factor: number; power: bigint }[]> {
  const read = (file: string): string => readFileSync(new URL(`../wgsl/${file}`, import.meta.url), 'utf8');
  const kernel = `
    @group(0) @binding(0) var<storage, read> powers: array<vec2u>;
    @group(0) @binding(1) var<storage, read_write> cases: array<vec4u>;
    @compute @workgroup_size(WORKGROUP)
    fn run(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) workgroups: vec3u) {
      let k = element(id, workgroups);
      if (k >= arrayLength(&cases)) { return; }
      let given = cases[k];
      let found = factor(given.x, given.y, given.z, given.w);
      cases[k] = vec4u(bitcast<u32>(found), power(given.z, given.y), 0u);
    }`;
  const code = [...['scalar.wgsl', 'prelude.wgsl', 'corrections.wgsl'].map(read), kernel].join('\n');
  const module = device.createShaderModule({ code });
  const pipeline = await device.createComputePipelineAsync({ layout: 'auto', compute: { module, entryPoint: 'run' } });

  const table = betas.flatMap((beta) => [...powersOf(beta)]);
  const at = (beta: number): number => POWERS * betas.indexOf(beta);
  const rows = cases.flatMap(({ form, t, beta1, beta2 }) => [form, t, at(beta1), at(beta2)]);
  const buffers = [table, rows].map((values) => {
    const made = device.createBuffer({ size: 4 * values.length, usage: STORAGE | COPY_SRC | COPY_DST });
    device.queue.writeBuffer(made, 0, new Uint32Array(values));
    return made;
  });
  const staging = device.createBuffer({ size: 4 * rows.length, usage: COPY_DST | 0x1 });
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  const entries = buffers.map((buffer, binding) => ({ binding, resource: { buffer } }));
  pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }));
  pass.dispatchWorkgroups(Math.ceil(cases.length / 64));
  pass.end();
  encoder.copyBufferToBuffer(buffers[1], 0, staging, 0, staging.size);
  device.queue.submit([encoder.finish()]);
  await staging.mapAsync(0x1);
  const view = new DataView(staging.getMappedRange().slice(0));
  for (const each of [...buffers, staging]) each.destroy();
  return cases.map((_, k) => ({
    factor: view.getFloat32(16 * k, true),
    power: view.getBigUint64(16 * k + 4, true),
  }));
}

/** The bound of power()'s error, in units of 2^-65. */
function powerError(beta: number, t: number): number {
  const factors = t.toString(2).replaceAll('0', '').length;
  const hasExact = t % 2 === 1 && beta >= 2 ** -11;
  // One for each factor, except that beta^1 is exact, and one for each product.
  return factors - (hasExact ? 1 : 0) + factors - 1;
}

/** The same relative to the correction 1 - beta^t, in ULP of f32. */
const correctionError = (beta: number, t: number): number =>
  (powerError(beta, t) * 2 ** -65 * 2 ** 24) / asNumber(ONE - exactPower(beta, t));

const ulp = (value: number): number => 2 ** (Math.floor(Math.log2(value)) - 23);

const cases = steps.flatMap((t) =>
  betas.flatMap((beta1) => betas.flatMap((beta2) => forms.map((_, form) => ({ form, t, beta1, beta2 })))),
);
const results = await onGpu(cases);

test.each([...forms.entries()])('form %i, %s, is within CORRECTION_ULPS of the exact value', (form) => {
  for (const [k, each] of cases.entries()) {
    if (each.form !== form) continue;
    const { t, beta1, beta2 } = each;
    const expected = exactFactor(form, t, beta1, beta2);
    const actual = results[k].factor;
    if (form === 0 || form === 5) {
      expect(actual).toBe(expected);
      continue;
    }
    let bound = CORRECTION_ULPS + correctionError(beta2, t);
    if (form === 1) bound += correctionError(beta1, t);
    if (form === 3) bound += correctionError(beta1, t + 1);
    const error = Math.abs(actual - expected) / ulp(expected);
    if (!(error <= bound)) expect.fail(`${JSON.stringify(each)} is ${actual}, not ${expected}: ${error} ULP off`);
  }
});

test('powers are as exact as rounded factors and products allow', async () => {
  const each = betas.flatMap((beta1) =>
    Array.from({ length: 200 }, (_, k) => ({ form: 0, t: k + 1, beta1, beta2: beta1 })),
  );
  for (const [k, { power }] of (await onGpu(each)).entries()) {
    const { beta1, t } = each[k];
    const error = Number((power << (BITS - 64n)) - exactPower(beta1, t)) / 2 ** Number(BITS - 65n);
    if (!(Math.abs(error) <= powerError(beta1, t))) expect.fail(`${beta1}^${t} is off by ${error} * 2^-65`);
  }
});

test.each([...betas, 1e-300, 2 ** -11])('powersOf(%f) has the nearest fractions', (beta) => {
  const pairs = powersOf(beta);
  expect(pairs).toHaveLength(2 * POWERS);
  for (let k = 0; k < POWERS; k++) {
    const pair = (BigInt(pairs[2 * k + 1]) << 32n) | BigInt(pairs[2 * k]);
    const half = 1n << (BITS - 65n);
    expect(pair, `the power 2^${k}`).toBe((exactPower(beta, 2 ** k) + half) >> (BITS - 64n));
  }
});
