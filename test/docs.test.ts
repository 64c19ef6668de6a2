// Runs the examples of README.md and docs/ unchanged.

import * as fs from 'node:fs';
import * as promises from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as stream from 'node:stream';
import { pathToFileURL } from 'node:url';
import * as twinstep from 'twinstep';
import * as checkpoint from 'twinstep/checkpoint';
import * as kernels from 'twinstep/kernels';
import * as schedules from 'twinstep/schedules';
import { afterAll, expect, test, vi } from 'vitest';
import { buffer, device } from './support/gpu.js';
import { array } from './support/numbers.js';

const root = new URL('../', import.meta.url);
const pages = [
  'README.md',
  ...fs
    .readdirSync(new URL('docs/', root))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
];
const examples = pages.flatMap((page) => {
  const text = fs.readFileSync(new URL(page, root), 'utf8');
  return [...text.matchAll(/```ts\n([^]*?)```/g)].map(([, code]) => ({ page, code }));
});

const folder = fs.mkdtempSync(join(tmpdir(), 'twinstep-'));
afterAll(() => fs.rmSync(folder, { recursive: true }));

/** Returns the variables that the examples use but do not define: a model of two tensors, its gradients, and more. */
async function surroundings(): Promise<Record<string, unknown>> {
  const [params, gradients] = [1, 2].map((seed) => ({ weight: array(64, seed), bias: array(8, seed) }));
  const gpuBuffers = { weightBuffer: array(64, 1), gradientBuffer: array(64, 2), biasGradientBuffer: array(8, 3) };
  const optimizer = await twinstep.adamw(params);
  optimizer.step(gradients);
  const code = { schedule: schedules.cosineDecay({ decaySteps: 900 }), decayMask: twinstep.noDecayOnBiasAndNorm };
  return {
    ...code,
    bytes: await checkpoint.saveCheckpoint(await twinstep.adamw(params, code)),
    path: join(folder, 'run.safetensors'),
    ...Object.fromEntries(Object.entries(gpuBuffers).map(([name, values]) => [name, buffer(values)])),
    ...params,
    params,
    gradients,
    weights: params.weight,
    weightGradient: gradients.weight,
    biasGradient: gradients.bias,
    buffer: buffer(array(72, 4)),
    device,
    encoder: device.createCommandEncoder(),
    body: { 'body.fc.weight': array(9, 5), 'body.norm.weight': array(3, 6) },
    head: { 'head.weight': array(3, 7) },
    adapter: { adapter: array(3, 8) },
    extra: array(3, 9),
    backward: () => Object.entries(gradients).toReversed(),
    batches: [1, 2, 3],
    gradientsOf: () => gradients,
    gradientsAt: () => gradients,
    memory: new WebAssembly.Memory({ initial: 1 }),
    resolve: (specifier: string) => pathToFileURL(createRequire(import.meta.url).resolve(specifier)).href,
    scalars: 0,
    param: 256,
    grad: 512,
    expAvg: 768,
    expAvgSq: 1024,
    byteLength: 256,
    optimizer,
    another: await twinstep.adamw(params),
  };
}

test('the README has examples, and the first prints what its comment says', async () => {
  expect(examples.length).toBeGreaterThan(10);
  const print = vi.spyOn(console, 'log').mockImplementation(() => {});
  const [{ code }] = examples;
  await run(code);
  const [printed] = print.mock.calls;
  print.mockRestore();
  expect(code).toContain(`// about ${printed.map((x: number) => Math.round(x)).join(' and ')}`);
  for (const x of printed) expect(Math.abs(x - Math.round(x))).toBeLessThan(0.01);
});

test.each(examples.map(({ page, code }) => [page, code.trim().split('\n').at(-1)!, code]))(
  '%s: %s',
  (_page, _line, code) => run(code),
);

async function run(code: string): Promise<void> {
  const imports = [...code.matchAll(/^import \{ ([^}]+) \} from '([^']+)';$/gm)];
  const modules: Record<string, object> = {
    twinstep,
    'twinstep/checkpoint': checkpoint,
    'twinstep/kernels': kernels,
    'twinstep/schedules': schedules,
    'node:fs': fs,
    'node:fs/promises': promises,
    'node:stream': stream,
  };
  for (const [, names, from] of imports)
    expect(Object.keys(modules[from])).toEqual(expect.arrayContaining(names.split(', ')));
  const { createReadStream } = fs;
  const { readFile, writeFile } = promises;
  const ofNode = { createReadStream, readFile, writeFile, Readable: stream.Readable };
  const known = { ...twinstep, ...checkpoint, ...kernels, ...schedules, ...(await surroundings()), ...ofNode };
  // import.meta exists only in modules.
  const body = code.replace(/^import .*$/gm, '').replaceAll('import.meta.resolve', 'resolve');
  const AsyncFunction = Object.getPrototypeOf(async () => {}).constructor as new (
    ...args: string[]
  ) => (...args: unknown[]) => Promise<void>;
  await new AsyncFunction(...Object.keys(known), `{ ${body} }`)(...Object.values(known));
}
