// Tests the bench's arithmetic, options and contenders, and that pages and picture match its newest record.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { format, resolveConfig } from 'prettier';
import { adamw } from 'twinstep';
import { describe, expect, test } from 'vitest';
import type { System } from '../bench/contender.js';
import { BASELINE, contenders, contenderOf, UNCLIPPED } from '../bench/contenders.js';
import { choose } from '../bench/check.js';
import { speedModel, updateGrads, updateModel } from '../bench/models.js';
import { foldedInF32 } from '../bench/peers/loops.js';
import { draw } from '../bench/picture.js';
import { newestRecord, slug, writeRecord } from '../bench/record.js';
import { pages, section, summary, withPart } from '../bench/section.js';
import { readOptions } from '../bench/options.js';
import { median, pairedRatio, quantile, roof } from '../bench/statistics.js';
import { aligned, clippingLines, omissionLines, nanoseconds, table } from '../bench/table.js';
import { hyper, largestError, type OptimizerName } from '../bench/truth.js';
import { record } from './support/record.js';

describe('statistics', () => {
  test('a quantile interpolates between two numbers', () => {
    expect(median([3, 1, 2])).toBe(2);
    expect(median([4, 1, 2, 3])).toBe(2.5);
    expect(quantile([10, 20, 30, 40, 50], 0.25)).toBe(20);
    expect(() => median([])).toThrow('got none');
  });

  test('a paired ratio cancels a drift that both sides share', () => {
    const drift = [1, 2, 4, 8];
    const tripled = drift.map((x) => 3 * x);
    expect(pairedRatio(tripled, drift)).toEqual([3, 3, 3]);
    expect(pairedRatio([1, 2, 3, 4, 5], [1, 1, 1, 1, 1])).toEqual([2, 3, 4]);
    expect(() => pairedRatio([1, 2], [1])).toThrow('Expected as many rounds of both, got 2 and 1.');
  });

  test('the roof is the time of the slowest probe in each round', () => {
    const times = [[1, 5, 2], [3, 1, 2]]; // prettier-ignore
    expect(roof(times)).toEqual([3, 5, 2]);
  });
});

describe('readOptions', () => {
  test('reads sizes, a contender and files', () => {
    const folder = mkdtempSync(join(tmpdir(), 'twinstep-bench-'));
    const [json, svg] = ['a.json', 'a.svg'].map((name) => join(folder, name));
    const options = readOptions(['--sizes', '1e3,5000,1000', '--only', 'adamw', '--json', json, '--svg', svg]);
    expect(options).toMatchObject({ sizes: [1000, 5000], only: 'adamw', json, svg, record: false });
    rmSync(folder, { recursive: true });
  });

  test('--quick lowers every number', () => {
    const [full, quick] = [readOptions([]), readOptions(['--quick'])];
    expect(full.sizes).toEqual([1e3, 1e4, 1e5, 1e6, 1e7, 3e7]);
    for (const [name, value] of Object.entries(full).filter(([, each]) => typeof each === 'number'))
      expect(quick[name as 'rounds'], name).toBeLessThan(value as number);
  });

  test.each([
    ['--fast', "Unknown option '--fast'"],
    ['--json=/nowhere/a.json', 'Expected a writable file, got "/nowhere/a.json": ENOENT'],
    ['1e3', "Unexpected argument '1e3'"],
    ['--sizes=1e3,many', 'Expected --sizes as whole numbers from 1 to 1e8, separated by commas, got "many".'],
    ['--sizes=0', 'got "0".'],
    ['--only=nothing', 'Expected --only to be part of a contender\'s name, got "nothing".'],
  ])('refuses %s', (argument, sentence) => {
    expect(() => readOptions([argument])).toThrow(sentence);
  });

  test('refuses --record of a part', () => {
    const refusal = 'A record has all contenders and sizes';
    expect(() => readOptions(['--record', '--only', 'wasm'])).toThrow(refusal);
    expect(() => readOptions(['--record', '--memory'])).toThrow(refusal);
    expect(() => readOptions(['--record', '--quick'])).toThrow(refusal);
    expect(() => readOptions(['--record', '--sizes', '1e3'])).toThrow(refusal);
  });
});

describe('contenders', () => {
  test('have unique names and existing limits', () => {
    const names = contenders.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    expect(names).toContain(BASELINE);
    expect(names).toEqual(expect.arrayContaining(contenders.flatMap(({ limits }) => Object.values(limits).flat())));
    expect(() => contenderOf('nobody')).toThrow('There is no contender "nobody".');
  });

  test('choose() adds what the chosen contenders are compared with', () => {
    const chosen = [...choose('sgdScheduleFree, wasm')].map(([{ name }, { isChosen }]) => [name, isChosen]);
    expect(chosen).toEqual([
      ['traffic of 20 bytes', false],
      [BASELINE, false],
      ['twinstep sgdScheduleFree, wasm', true],
    ]);
  });

  const withoutInstall = contenders.filter(({ name }) => /wasm$|wasm, gradients|reference|^JS loop/.test(name));
  test.each(withoutInstall.map(({ name }) => [name]))('%s computes a correct first update', async (name) => {
    const { system, optimizer, isClipped } = contenderOf(name);
    const grads = updateGrads(1000);
    const opened = await (await (system as () => Promise<System>)()).open(updateModel(grads));
    await opened.step();
    const error = largestError(optimizer as OptimizerName, grads, await opened.read!(), isClipped);
    opened.close();
    expect(error).toBeGreaterThan(0);
    // At most eight roundings.
    expect(error).toBeLessThan(8 * 2 ** -24);
  });

  test('the loop that rounds each operation gives the bits of the kernels', async () => {
    const { param, grad, length } = speedModel(64);
    const optimizer = await adamw({ w: param(new Float32Array(length)) }, { ...hyper, backend: 'wasm' });
    grad(optimizer.grads.w);
    const [w, g] = [param(new Float32Array(length)), grad(new Float32Array(length))];
    const arrays = { w, grad: g, m: new Float32Array(length), v: new Float32Array(length) };
    for (let t = 1; t <= 20; t++) {
      optimizer.step();
      foldedInF32(arrays, t);
    }
    expect(w).toEqual(optimizer.params.w);
  });
});

describe('the error of an update', () => {
  test('is the largest relative error, or NaN', () => {
    const grads = new Float32Array([1, -1]);
    expect(largestError('sgdScheduleFree', grads, [-1e-3, 1.1e-3])).toBeCloseTo(0.1, 12);
    expect(largestError('sgdScheduleFree', grads, [NaN, 1e-3])).toBeNaN();
    expect(() => largestError('adamw', grads, [0])).toThrow('Expected 2 parameters after the update, got 1.');
  });

  test('its gradients have both signs, many decades, and the same values every time', () => {
    const grads = updateGrads(1000);
    const sizes = grads.map(Math.abs).toSorted();
    expect(sizes[0]).toBeLessThan(1e-5);
    expect(sizes.at(-1)).toBeGreaterThan(10);
    expect(grads.some((g) => g < 0) && grads.some((g) => g > 0)).toBe(true);
    expect(updateGrads(1000)).toEqual(grads);
  });
});

describe('output', () => {
  test('slug() names a machine', () => {
    const [cpu, cores] = ['Intel(R) Core(TM) i7-1065G7 CPU @ 1.30GHz', 8];
    const machine = { cpu, cores, memoryGiB: 16, system: '', gpu: 'SwiftShader driver 5.0.0', hasGpu: false };
    expect(slug(machine)).toBe('intel-core-i7-1065g7-8-cores');
    expect(slug({ ...machine, gpu: 'NVIDIA H200', hasGpu: true })).toBe('intel-core-i7-1065g7-8-cores-nvidia-h200');
  });

  test('numbers have two decimals or three digits', () => {
    expect([0.4512, 4.512, 45.12, 451.2].map(nanoseconds)).toEqual(['0.45', '4.51', '45.1', '451']);
  });

  test('aligns columns', () => {
    expect(aligned([['', 'ns'], ['a name', '1'], ['b', '22']])).toEqual(['        ns', 'a name   1', 'b       22']); // prettier-ignore
  });

  test('the table has time, percentage of the roof, error and memory', () => {
    const lines = table(record).split('\n');
    expect(lines[1]).toBe('adamw');
    expect(lines[2]).toMatch(/traffic of 28 bytes +0\.20$/);
    expect(lines[3]).toMatch(/twinstep adamw, wasm +0\.50 {2}90 % +2\.0e-7 +16\.1$/);
    expect(lines[4]).toMatch(/tfjs-wasm, Adam +4\.00 {2}11 % +7\.0e-6 +64\.0$/);
  });

  test('names missing and unmeasured contenders with the reason', () => {
    expect(omissionLines(record)).toEqual([
      'js-pytorch, Adam is missing: Cannot find it. It needs `npm ci --prefix bench`.',
      'Not measured at 1e7, 3e7, because it is slow: tfjs-wasm, Adam.',
    ]);
  });

  test('says how much longer a step takes that clips', () => {
    expect(clippingLines(record)).toEqual([]);
    const row = {
      contender: 'ours',
      optimizer: 'adamw',
      size: 1e6,
      ns: 1,
      ratios: { [UNCLIPPED]: [0.5, 0.8, 0.9] },
    } as const;
    const rows = [...record.rows, row, { ...row, size: 1e3 }, { ...row, contender: 'webgpu in software' }];
    const line = 'Clipping by the norm of all gradients makes a step take this many times as long, at 1e6: ours 1.25.';
    expect(clippingLines({ ...record, rows })).toEqual([line]);
    expect(section('a.json', { ...record, rows })).toContain(line);
  });

  test('the section says how many times as long the others take', () => {
    const text = section('a.json', record);
    expect(text).toContain('reaches 90 % at 1e6 of the roof');
    expect(text).toContain('tfjs-wasm, Adam 8.0.');
    expect(text).toContain('| `sgdScheduleFree` | 0.30 (80 %) | 1e-7 | 12.1 | 0.60 |');
    expect(() => withPart('# Nothing', text)).toThrow('Expected the page to have <!-- Written by');
  });

  test('the README names the record and leaves out what it lacks', () => {
    const text = summary('a.json', record);
    expect(text).toContain('([record](bench/record/a.json))');
    expect(text).toContain('| twinstep, one thread | 0.50 ns per parameter | 90 % |');
    expect(text).toContain('| TensorFlow.js on WebAssembly, Adam | 8.0 times as long | 11 % |');
    expect(text).not.toContain('PyTorch');
  });

  test('the picture has a line for each contender that computes AdamW, and the roof', () => {
    const text = draw(record);
    for (const name of [BASELINE, 'tfjs-wasm, Adam', 'roof']) expect(text).toContain(name);
    expect(text).not.toContain('sgdScheduleFree');
  });
});

test('newestRecord() returns the record with the latest date', () => {
  const folder = pathToFileURL(`${mkdtempSync(join(tmpdir(), 'twinstep-bench-'))}/`);
  expect(() => newestRecord(folder)).toThrow('Expected a record of the bench in bench/record/, got none');
  for (const date of ['2026-01-03', '2026-02-01', '2026-01-10'])
    writeRecord({ ...record, date: `${date}T00:00:00.000Z` }, folder);
  expect(newestRecord(folder).name).toBe('2026-02-01-quick-one-2-cores.json');
  expect(newestRecord(folder).record.rows).toEqual(record.rows);
  rmSync(folder, { recursive: true });
});

test('pages and picture match the newest record', async () => {
  const { name, record: newest } = newestRecord(new URL('../bench/record/', import.meta.url));
  for (const [file, part] of Object.entries(pages)) {
    const path = fileURLToPath(new URL(`../${file}`, import.meta.url));
    const page = readFileSync(path, 'utf8');
    const written = withPart(page, part(name, newest));
    expect(page, 'Run `npm run docs`').toBe(await format(written, { ...(await resolveConfig(path)), filepath: path }));
  }
  expect(readFileSync(new URL('../docs/speed.svg', import.meta.url), 'utf8'), 'Run `npm run docs`').toBe(draw(newest));
});
