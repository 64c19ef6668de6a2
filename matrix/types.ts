// Compiles programs with the packed declarations, by each TypeScript from 5.5, with each way to find modules and each
// set of types that a project may have.

import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { installed, output, root } from './row.js';

/** The versions of TypeScript, and the folder of each. The last is the project's own. */
const versions: Readonly<Record<string, string>> = {
  ...Object.fromEntries(
    ['5.5', '5.6', '5.7', '5.8', '5.9', '6.0'].map((version) => [version, installed(`typescript-${version}`)]),
  ),
  '7.0': join(root, 'node_modules/typescript'),
};

/** The ways to find modules. TypeScript 7 has no node10, and finds modules of `commonjs` as bundlers do. */
const resolutions: Readonly<Record<string, { module: string; moduleResolution?: string }>> = {
  nodenext: { module: 'nodenext' },
  bundler: { module: 'esnext', moduleResolution: 'bundler' },
  node10: { module: 'esnext', moduleResolution: 'node10' },
  commonjs: { module: 'commonjs', moduleResolution: 'node10' },
};

/** A way to find modules, and whether a project has the types of browsers, and those of npm `@webgpu/types`. */
const combinations: readonly [way: string, dom: boolean, webgpu: boolean][] = [
  ['nodenext', false, false],
  ['nodenext', true, false],
  ['nodenext', false, true],
  ['nodenext', true, true],
  ['bundler', true, true],
  ['node10', true, true],
  ['commonjs', true, true],
];

const projectOf = (version: number, way: string, dom: boolean, webgpu: boolean): object => ({
  compilerOptions: {
    target: 'es2022',
    lib: ['es2023', ...(dom ? ['dom'] : [])],
    types: webgpu ? ['@webgpu/types'] : [],
    typeRoots: [join(root, 'node_modules')],
    ...(version === 7 && way === 'commonjs' ? { module: 'commonjs' } : resolutions[way]),
    ...(version === 6 ? { ignoreDeprecations: '6.0' } : {}),
    strict: true,
    noUncheckedIndexedAccess: true,
    exactOptionalPropertyTypes: true,
    // @webgpu/types needs lib.dom, and is at odds with that of TypeScript 6, which has WebGPU.
    skipDefaultLibCheck: true,
    skipLibCheck: webgpu && (!dom || version >= 6),
    noEmit: true,
  },
  // The other files have top-level await, which CommonJS lacks, and need all of WebGPU, in lib.dom from TypeScript 6 on.
  include: way !== 'commonjs' && (webgpu || (dom && version >= 6)) ? ['*.ts'] : ['bare.ts'],
});

export async function checkTypes(folder: string): Promise<string[]> {
  const problems: string[] = [];
  const readme = await readFile(join(root, 'README.md'), 'utf8');
  const example = /```ts\n(.*?)```/s.exec(readme)![1];
  for (const [version, path] of Object.entries(versions)) {
    const tsc = (cwd: string, ...args: string[]): Promise<string> =>
      output(process.execPath, [join(path, 'bin/tsc'), ...args], cwd);
    const projects: string[] = [];
    for (const [way, dom, webgpu] of combinations) {
      if (version === '7.0' && way === 'node10') continue;
      const project = join(folder, 'types', version, `${way}${dom ? '-dom' : ''}${webgpu ? '-webgpu' : ''}`);
      await cp(join(root, 'test/types'), project, { recursive: true });
      await writeFile(join(project, 'tsconfig.json'), JSON.stringify(projectOf(Number(version), way, dom, webgpu)));
      projects.push(project);
    }
    await tsc(folder, '-b', ...projects).catch((error) => problems.push(`TypeScript ${version}: ${error}`));
    if (Number(version) < 5.9) continue;
    const fresh = join(folder, 'types', `${version}-init`);
    await mkdir(fresh);
    await writeFile(join(fresh, 'example.ts'), example);
    await tsc(fresh, '--init');
    await tsc(fresh, '--noEmit').catch((error) => problems.push(`README's example, TypeScript ${version}: ${error}`));
  }
  return problems;
}
