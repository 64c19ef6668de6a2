// Tests the sum of squares on the CPU: in WebAssembly, in plain JavaScript, and as norms() uses it.

import { readFileSync, writeFileSync } from 'node:fs';
import { adamw, type Optimizer } from 'twinstep';
import { adamw as syncAdamw } from 'twinstep/sync';
import { describe, expect, test } from 'vitest';
import { squares } from '../src/backends/sums.js';
import { freshFolder } from './support/fresh.js';
import { array, special, type Draw } from './support/numbers.js';

const core = readFileSync(new URL('../dist/core.wasm', import.meta.url));

type Squares = (grad: number, bytes: number, limit: number, isStrict: boolean) => number;
const memory = new WebAssembly.Memory({ initial: 1024 });
const kernel = (await WebAssembly.instantiate(core, { env: { memory } })).instance.exports.squares as Squares;
const AT = 256;

/** The sum by WebAssembly, with zeros up to a multiple of 32 bytes. */
function bySimd(values: Float32Array, limit: number, isStrict: boolean): number {
  const bytes = Math.ceil(values.byteLength / 32) * 32;
  // The numbers around it must not be read.
  new Float32Array(memory.buffer, AT - 32, bytes / 4 + 16).fill(NaN);
  const floats = new Float32Array(memory.buffer, AT, bytes / 4).fill(0);
  floats.set(values);
  return kernel(AT, bytes, limit, isStrict);
}

/** Numbers of all magnitudes of f32: subnormal, and squares that overflow f32. */
const all: Draw = (next) => (next() < 0.5 ? -1 : 1) * 10 ** (next() * 82.4 - 44) * 0.999;
const finite: Draw = (next) => Math.max(-3.4e38, Math.min(all(next), 3.4e38));

/** Returns x in units of 2^-298, that of the squares of subnormal numbers. */
const inUnits = (x: number): bigint => BigInt(x * 2 ** 298);

/** The exact sum of squares, in the same units. */
function exactly(values: Float32Array): bigint {
  // The sums of the squares of the significands, by exponent: below 2^53 until they are moved to the total.
  const sums = new Float64Array(300);
  let total = 0n;
  const take = (exponent: number): void => {
    total += BigInt(sums[exponent]) << BigInt(2 * exponent);
    sums[exponent] = 0;
  };
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  for (const word of words) {
    const exponent = (word >>> 23) & 255;
    const significand = (word & 0x7fffff) + (exponent > 0 ? 0x800000 : 0);
    const shift = Math.max(exponent, 1) - 1;
    sums[shift] += significand * significand;
    if (sums[shift] >= 2 ** 52) take(shift);
  }
  for (const shift of sums.keys()) take(shift);
  return total;
}

const relativeError = (sum: number, exact: bigint): number => {
  const difference = inUnits(sum) - exact;
  return Number(((difference < 0n ? -difference : difference) * 10n ** 20n) / exact) / 1e20;
};

const lengths = [0, 1, 7, 8, 9, 64, 100_000];
const limits = [Infinity, 3e38, 1.5, 1 / 3, 1e-30, 1e-44, 0];

describe.each([
  ['finite numbers of all magnitudes', finite],
  ['zeros, subnormals, infinities and NaN', special],
] as const)('%s', (_, draw) => {
  test.each(lengths)('WASM gives the bits of plain JavaScript: %i numbers', (length) => {
    for (let seed = 0; seed < (length > 1000 ? 2 : 40); seed++) {
      const values = array(length + 20, seed, draw);
      for (const limit of limits) {
        for (const isStrict of [false, true]) {
          const sum = squares(values, 11, 11 + length, limit, isStrict);
          const simd = bySimd(values.subarray(11, 11 + length), limit, isStrict);
          expect(Object.is(simd, sum), `${simd} and ${sum}, limit ${limit}, ${isStrict}, seed ${seed}`).toBe(true);
        }
      }
    }
  });
});

type Sum = (values: Float32Array, limit: number, isStrict: boolean) => number;
const plain: Sum = (values, limit, isStrict) => squares(values, 0, values.length, limit, isStrict);
const both: [string, Sum][] = [
  ['in WASM', bySimd],
  ['in plain JavaScript', plain],
];

test.each([
  ['of all magnitudes', finite] as const,
  ['of one magnitude', (next: () => number) => next() - 0.5] as const,
])('the sum of 1e7 numbers %s is within 1e-12 of the exact one', (_, draw) => {
  const values = array(10_000_000, 5, draw);
  const exact = exactly(values);
  for (const [, sumOf] of both) {
    const sum = sumOf(values, Infinity, false);
    expect(relativeError(sum, exact)).toBeLessThan(1e-12);
    // The same bits again.
    for (const isStrict of [false, true]) expect(sumOf(values, Infinity, isStrict)).toBe(sum);
  }
});

describe.each(both)('%s', (_, sumOf) => {
  const sum = (values: readonly number[], limit = Infinity, isStrict = false): number =>
    sumOf(Float32Array.from(values), limit, isStrict);
  const same = (length: number, value: number): number[] => Array.from({ length }, () => value);

  test('is exact if f64 is', () => {
    expect(sum([])).toBe(0);
    for (let length = 1; length < 40; length++) {
      const values = Array.from({ length }, (__, i) => (i % 2 === 0 ? i + 1 : -i - 1));
      expect(sum(values)).toBe((length * (length + 1) * (2 * length + 1)) / 6);
      const clamped = values.map((x) => Math.max(-9.5, Math.min(x, 9.5)));
      expect(sum(values, 9.5)).toBe(clamped.reduce((total, x) => total + x * x, 0));
    }
  });

  test('neither overflows nor underflows', () => {
    const huge = Math.fround(1e30);
    expect(sum(same(64, huge))).toBe(64 * huge * huge);
    const largest = (2 - 2 ** -23) * 2 ** 127;
    expect(sum(same(64, largest), Infinity, true)).toBe(64 * largest * largest);
    expect(sum(same(64, 2 ** -149))).toBe(2 ** -292);
  });

  test.each([0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 19])('shows an infinity or NaN at index %i', (index) => {
    for (const length of [index + 1, 32]) {
      for (const value of [Infinity, -Infinity, NaN]) {
        const values = same(length, 1);
        values[index] = value;
        const isNaN = Number.isNaN(value);
        expect(sum(values)).toBe(isNaN ? NaN : Infinity);
        expect(sum(values, 2)).toBe(isNaN ? NaN : length + 3);
        for (const limit of [Infinity, 2]) expect(sum(values, limit, true)).toBe(NaN);
      }
    }
  });
});

describe('norms()', () => {
  const lengthsOf = { w1: 1, w63: 63, w100: 100, w50001: 50_001 };
  const make = (seed: number): Record<string, Float32Array> =>
    Object.fromEntries(Object.entries(lengthsOf).map(([name, length], i) => [name, array(length, seed + i, finite)]));
  const params = make(1);
  const grads = make(10);
  const rootsOf = (arrays: Record<string, Float32Array>): number[] =>
    Object.values(arrays).map((values) => Math.sqrt(squares(values, 0, values.length, Infinity, false)));

  test.each<[string, () => Promise<Optimizer<Float32Array>> | Optimizer<Float32Array>]>([
    ['wasm', () => adamw(params, { backend: 'wasm' })],
    ['reference', () => adamw(params, { backend: 'reference' })],
    ['threads', () => adamw(params, { backend: 'wasm', threads: 2 })],
    ['own bytes', () => adamw(params, { backend: 'wasm', wasm: core })],
    ['own module', () => adamw(params, { backend: 'wasm', wasm: new WebAssembly.Module(core) })],
    ['own bytes on threads', () => adamw(params, { backend: 'wasm', wasm: core, threads: 2 })],
    ['twinstep/sync, wasm', () => syncAdamw(params, { backend: 'wasm' })],
    ['twinstep/sync, own bytes', () => syncAdamw(params, { backend: 'wasm', wasm: core })],
    ['twinstep/sync, reference', () => syncAdamw(params, { backend: 'reference' })],
  ])('has the same bits for arrays of the optimizer and of the caller: %s', async (name, create) => {
    const optimizer = await create();
    expect(optimizer.backend.name).toBe(name.includes('reference') ? 'reference' : 'wasm');
    if (name.includes('threads')) expect(optimizer.backend.reason).toContain('on 2 threads');
    for (const [key, values] of Object.entries(grads)) optimizer.grads[key].set(values);
    const [own, passed] = [await optimizer.norms(), await optimizer.norms(grads)];
    for (const found of [own, passed]) {
      expect(Object.values(found).map(({ param }) => param)).toEqual(rootsOf(params));
      expect(Object.values(found).map(({ grad }) => grad)).toEqual(rootsOf(grads));
    }
    const added = await optimizer.addParams(0, { late: array(9, 99) });
    expect((await added.norms()).late.param).toBe(rootsOf({ late: array(9, 99) })[0]);
    optimizer.dispose();
  });

  test('runs in WebAssembly on arrays of the optimizer alone', async () => {
    const folder = freshFolder();
    const file = new URL('wasm-squares.js', folder);
    const code = readFileSync(file, 'utf8');
    // Subtract instead of adding.
    const [add, sub] = ['fdf001', 'fdf101'];
    expect(code).toContain(add);
    writeFileSync(file, code.replaceAll(add, sub));
    const twinstep = (await import(new URL('index.js', folder).href)) as typeof import('twinstep');
    const optimizer = await twinstep.adamw({ w: Float32Array.of(3) }, { backend: 'wasm' });
    expect((await optimizer.norms()).w.param).toBe(NaN);
    expect((await optimizer.norms({ w: Float32Array.of(4) })).w.grad).toBe(4);
  });
});

test('refuses a core.wasm of an older version, which lacks the sum of squares', async () => {
  const { hex } = (await import(new URL('../dist/wasm-adam.js', import.meta.url).href)) as { hex: string };
  const older = Buffer.from(hex, 'hex');
  const sentence = 'The WebAssembly module has no kernel "squares": is it this version\'s core.wasm?';
  const w = new Float32Array(3);
  await expect(adamw({ w }, { wasm: older })).rejects.toThrow(sentence);
  await expect(adamw({ w }, { wasm: older, threads: 2 })).rejects.toThrow(sentence);
  expect(() => syncAdamw({ w }, { wasm: older })).toThrow(sentence);
});

test('the default entry loads it from a file of its own', async () => {
  const { hex } = (await import(new URL('../dist/wasm-squares.js', import.meta.url).href)) as { hex: string };
  const functions = WebAssembly.Module.exports(new WebAssembly.Module(Buffer.from(hex, 'hex'))).filter(
    ({ kind }) => kind === 'function',
  );
  expect(functions).toEqual([{ name: 'squares', kind: 'function' }]);
});
