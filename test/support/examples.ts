// Makes a program of each `@example` of the public names.

import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Documented } from './declarations.js';
import { compilerOptions } from './pages.js';

const folder = new URL('../../build/tags/', import.meta.url);

export interface Example {
  /** The entry and the name that have it: 'twinstep/sync adamw'. */
  readonly name: string;
  readonly file: string;
}

/**
 * Writes a file for each example into build/tags/, with a tsconfig.json. An example may use what the entries export,
 * `values`, those of its own entry first, and the names of a prelude. One that has a `device` or an `encoder`, or is of
 * twinstep/webgpu, runs on the GPU.
 */
export function writeExamples(
  declarations: readonly Documented[],
  values: Readonly<Record<string, readonly string[]>>,
): { config: string; examples: Example[] } {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const config = fileURLToPath(new URL('tsconfig.json', folder));
  // GPUBufferUsage is in none of the types of TypeScript itself.
  const types = [...compilerOptions.types, '@webgpu/types'];
  writeFileSync(config, JSON.stringify({ compilerOptions: { ...compilerOptions, types }, include: ['*.ts'] }));
  const examples: Example[] = [];
  for (const { entry, name, doc } of declarations) {
    for (const { tag, text: code } of doc.tags) {
      if (tag !== 'example') continue;
      const isOnGpu = entry === 'twinstep/webgpu' || /\b(device|encoder)\b/.test(code);
      const file = fileURLToPath(new URL(`${examples.length}-${`${entry}-${name}`.replace(/\W/g, '-')}.ts`, folder));
      const lines = [importsFor(entry, values), isOnGpu ? gpuPrelude : cpuPrelude, '{', code, '}', ''];
      writeFileSync(file, lines.join('\n'));
      examples.push({ name: `${entry} ${name}`, file });
    }
  }
  return { config, examples };
}

function importsFor(own: string, values: Readonly<Record<string, readonly string[]>>): string {
  const known = new Set<string>();
  const entries = [own, ...Object.keys(values).filter((entry) => entry !== own)];
  const lines = entries.map((entry) => {
    const names = values[entry].filter((name) => !known.has(name));
    for (const name of names) known.add(name);
    return `import { ${names.join(', ')} } from '${entry}';`;
  });
  return lines.join('\n');
}

const cpuPrelude = `
const params = { weight: new Float32Array(32).fill(1), bias: new Float32Array(8) };
const grads = { weight: new Float32Array(32).fill(0.1), bias: new Float32Array(8).fill(0.2) };
const { weight, bias } = params;
const optimizer = await adamw([{ name: 'body', params: { weight } }, { name: 'head', params: { bias } }]);
`;

const gpuPrelude = `
const device = await (await navigator.gpu.requestAdapter())!.requestDevice();
const bufferOf = (length: number, value: number) => {
  const { STORAGE, COPY_SRC, COPY_DST } = GPUBufferUsage;
  const buffer = device.createBuffer({ size: 4 * length, usage: STORAGE | COPY_SRC | COPY_DST });
  device.queue.writeBuffer(buffer, 0, new Float32Array(length).fill(value));
  return buffer;
};
const params = { weight: bufferOf(32, 1), bias: bufferOf(8, 0) };
const grads = { weight: bufferOf(32, 0.1), bias: bufferOf(8, 0.2) };
const { weight, bias } = params;
const groups = [{ name: 'body', params: { weight } }, { name: 'head', params: { bias } }] as const;
const optimizer = await adamw(groups, { device });
const encoder = device.createCommandEncoder();
`;
