// Checks the package: runs linters for packages, and finds code that must not be in dist/.

import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { build } from 'esbuild';
import { walk } from 'estree-walker';
import { publint } from 'publint';
import { formatMessage } from 'publint/utils';
import { parseAst } from 'rollup/parseAst';
import { installed, output } from './row.js';

const forbiddenNames = new Set(['eval', 'Function', 'require', 'process']);

/** Finds code that a runtime may forbid or lack. A method named `eval` is fine: Schedule-Free has one. */
const forbidden = (node: any, parent: any): boolean =>
  (node.type === 'MetaProperty' && node.meta.name === 'import') ||
  (node.type === 'Identifier' && forbiddenNames.has(node.name) && parent.key !== node && parent.property !== node);

export async function checkPackage(tarball: string, folder: string): Promise<string[]> {
  const pkgDir = join(folder, 'node_modules/twinstep');
  const pkg = JSON.parse(await readFile(join(pkgDir, 'package.json'), 'utf8'));
  const problems: string[] = [];

  const { messages } = await publint({ pack: { tarball: await exactBuffer(tarball) }, strict: true });
  problems.push(...messages.map((message: unknown) => `publint: ${formatMessage(message, pkg)}`));

  const attw = installed('@arethetypeswrong/cli/dist/index.js');
  // core.wasm is not JavaScript, and has no types.
  const args = [attw, tarball, '--profile', 'esm-only', '--exclude-entrypoints', './core.wasm', '--no-color'];
  await output(process.execPath, args, folder).catch((error) => problems.push(`arethetypeswrong: ${error}`));

  for (const key of ['dependencies', 'peerDependencies', 'optionalDependencies', 'bundleDependencies']) {
    if (Object.keys(pkg[key] ?? {}).length > 0) problems.push(`The package has ${key}.`);
  }
  for (const name of (await readdir(join(pkgDir, 'dist'))).filter((file) => file.endsWith('.js'))) {
    const path = join(pkgDir, 'dist', name);
    const code = await readFile(path, 'utf8');
    walk(parseAst(code), {
      enter(node: any, parent: any) {
        if (forbidden(node, parent)) problems.push(`dist/${name} has ${code.slice(parent.start, parent.end)}.`);
      },
    });
    await bundles(path).catch((error) => problems.push(`dist/${name}: ${error}`));
  }
  return problems;
}

async function exactBuffer(path: string): Promise<ArrayBuffer> {
  const { buffer, byteOffset, byteLength } = await readFile(path);
  return buffer.slice(byteOffset, byteOffset + byteLength) as ArrayBuffer;
}

/** Rejects if the file imports something outside the package, or has a top-level await. */
const bundles = (path: string): Promise<unknown> =>
  build({
    entryPoints: [path],
    bundle: true,
    write: false,
    format: 'esm',
    platform: 'neutral',
    supported: { 'top-level-await': false },
    external: ['./core.wasm', './core.wasm?module'],
    logLevel: 'silent',
  });
