// Tests that the three texts of a rule have the same names in the same order, and that memory follows the layout.

import { readFileSync } from 'node:fs';
import { adamw } from 'twinstep';
import { describe, expect, test } from 'vitest';
import { ALIGNMENT, arraysOf, layout, pack, type Tensor } from '../src/backends/layout.js';
import * as rules from '../src/rules/table.js';
import type { Rule } from '../src/rules/rule.js';
import { openNullDevice } from '../tools/dawn.js';
import { backends } from './support/backends.js';
import { tensors } from './support/numbers.js';
import { unplaced } from './support/tensors.js';

const table: [string, Rule][] = Object.entries(rules as Record<string, Rule>);
const read = (path: string): string => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8');

// The twin of src/rules/adam.ts is assembly/adam.ts and wgsl/adam.wgsl.
describe.each(table)('%s', (name, rule) => {
  const plain = read(`src/rules/${name}.ts`);
  const assembly = read(`assembly/${name}.ts`);
  const wgsl = read(`wgsl/${name}.wgsl`);

  test('has its line in each index', () => {
    const lines: [string, string][] = [
      ['src/rules/index.ts', `export { ${name} } from './${name}.js';`],
      ['assembly/index.ts', `export { ${name} } from './${name}';`],
      ['src/backends/webgpu/rule-shaders.ts', `import ${name} from '../../../wgsl/${name}.wgsl';`],
      ['src/backends/webgpu/rule-shaders.ts', `  ${name},`],
    ];
    const missing = lines.filter(([file, line]) => !read(file).split('\n').includes(line));
    expect(missing.map(([file, line]) => `${file} lacks the line: ${line}`)).toEqual([]);
  });

  test('has its name in the table and in its files, which have no other rule', () => {
    expect(rule.name).toBe(name);
    const names = (text: string, pattern: RegExp): string[] => [...text.matchAll(pattern)].map(([, found]) => found);
    expect(names(plain, /export const (\w+): Update</g)).toEqual([name]);
    expect(names(assembly, /export function (\w+)\(/g)).toEqual([name]);
    expect(names(wgsl, /@compute [^\n]*\nfn (\w+)\(/g)).toEqual([name]);
  });

  test('begins with the same formula in all three languages', () => {
    const formula = (text: string): string => text.slice(0, text.search(/^(?!\/\/)/m));
    expect(formula(plain)).toMatch(/^(\/\/.*\n){5,}$/);
    expect(formula(assembly)).toBe(formula(plain));
    expect(formula(wgsl)).toBe(formula(assembly));
  });

  test('has its scalars in the same order, all f32', () => {
    const expected = rule.scalars.map((scalar) => [scalar, 'f32']);
    const ofClass = /@unmanaged\s+class \w+Scalars \{([^}]*)\}/.exec(assembly)![1];
    const ofStruct = /struct \w+Scalars \{([^}]*)\}/.exec(wgsl)![1];
    const fields = (text: string): string[][] =>
      [...text.matchAll(/(\w+): (\w+)[;,]/g)].map(([, field, type]) => [field, type]);
    expect(fields(ofClass)).toEqual(expected);
    expect(fields(ofStruct)).toEqual(expected);
  });

  test('has grad_scale and max_value as its first scalars if it scales the gradient', () => {
    const expected = rule.scalars.includes('grad_scale') ? ['grad_scale', 'max_value'] : ['weight'];
    expect(rule.scalars.slice(0, 2)).toEqual(expected);
  });

  test('takes its arrays in the same order', async () => {
    const parameters = new RegExp(`export function ${name}\\(([^)]*)\\)`).exec(assembly)![1];
    const names = [...parameters.matchAll(/(\w+): \w+/g)].map(([, parameter]) => parameter);
    expect(names).toEqual(['by', ...arraysOf(rule), 'bytes']);
    const bindings = [...wgsl.matchAll(/@group\(1\) @binding\((\d)\) var<storage, read_write> (\w+)/g)];
    expect(bindings.map(([, binding, array]) => [Number(binding), array])).toEqual([...arraysOf(rule).entries()]);
  });

  test('is exported by the compiled module with the right number of arguments', async () => {
    const module = await WebAssembly.compile(readFileSync(new URL('../dist/core.wasm', import.meta.url)));
    expect(WebAssembly.Module.imports(module)).toEqual([{ module: 'env', name: 'memory', kind: 'memory' }]);
    const memory = new WebAssembly.Memory({ initial: 1 });
    const { exports } = await WebAssembly.instantiate(module, { env: { memory } });
    expect(exports[name]).toHaveLength(arraysOf(rule).length + 2);
  });

  test('is the only kernel in the module that the default entry loads', async () => {
    const { hex } = (await import(new URL(`../dist/wasm-${name}.js`, import.meta.url).href)) as { hex: string };
    const module = await WebAssembly.compile(Buffer.from(hex, 'hex'));
    const functions = WebAssembly.Module.exports(module).filter(({ kind }) => kind === 'function');
    expect(functions).toEqual([{ name, kind: 'function' }]);
  });

  test.each(['vec4', 'scalar'])('compiles without warnings in the variant %s', (variant) => compiles(variant, name));
});

describe.each([['accumulate'], ['squares', 'parts'], ['fold', 'parts']])(
  '%s, which is not a rule,',
  (name, ...before) => {
    test.each(['vec4', 'scalar'])('compiles without warnings in the variant %s', (variant) =>
      compiles(variant, name, ...before),
    );
  },
);

async function compiles(variant: string, entryPoint: string, ...before: string[]): Promise<void> {
  const device = await openNullDevice();
  const files = [variant, 'prelude', ...before, entryPoint];
  const code = files.map((file) => read(`wgsl/${file}.wgsl`)).join('\n');
  const module = device.createShaderModule({ code });
  const { messages } = await module.getCompilationInfo();
  expect(messages.map(({ lineNum, linePos, message }) => `${lineNum}:${linePos} ${message}`)).toEqual([]);
  await device.createComputePipelineAsync({ layout: 'auto', compute: { module, entryPoint } });
}

test('the module exports only the rules of the table, and the sum of squares', async () => {
  const module = await WebAssembly.compile(readFileSync(new URL('../dist/core.wasm', import.meta.url)));
  const functions = WebAssembly.Module.exports(module).filter(({ kind }) => kind === 'function');
  expect(functions.map(({ name }) => name).toSorted()).toEqual([...table.map(([name]) => name), 'squares'].toSorted());
});

test('the package’s pipelines compile on the null backend, in both variants', async () => {
  const device = await openNullDevice();
  for (const amsgrad of [false, true]) {
    const optimizer = await adamw(tensors([1, 4], 1), { backend: 'webgpu', device, amsgrad });
    expect(optimizer.backend.name).toBe('webgpu');
  }
});

const plan = (lengths: number[]): Tensor[] => lengths.map((length, index) => unplaced(`w${length}`, index, length));

describe('the layout', () => {
  test('aligns every array and tensor to 256 bytes without overlap', () => {
    const groups = [[1, 67, 0, 64], [1000], []].map((lengths) => ({
      rule: rules.adam_amsgrad,
      tensors: plan(lengths),
    }));
    const { blocks, bytes } = layout(groups, true);
    const starts = blocks.flatMap(({ scalars, arrays }) => [...scalars, ...Object.values(arrays)]);
    for (const start of starts) expect(start % ALIGNMENT).toBe(0);
    const ends = blocks.flatMap((block) => [
      ...block.scalars.map((start) => start + rules.adam_amsgrad.scalars.length * 4),
      ...Object.values(block.arrays).map((start) => start + block.bytes),
    ]);
    for (let i = 1; i < starts.length; i++) expect(starts[i]).toBeGreaterThanOrEqual(ends[i - 1]);
    expect(bytes).toBe(ends.at(-1));
    expect(groups[0].tensors.map(({ offset }) => offset)).toEqual([0, 256, 768, 768]);
  });

  test('packs tensors into arenas of the given size; a larger tensor gets its own', () => {
    const packed = plan([64, 64, 1000, 1, 64, 64]);
    const arenas = pack(packed, 512);
    expect(arenas.map((arena) => arena.tensors.length)).toEqual([2, 1, 2, 1]);
    expect(arenas.map(({ bytes }) => bytes)).toEqual([512, 4096, 512, 256]);
    expect(packed.map(({ arena }) => arena)).toEqual([0, 0, 1, 2, 2, 3]);
    expect(packed.map(({ offset }) => offset)).toEqual([0, 256, 0, 0, 256, 0]);
  });
});

describe('padding stays zero', () => {
  const lengths = [1, 3, 65, 130];
  const options = { eps: 0, weightDecay: 0.5, maximize: true, amsgrad: true };
  const stepped = plan(lengths);
  const [arena] = pack(stepped);

  /** Expects zeros after each tensor in an array of the arena, and no zeros in the tensors. */
  function expectPadded(floats: Float32Array): void {
    expect(floats).toHaveLength(arena.bytes / 4);
    const isData = new Set(stepped.flatMap(({ offset, length }) => Array.from({ length }, (_, i) => offset / 4 + i)));
    expect([...floats.keys()].filter((i) => !isData.has(i) && floats[i] !== 0)).toEqual([]);
    expect([...isData].some((i) => floats[i] === 0)).toBe(false);
  }

  test.each(['wasm', 'reference'] as const)('on %s, in every array, next to NaN', async (backend) => {
    const optimizer = await adamw(tensors(lengths, 1), { ...options, backend });
    for (let t = 0; t < 5; t++) {
      const grads = tensors(lengths, 2 + t);
      grads.w65.fill(NaN);
      optimizer.step(grads);
    }
    const [{ arrays, bytes }] = layout([{ rule: rules.adam_amsgrad, tensors: plan(lengths) }], true).blocks;
    expect(Object.keys(arrays)).toHaveLength(5);
    for (const start of Object.values(arrays))
      expectPadded(new Float32Array(optimizer.params.w1.buffer, start, bytes / 4));
  });

  test.each(backends.slice(2))('on %s', async (...[, backend]) => {
    const optimizer = await adamw(tensors(lengths, 1), { ...options, ...backend });
    for (let t = 0; t < 5; t++) optimizer.step(tensors(lengths, 2 + t));
    const { buffer } = optimizer.params.w1 as unknown as GPUBufferBinding;
    const whole = await adamw({ buffer }, { device: backend.device as GPUDevice });
    expectPadded(await whole.read('buffer'));
  });
});
