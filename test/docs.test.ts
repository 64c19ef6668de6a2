// Compiles and runs the examples of README.md and docs/ unchanged. What they print must be what their comments say.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { inspect } from 'node:util';
import { afterAll, expect, test, vi } from 'vitest';
import * as schedules from 'twinstep/schedules';
import { create, globals } from 'webgpu';
import { publicDeclarations } from './support/declarations.js';
import { brokenLinks, compile, rowsOf, writeBlocks } from './support/pages.js';

const { config, blocks } = writeBlocks();
const declarations = publicDeclarations();

// Programs that write files write them here.
const home = process.cwd();
const folder = mkdtempSync(join(tmpdir(), 'twinstep-docs-'));
process.chdir(folder);

// What browsers have, and Node lacks.
Object.assign(globalThis, globals);
const dawn = create([]); // kept: if it is garbage-collected, the process crashes
Object.defineProperty(globalThis, 'navigator', {
  value: {
    get gpu() {
      return dawn;
    },
  },
});

afterAll(() => {
  process.chdir(home);
  rmSync(folder, { recursive: true });
});

test('the pages have examples, which compile with the options of `tsc --init`', () => {
  expect(blocks.length).toBeGreaterThan(10);
  expect(compile(config)).toBe('');
});

test('every link to a file or a heading leads somewhere', () => {
  expect(brokenLinks()).toEqual([]);
});

test.each([
  ['Optimizer', 'optimizer'],
  ['Lookahead', 'ahead'],
])('docs/api.md lists what %s has, and which of it are promises', (type, variable) => {
  const has = declarations.flatMap(({ name, kind, doc }) => {
    const [owner, member] = name.split('.');
    if (owner !== type || member === undefined || member === 'constructor') return [];
    const isPromise = doc.tags.some(({ tag, text }) => tag === 'returns' && text.startsWith('A promise'));
    return [`${isPromise ? 'await ' : ''}${member}${kind === 'function' ? '()' : ''}`];
  });
  const listed = rowsOf('docs/api.md').flatMap(([call]) => {
    const [, isPromise, owner, member, parameters] = /^`(await )?(\w+)\.(\w+)(\(.*\))?`$/.exec(call) ?? [];
    return owner === variable ? [`${isPromise ?? ''}${member}${parameters === undefined ? '' : '()'}`] : [];
  });
  expect(new Set(listed)).toEqual(new Set(has));
});

test('docs/schedules.md lists every schedule, with its options and their defaults', () => {
  const listed = new Map(rowsOf('docs/schedules.md').map(([call, options]) => [/^`(\w+)/.exec(call)?.[1], options]));
  for (const name of Object.keys(schedules)) {
    const type = name === 'step' ? 'StepScheduleOptions' : `${name[0].toUpperCase()}${name.slice(1)}Options`;
    const options = declarations.flatMap(({ name: option, doc }) => {
      const [owner, key] = option.split('.');
      if (owner !== type || key === undefined) return [];
      const preset = /\bDefault ([^:]+?)(:.*)?\.$/.exec(doc.text)?.[1];
      return [preset === undefined ? `\`${key}\`` : `\`${key}\` = ${preset}`];
    });
    expect(listed.get(name), name).toBe(options.length === 0 ? 'no options' : options.join(', '));
  }
});

test.each(blocks)('$at', async ({ file, prints }) => {
  const printed = await run(file);
  expect(printed.length, 'console.log must run once for each time that the page has it').toBe(prints.length);
  for (const [i, text] of printed.entries()) expectSame(text, prints[i]);
});

test('the program for WebGPU or WebAssembly trains the same without WebGPU', async () => {
  const { file, prints } = blocks.find((block) => readFileSync(block.file, 'utf8').includes("['webgpu', 'wasm']"))!;
  const gpu = vi.spyOn(navigator, 'gpu', 'get').mockReturnValue(undefined as never);
  const [backend, line] = await run(file, '?without').finally(() => gpu.mockRestore());
  expect(backend).toBe('wasm');
  expectSame(line, prints[1]);
});

/** Runs a block, and returns what it prints. With another `query` the block runs again. */
async function run(file: string, query = ''): Promise<string[]> {
  const log = vi.spyOn(console, 'log').mockImplementation(() => {});
  try {
    await import(pathToFileURL(file.replace(/\.ts$/, '.js')).href + query);
    return log.mock.calls.map((values) => values.map(show).join(' '));
  } finally {
    log.mockRestore();
  }
}

test('a comment is compared with what is printed', () => {
  expect(() => expectSame('1.993 1.007', 'about 2 and 1')).not.toThrow();
  expect(() => expectSame('1.93 1.007', 'about 2 and 1')).toThrow('1.93');
  expect(() => expectSame('1.993', 'about 2 and 1')).toThrow();
  expect(() => expectSame('{ epoch: 3 }', '{ epoch: 3 }, as saved')).not.toThrow();
  expect(() => expectSame('{ epoch: 3 }', '{ epoch: 4 }, as saved')).toThrow();
  expect(() => expectSame('3', '34')).toThrow();
  expect(() => expectSame('3', undefined)).toThrow();
});

const show = (value: unknown): string =>
  typeof value === 'string' ? value : inspect(value, { breakLength: Infinity });

/** A comment has the printed text, then perhaps a remark after a comma. "about": the numbers differ by at most 1 %. */
function expectSame(printed: string, comment: string | undefined): void {
  if (comment?.startsWith('about ')) {
    const [got, wanted] = [printed, comment].map((text) => (text.match(/-?\d+(\.\d+)?(e-?\d+)?/g) ?? []).map(Number));
    const isSame =
      got.length === wanted.length && got.every((x, i) => Math.abs(x - wanted[i]) <= 0.01 * Math.abs(wanted[i]));
    expect(isSame, `${printed} is not ${comment}`).toBe(true);
  } else expect(comment === printed || comment?.startsWith(`${printed}, `), `${printed} is not ${comment}`).toBe(true);
}
