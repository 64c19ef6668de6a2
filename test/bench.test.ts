// The bench's own arithmetic, what it compares with, and that the README's figures are those of its newest record.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { format, resolveConfig } from 'prettier';
import { adamw } from 'twinstep';
import { describe, expect, test } from 'vitest';
import type { System } from '../bench/contender.js';
import { BASELINE, contenders, contenderOf } from '../bench/contenders.js';
import { choose } from '../bench/check.js';
import { speedModel, updateGrads, updateModel } from '../bench/models.js';
import { foldedInF32 } from '../bench/peers/loops.js';
import { draw } from '../bench/picture.js';
import { newestRecord, slug, writeRecord } from '../bench/record.js';
import { section, withSection } from '../bench/section.js';
import { readSettings } from '../bench/settings.js';
import { median, pairedRatio, quantile, roof } from '../bench/statistics.js';
import { aligned, leftOut, nanoseconds, table } from '../bench/table.js';
import { hyper, largestError, type OptimizerName } from '../bench/truth.js';
import { record } from './support/record.js';

describe('statistics', () => {
  test('a quantile lies between two numbers in proportion', () => {
    expect(median([3, 1, 2])).toBe(2);
    expect(median([4, 1, 2, 3])).toBe(2.5);
    expect(quantile([10, 20, 30, 40, 50], 0.25)).toBe(20);
    expect(() => median([])).toThrow('got none');
  });

  test('a ratio of rounds does not see a drift that both sides share', () => {
    const drift = [1, 2, 4, 8];
    const thrice = drift.map((x) => 3 * x);
    expect(pairedRatio(thrice, drift)).toEqual([3, 3, 3]);
    expect(pairedRatio([1, 2, 3, 4, 5], [1, 1, 1, 1, 1])).toEqual([2, 3, 4]);
    expect(() => pairedRatio([1, 2], [1])).toThrow('Expected 2 rounds of both, got 1 of one.');
  });

  test('the roof is the slowest probe, round by round', () => {
    const ofRounds = [[1, 5, 2], [3, 1, 2]]; // prettier-ignore
    expect(roof(ofRounds)).toEqual([3, 5, 2]);
  });
});

describe('settings', () => {
  test('sizes, and what goes into which file', () => {
    const folder = mkdtempSync(join(tmpdir(), 'twinstep-bench-'));
    const [json, svg] = ['a.json', 'a.svg'].map((name) => join(folder, name));
    const asked = readSettings(['--sizes', '1e3,5000,1000', '--only', 'adamw', '--json', json, '--svg', svg]);
    expect(asked).toMatchObject({ sizes: [1000, 5000], only: 'adamw', json, svg, record: false });
    rmSync(folder, { recursive: true });
  });

  test('a quick run takes less of everything', () => {
    const [full, quick] = [readSettings([]), readSettings(['--quick'])];
    expect(full.sizes).toEqual([1e3, 1e4, 1e5, 1e6, 1e7, 3e7]);
    for (const [name, value] of Object.entries(full).filter(([, each]) => typeof each === 'number'))
      expect(quick[name as 'rounds'], name).toBeLessThan(value as number);
  });

  test.each([
    ['--fast', "Unknown option '--fast'"],
    ['--json=/nowhere/a.json', 'Expected a file that can be written, got "/nowhere/a.json": ENOENT'],
    ['1e3', "Unexpected argument '1e3'"],
    ['--sizes=1e3,many', 'Expected sizes as whole numbers from 1 to 1e8 with commas between, got "many".'],
    ['--sizes=0', 'got "0".'],
    ['--only=of nobody', 'Expected --only to be in the name of a contender, got "of nobody".'],
  ])('%s is refused', (argument, sentence) => {
    expect(() => readSettings([argument])).toThrow(sentence);
  });

  test('a record is of everything', () => {
    expect(() => readSettings(['--record', '--only', 'wasm'])).toThrow('A record is of everything');
    expect(() => readSettings(['--record', '--memory'])).toThrow('A record is of everything');
    expect(() => readSettings(['--record', '--quick'])).toThrow('A record is of everything');
    expect(() => readSettings(['--record', '--sizes', '1e3'])).toThrow('A record is of everything');
  });
});

describe('contenders', () => {
  test('have names of their own, and limits that there are', () => {
    const names = contenders.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    expect(names).toContain(BASELINE);
    expect(names).toEqual(expect.arrayContaining(contenders.flatMap(({ limits }) => Object.values(limits).flat())));
    expect(() => contenderOf('nobody')).toThrow('There is no contender "nobody".');
  });

  test('who is chosen comes with those that it is compared with', () => {
    const chosen = [...choose('sgdScheduleFree, wasm')].map(([{ name }, { isChosen }]) => [name, isChosen]);
    expect(chosen).toEqual([
      ['traffic of 20 bytes', false],
      [BASELINE, false],
      ['twinstep sgdScheduleFree, wasm', true],
    ]);
  });

  const here = contenders.filter(({ name }) => /wasm$|gradients|reference|^JS loop/.test(name));
  test.each(here.map(({ name }) => [name]))('%s is right in its first update', async (name) => {
    const { system, optimizer } = contenderOf(name);
    const grads = updateGrads(1000);
    const opened = await (await (system as () => Promise<System>)()).open(updateModel(grads));
    await opened.step();
    const error = largestError(optimizer as OptimizerName, grads, await opened.read!());
    opened.close();
    expect(error).toBeGreaterThan(0);
    // Eight roundings.
    expect(error).toBeLessThan(8 * 2 ** -24);
  });

  test('the loop that rounds each operation has the bits of the kernels', async () => {
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
  test('is relative, the largest, and keeps NaN', () => {
    const grads = new Float32Array([1, -1]);
    expect(largestError('sgdScheduleFree', grads, [-1e-3, 1.1e-3])).toBeCloseTo(0.1, 12);
    expect(largestError('sgdScheduleFree', grads, [NaN, 1e-3])).toBeNaN();
    expect(() => largestError('adamw', grads, [0])).toThrow('Expected 2 parameters after the update, got 1.');
  });

  test('gradients are of either sign, over many decades, and the same every time', () => {
    const grads = updateGrads(1000);
    const sizes = grads.map(Math.abs).toSorted();
    expect(sizes[0]).toBeLessThan(1e-5);
    expect(sizes.at(-1)).toBeGreaterThan(10);
    expect(grads.some((g) => g < 0) && grads.some((g) => g > 0)).toBe(true);
    expect(updateGrads(1000)).toEqual(grads);
  });
});

describe('what is shown', () => {
  test('a machine in a word', () => {
    const [cpu, cores] = ['Intel(R) Core(TM) i7-1065G7 CPU @ 1.30GHz', 8];
    const of = { cpu, cores, memoryGiB: 16, system: '', gpu: 'SwiftShader driver 5.0.0', hasGpu: false };
    expect(slug(of)).toBe('intel-core-i7-1065g7-8-cores');
    expect(slug({ ...of, gpu: 'NVIDIA H200', hasGpu: true })).toBe('intel-core-i7-1065g7-8-cores-nvidia-h200');
  });

  test('numbers have the digits that mean something', () => {
    expect([0.4512, 4.512, 45.12, 451.2].map(nanoseconds)).toEqual(['0.45', '4.51', '45.1', '451']);
  });

  test('columns stand under each other', () => {
    expect(aligned([['', 'ns'], ['a name', '1'], ['b', '22']])).toEqual(['        ns', 'a name   1', 'b       22']); // prettier-ignore
  });

  test('the table has time, part of the roof, error and memory', () => {
    const lines = table(record).split('\n');
    expect(lines[1]).toBe('adamw');
    expect(lines[2]).toMatch(/traffic of 28 bytes +0\.20$/);
    expect(lines[3]).toMatch(/twinstep adamw, wasm +0\.50 {2}90 % +2\.0e-7 +16\.1$/);
    expect(lines[4]).toMatch(/tfjs-wasm, Adam +4\.00 {2}11 % +7\.0e-6 +64\.0$/);
  });

  test('who is left out is told, with the reason', () => {
    expect(leftOut(record)).toEqual([
      'js-pytorch, Adam is not there: Cannot find it. It takes `npm ci --prefix bench`.',
      'Left out at 1e7, 3e7, since it is slow: tfjs-wasm, Adam.',
    ]);
  });

  test('the section says how many times as long others take', () => {
    const text = section('a.json', record);
    expect(text).toContain('reaches 90 % at 1e6 of the roof');
    expect(text).toContain('tfjs-wasm, Adam 8.0.');
    expect(text).toContain('| `sgdScheduleFree` | 0.30 (80 %) | 1e-7 | 12.1 | 0.60 |');
    expect(() => withSection('# Nothing', 'a.json', record)).toThrow('Expected README.md to have');
  });

  test('the picture has a line for each who computes AdamW, and the roof', () => {
    const text = draw(record);
    for (const name of [BASELINE, 'tfjs-wasm, Adam', 'roof']) expect(text).toContain(name);
    expect(text).not.toContain('sgdScheduleFree');
  });
});

test('the newest record is that of the latest date', () => {
  const folder = pathToFileURL(`${mkdtempSync(join(tmpdir(), 'twinstep-bench-'))}/`);
  expect(() => newestRecord(folder)).toThrow('Expected a record of the bench in bench/record/, got none');
  for (const date of ['2026-01-03', '2026-02-01', '2026-01-10'])
    writeRecord({ ...record, date: `${date}T00:00:00.000Z` }, folder);
  expect(newestRecord(folder).name).toBe('2026-02-01-quick-one-2-cores.json');
  expect(newestRecord(folder).record.rows).toEqual(record.rows);
  rmSync(folder, { recursive: true });
});

test('README and picture are those of the newest record', async () => {
  const { name, record: newest } = newestRecord(new URL('../bench/record/', import.meta.url));
  const path = fileURLToPath(new URL('../README.md', import.meta.url));
  const readme = readFileSync(path, 'utf8');
  const written = await format(withSection(readme, name, newest), { ...(await resolveConfig(path)), filepath: path });
  expect(readme, 'Run `npm run docs`').toBe(written);
  expect(readFileSync(new URL('../docs/speed.svg', import.meta.url), 'utf8'), 'Run `npm run docs`').toBe(draw(newest));
});
