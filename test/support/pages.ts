// Reads README.md, the other pages at the top, and docs/. Makes a file of each block of TypeScript, and checks links.

import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = new URL('../../', import.meta.url);
const folder = new URL('build/docs/', root);

export interface Block {
  /** The page and the line of the fence: 'docs/gpu.md:12'. */
  readonly at: string;
  /** The TypeScript file, at the line numbers of the page. */
  readonly file: string;
  /** What each console.log prints, in order: the comment after it, or undefined if there is none. */
  readonly prints: readonly (string | undefined)[];
}

/**
 * Writes a file for each block of language ts into build/docs/, with a tsconfig.json. A block that begins with an
 * import is a whole program. Any other block is an excerpt: it continues the first program of its page, in a scope of
 * its own.
 */
export function writeBlocks(): { config: string; blocks: Block[] } {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const config = fileURLToPath(new URL('tsconfig.json', folder));
  writeFileSync(config, JSON.stringify({ compilerOptions, include: ['*.ts'] }));
  return { config, blocks: pages(root).flatMap(blocksOf) };
}

/** Returns the cells of each row of all tables of a page. */
export function rowsOf(page: string): string[][] {
  const lines = readFileSync(new URL(page, root), 'utf8').match(/^\|.*\|$/gm) ?? [];
  return lines.map((line) =>
    line
      .slice(1, -1)
      .split('|')
      .map((cell) => cell.trim()),
  );
}

/** Returns the links of all pages in a folder to files that do not exist, or to headings that their page lacks. */
export function brokenLinks(base: URL = root): string[] {
  return pages(base).flatMap((page) => {
    const text = withoutCode(readFileSync(new URL(page, base), 'utf8'));
    const targets = [...text.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target]) => target);
    return targets
      .filter((target) => !/^https?:/.test(target) && !exists(base, page, target))
      .map((to) => `${page}: ${to}`);
  });
}

function exists(base: URL, page: string, target: string): boolean {
  const [path, heading] = target.split('#');
  const url = new URL(path === '' ? page : path, path === '' ? base : new URL(page, base));
  if (!existsSync(url)) return false;
  if (heading === undefined) return true;
  const headings = withoutCode(readFileSync(url, 'utf8')).matchAll(/^#+ (.*)$/gm);
  return Array.from(headings, ([, title]) => anchor(title)).includes(heading);
}

/** Returns the anchor that GitHub gives to a heading. */
const anchor = (title: string): string =>
  title
    .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\p{M} _-]/gu, '')
    .replaceAll(' ', '-');

const withoutCode = (text: string): string => text.replace(/^\s*```[^]*?^\s*```$/gm, '');

function pages(base: URL): string[] {
  const markdown = (path: string) => readdirSync(new URL(path, base)).filter((name) => name.endsWith('.md'));
  return [...markdown('.'), ...markdown('docs/').map((name) => `docs/${name}`)];
}

/** What `tsc --init` of TypeScript 5.9 and newer turns on, and the types of Node. */
export const compilerOptions = {
  target: 'esnext',
  module: 'nodenext',
  types: ['node'],
  strict: true,
  noUncheckedIndexedAccess: true,
  exactOptionalPropertyTypes: true,
  verbatimModuleSyntax: true,
  isolatedModules: true,
  noUncheckedSideEffectImports: true,
  moduleDetection: 'force',
  skipLibCheck: true,
  rootDir: '.',
};

/** Compiles by a tsconfig.json. Returns what TypeScript reports: nothing if all compiles. */
export function compile(config: string): string {
  const tsc = join(createRequire(import.meta.url).resolve('typescript/package.json'), '../bin/tsc');
  try {
    return execFileSync(process.execPath, [tsc, '-p', config], { encoding: 'utf8' });
  } catch (error) {
    return (error as { stdout: string }).stdout;
  }
}

function blocksOf(page: string): Block[] {
  const lines = readFileSync(new URL(page, root), 'utf8').split('\n');
  const blocks: Block[] = [];
  let program: { from: number; to: number } | undefined;
  for (let from = 0; from < lines.length; from++) {
    if (!/^\s*```/.test(lines[from])) continue;
    const to = lines.indexOf('```', from + 1);
    if (to < 0) throw new Error(`Expected a line \`\`\` after line ${from + 1} of ${page}, got none.`);
    if (lines[from].trim() === '```ts') {
      const isProgram = lines[from + 1].startsWith('import ');
      if (isProgram) program ??= { from, to };
      const at = `${page}:${from + 1}`;
      if (program === undefined) throw new Error(`Expected a program above the excerpt at ${at}, got none.`);
      const { from: first, to: last } = isProgram ? { from, to } : program;
      // Everything else is left blank, so that line numbers are those of the page.
      const kept = lines.map((line, i) => ((i > first && i < last) || (i > from && i < to) ? line : ''));
      if (!isProgram) [kept[from], kept[to]] = ['{', '}'];
      const file = fileURLToPath(new URL(`${at.replace(/\W/g, '-')}.ts`, folder));
      writeFileSync(file, kept.slice(0, to + 1).join('\n'));
      const prints = [...kept.join('\n').matchAll(/console\.log\([^]*?\);(?: \/\/ (.*))?$/gm)].map(([, text]) => text);
      blocks.push({ at, file, prints });
    }
    from = to;
  }
  return blocks;
}
