// Holds every public name to its documentation in dist/types: what it does, its parameters, its result, its errors, and
// an example, which is compiled and run.

import { pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';
import { adamw, lookahead } from 'twinstep';
import { coefficients } from 'twinstep/kernels';
import { create, globals } from 'webgpu';
import { parseDoc, publicDeclarations, type Documented } from './support/declarations.js';
import { writeExamples } from './support/examples.js';
import { compile } from './support/pages.js';

/** Functions that need no `@throws`, and why. Too many arguments are refused by types, and are not documented. */
const throwNothing: Readonly<Record<string, string>> = {
  'Optimizer.backend': 'It is set at creation, and can be read after dispose().',
  'Optimizer.groups': 'They are set at creation, and can be read after dispose().',
  'Lookahead.optimizer': 'It is set at creation.',
  'Lookahead.slow': 'They are set at creation.',
  'ScheduleMemory.stateDict': 'It takes no arguments, and copies numbers.',
  'ReduceOnPlateau.stateDict': 'It takes no arguments, and copies numbers.',
};

/** Methods that users write or pass on, instead of calling them: a description is enough. */
const notCalled: Readonly<Record<string, string>> = {
  'ByteStream.getReader': 'The method of ReadableStream, which loadCheckpoint calls.',
};

const declarations = publicDeclarations();
const exceptions = [throwNothing, notCalled].flatMap(Object.keys);

/** What each entry exports when it runs. */
const values: Readonly<Record<string, readonly string[]>> = {
  twinstep: Object.keys(await import('twinstep')),
  'twinstep/sync': Object.keys(await import('twinstep/sync')),
  'twinstep/webgpu': Object.keys(await import('twinstep/webgpu')),
  'twinstep/kernels': Object.keys(await import('twinstep/kernels')),
  'twinstep/schedules': Object.keys(await import('twinstep/schedules')),
  'twinstep/checkpoint': Object.keys(await import('twinstep/checkpoint')),
};

test('what the entries export, and the methods of its objects, are found', async () => {
  const found = new Set(declarations.map(({ name }) => name));
  expect(
    Object.values(values)
      .flat()
      .filter((name) => !found.has(name)),
  ).toEqual([]);
  const optimizer = await adamw({ w: new Float32Array(4) });
  const objects: Readonly<Record<string, object>> = {
    Optimizer: Object.getPrototypeOf(optimizer),
    Lookahead: Object.getPrototypeOf(await lookahead(optimizer)),
    StepCoefficients: coefficients('adamw'),
  };
  for (const [type, object] of Object.entries(objects)) {
    const names = Object.getOwnPropertyNames(object).filter((name) => name !== 'constructor');
    expect(names.length).toBeGreaterThan(2);
    expect(names.map((name) => `${type}.${name}`).filter((name) => !found.has(name))).toEqual([]);
  }
});

test('types and what they inherit are found, and parameters by the names that editors show', () => {
  const names = declarations.map(({ entry, name }) => `${entry} ${name}`);
  const types = ['twinstep AdamOptions.betas', 'twinstep ScheduleFreeOptions.r', 'twinstep/schedules Schedule'];
  expect(names).toEqual(expect.arrayContaining(types));
  expect(declarations.find(({ name }) => name === 'adamw')).toMatchObject({
    kind: 'function',
    params: ['params', 'options'],
    isVoid: false,
  });
  expect(declarations.find(({ name }) => name === 'Optimizer.encode')!.params).toEqual(['encoder', 'grads', 'options']);
});

test.each(declarations)('$entry: $name', (declaration) => {
  expect(problems(declaration)).toEqual([]);
});

test('each exception is a public name', () => {
  const names = new Set(declarations.map(({ name }) => name));
  expect(exceptions.filter((name) => !names.has(name))).toEqual([]);
});

test.each([
  ['no description', '@param x - A number.\n@returns Half.\n@throws TypeError for text.\n@example half(2);'],
  ['no @param x', 'Halves.\n@returns Half.\n@throws TypeError for text.\n@example half(2);'],
  [
    '@param y, which is not a parameter here',
    'Halves.\n@param y - A number.\n@returns Half.\n@throws E.\n@example half(2);',
  ],
  ['no text after "@param x - "', 'Halves.\n@param x A number.\n@returns Half.\n@throws TypeError.\n@example half(2);'],
  ['no @returns', 'Halves.\n@param x - A number.\n@throws TypeError for text.\n@example half(2);'],
  ['no @throws', 'Halves.\n@param x - A number.\n@returns Half.\n@example half(2);'],
  ['no @example', 'Halves.\n@param x - A number.\n@returns Half.\n@throws TypeError for text.'],
  ['no text after @throws', 'Halves.\n@param x - A number.\n@returns Half.\n@throws\n@example half(2);'],
  [
    '@return, which is not one of the tags',
    'Halves.\n@param x - A number.\n@returns Half.\n@return Half.\n@throws E.\n@example half(2);',
  ],
])('a comment is refused that has %s', (problem, comment) => {
  const half = { entry: 'e', name: 'half', kind: 'function', params: ['x'], isVoid: false } as const;
  expect(problems({ ...half, doc: parseDoc(comment) })).toContain(problem);
});

const TAGS = new Set(['param', 'returns', 'throws', 'example']);

/** Returns what the comment of a declaration lacks, and what it should not have. */
function problems({ name, kind, params, isVoid, doc }: Documented): string[] {
  const found: string[] = [];
  const texts = (tag: string) => doc.tags.filter((each) => each.tag === tag).map(({ text }) => text);
  const require = (tag: string, isNeeded: boolean) => {
    const has = texts(tag).length > 0;
    if (isNeeded && !has) found.push(`no @${tag}`);
    if (!isNeeded && has) found.push(`@${tag}, which it should not have`);
  };
  if (doc.text === '') found.push('no description');
  for (const { tag, text } of doc.tags) {
    if (!TAGS.has(tag)) found.push(`@${tag}, which is not one of the tags`);
    else if (text === '') found.push(`no text after @${tag}`);
  }
  if (Object.hasOwn(notCalled, name)) return found;

  const described = texts('param').map((text) => /^\S*/.exec(text)![0]);
  for (const param of params) if (!described.includes(param)) found.push(`no @param ${param}`);
  for (const param of described)
    if (!params.includes(param)) found.push(`@param ${param}, which is not a parameter here`);
  if (found.length === 0 && described.join() !== params.join()) found.push('@param in another order');
  for (const [i, text] of texts('param').entries()) {
    if (!/^\S+ - \S/.test(text)) found.push(`no text after "@param ${described[i]} - "`);
  }
  const isCalled = kind === 'function' || kind === 'getter';
  require('returns', isCalled && !isVoid);
  require('throws', isCalled && !Object.hasOwn(throwNothing, name));
  if (kind === 'function' || kind === 'class') require('example', true);
  return found;
}

const { config, examples } = writeExamples(declarations, values);

test('the examples compile with the options of `tsc --init`', () => {
  expect(compile(config)).toBe('');
});

// What browsers have, and Node lacks.
Object.assign(globalThis, globals);
const dawn = create([]); // kept: if it is garbage-collected, the process crashes
Object.defineProperty(globalThis, 'navigator', { value: { gpu: dawn } });

test.each(examples)('the example of $name runs', async ({ file }) => {
  await import(pathToFileURL(file.replace(/\.ts$/, '.js')).href);
});
