// Tests the layers of src/: what each folder may import. Type imports and `import()` count too.

import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const src = fileURLToPath(new URL('../src/', import.meta.url));

/** Folders and root files, lowest first, and what each may import: these, what these import, and itself. */
const layers: Readonly<Record<string, readonly string[]>> = {
  'platform.ts': [],
  'errors.ts': [],
  math: [],
  rules: ['math'],
  algorithms: ['math', 'rules', 'errors.ts'],
  backends: ['math', 'rules', 'errors.ts', 'platform.ts'],
  inputs: ['algorithms', 'backends', 'errors.ts'],
  step: ['inputs', 'algorithms', 'backends'],
  state: ['step', 'inputs'],
  'optimizer.ts': ['state', 'step'],
  'create.ts': ['optimizer.ts', 'inputs'],
  averages: ['create.ts', 'optimizer.ts', 'state'],
  'index.ts': ['averages', 'create.ts'],
  'webgpu.ts': ['index.ts', 'averages', 'create.ts'],
  'sync.ts': ['index.ts', 'averages', 'create.ts'],
  schedules: ['algorithms', 'math', 'errors.ts'],
  checkpoint: ['optimizer.ts', 'state', 'errors.ts'],
  kernels: ['step', 'backends', 'algorithms'],
  entries: ['index.ts', 'sync.ts', 'webgpu.ts', 'kernels', 'state', 'backends'],
};

/** The layer of a file: its folder, or the file itself at the root. */
const layerOf = (file: string): string => file.split('/')[0];

const files = readdirSync(src, { recursive: true, encoding: 'utf8' })
  .map((file) => file.replaceAll('\\', '/'))
  .filter((file) => file.endsWith('.ts') && !file.endsWith('.d.ts'));

const imported = (file: string): string[] => {
  const code = readFileSync(join(src, file), 'utf8');
  const specifiers = [...code.matchAll(/\b(?:from|import)\b\s*\(?\s*(?:\/\*.*?\*\/\s*)?'(\.[^']*?\.js)(?:\?text)?'/g)];
  return specifiers.map(([, path]) => relative(src, join(src, dirname(file), path)).replace(/\.js$/, '.ts'));
};

const imports = new Map(files.map((file) => [file, imported(file).filter((each) => files.includes(each))]));

/** Returns the layer and all layers below it. */
function below(layer: string, found = new Set<string>()): ReadonlySet<string> {
  if (!found.has(layer)) {
    found.add(layer);
    for (const next of layers[layer]) below(next, found);
  }
  return found;
}

/** Returns the nodes of a cycle, if there is one. */
function cycle<Node>(graph: ReadonlyMap<Node, readonly Node[]>): readonly Node[] | undefined {
  const done = new Set<Node>();
  const visit = (node: Node, path: readonly Node[]): readonly Node[] | undefined => {
    if (path.includes(node)) return [...path.slice(path.indexOf(node)), node];
    if (done.has(node)) return undefined;
    for (const next of graph.get(node)!) {
      const found = visit(next, [...path, node]);
      if (found !== undefined) return found;
    }
    done.add(node);
    return undefined;
  };
  for (const node of graph.keys()) {
    const found = visit(node, []);
    if (found !== undefined) return found;
  }
  return undefined;
}

test('every folder and root file is a layer, and imports are found', () => {
  expect([...new Set(files.map(layerOf))].toSorted()).toEqual(Object.keys(layers).toSorted());
  expect(imports.get('index.ts')).toContain('create.ts');
  expect(imports.get('entries/default.ts')).toContain('backends/webgpu/open-all.ts');
});

test('the root has at most seven files', () => {
  expect(files.filter((file) => !file.includes('/')).length).toBeLessThanOrEqual(7);
});

test.each(Object.keys(layers))('%s imports only lower layers', (layer) => {
  const allowed = below(layer);
  const wrong = files
    .filter((file) => layerOf(file) === layer)
    .flatMap((file) => imports.get(file)!.map((each) => [file, each] as const))
    .filter(([, each]) => !allowed.has(layerOf(each)));
  expect(wrong.map(([file, each]) => `${file} -> ${each}`)).toEqual([]);
});

test('backends for the CPU and for the GPU do not import each other', () => {
  const isIn = (folder: string, file: string): boolean => file.startsWith(`backends/${folder}/`);
  const wrong = files.flatMap((file) =>
    imports.get(file)!.flatMap((each) => {
      const isMixed = (isIn('cpu', file) && isIn('webgpu', each)) || (isIn('webgpu', file) && isIn('cpu', each));
      return isMixed ? [`${file} -> ${each}`] : [];
    }),
  );
  expect(wrong).toEqual([]);
});

test('files have no import cycle', () => {
  expect(cycle(imports)).toBeUndefined();
});

test('folders have no import cycle', () => {
  expect(cycle(new Map(Object.entries(layers)))).toBeUndefined();
});

test('cycle() finds a cycle', () => {
  expect(cycle(new Map(Object.entries({ a: ['b'], b: ['c'], c: ['b'] })))).toEqual(['b', 'c', 'b']);
});
