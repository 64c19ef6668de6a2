// Checks the package: runs linters for packages, resolves its entries without `exports`, follows the links of its pages,
// and finds code that must not be in dist/.

import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { walk } from 'estree-walker';
import { publint } from 'publint';
import { formatMessage } from 'publint/utils';
import resolve from 'resolve';
import { parseAst } from 'rollup/parseAst';
import { brokenLinks } from '../test/support/pages.js';
import { entriesOf } from './entries.js';
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
  // The package has ES modules only, which TypeScript's node16 refuses in a `require`. core.wasm has no types.
  const except = ['--ignore-rules', 'cjs-resolves-to-esm', '--exclude-entrypoints', './core.wasm'];
  const args = [attw, tarball, ...except, '--no-color'];
  await output(process.execPath, args, folder).catch((error) => problems.push(`arethetypeswrong: ${error}`));

  problems.push(...(await checkPaths(pkg, pkgDir)));
  problems.push(...brokenLinks(pathToFileURL(`${pkgDir}/`)).map((link) => `The package lacks the target of ${link}.`));

  for (const key of ['dependencies', 'peerDependencies', 'optionalDependencies', 'bundleDependencies']) {
    if (Object.keys(pkg[key] ?? {}).length > 0) problems.push(`The package has ${key}.`);
  }
  for (const name of (await readdir(join(pkgDir, 'dist'), { recursive: true })).filter((file) =>
    file.endsWith('.js'),
  )) {
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

/** Checks that all paths of package.json exist, and that all entries are found without `exports` too. */
async function checkPaths(pkg: any, pkgDir: string): Promise<string[]> {
  const problems = pathsOf(pkg)
    .filter((path) => !existsSync(join(pkgDir, path)))
    .map((path) => `package.json names ${path}, which the package does not have.`);
  const types = entriesOf(pkg.exports, 'types');
  for (const [i, [name, path]] of entriesOf(pkg.exports).entries()) {
    const [expected, found] = await Promise.all(
      [join(pkgDir, path), resolve.sync(name, { basedir: pkgDir })].map(load),
    );
    if (JSON.stringify(Object.keys(found)) !== JSON.stringify(Object.keys(expected))) {
      problems.push(`Without \`exports\`, ${name} has ${Object.keys(found)}, not ${Object.keys(expected)}.`);
    }
    const declared = name === 'twinstep' ? [pkg.types] : pkg.typesVersions['*'][name.slice('twinstep/'.length)];
    if (String(declared) !== types[i][1]) {
      problems.push(`Without \`exports\`, the types of ${name} are ${declared}, not ${types[i][1]}.`);
    }
  }
  return problems;
}

const load = (path: string): Promise<object> => import(pathToFileURL(path).href);

/** Returns all strings in package.json that are paths. */
const pathsOf = (value: unknown): string[] => {
  if (typeof value === 'string') return value.startsWith('./') ? [value] : [];
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(pathsOf) : [];
};

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
