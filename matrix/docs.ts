// Runs the programs of docs/ that need a browser, unchanged. A block of language html is a page; a block of language js
// is a file that pages load, named by its first line: `// train.js`. The text block after a page has a line for each
// time that the page is loaded: what its <output> shows.

import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { root, TIMEOUT } from './row.js';

interface Program {
  /** The page and the line of the fence: 'docs/browsers.md:12'. */
  readonly at: string;
  readonly file: string;
  /** What it shows, each time it is loaded. */
  shows: readonly string[];
}

/** Writes the programs into a folder that has node_modules. */
async function writePrograms(folder: string): Promise<Program[]> {
  const programs: Program[] = [];
  const pages = (await readdir(join(root, 'docs'))).filter((name) => name.endsWith('.md'));
  for (const page of pages) {
    const text = await readFile(join(root, 'docs', page), 'utf8');
    let program: Program | undefined;
    for (const { index, 1: language, 2: code } of text.matchAll(/^```(\w*)\n([^]*?)^```$/gm)) {
      const at = `docs/${page}:${text.slice(0, index).split('\n').length}`;
      if (language === 'html') {
        program = { at, file: `${at.replace(/\W/g, '-')}.html`, shows: [] };
        programs.push(program);
        await writeFile(join(folder, program.file), code);
      } else if (language === 'js') {
        const file = /^\/\/ ([\w.]+\.js)\n/.exec(code)?.[1];
        if (file === undefined) throw new Error(`Expected the first line of ${at} to be // and the name of a file.`);
        await writeFile(join(folder, file), code);
      } else if (language === 'text' && program !== undefined) {
        program.shows = code.trimEnd().split('\n');
        program = undefined;
      }
    }
  }
  return programs;
}

/** Returns a sentence for each program that shows something else, or reports an error. */
export async function checkPrograms(folder: string, browser: any, address: string): Promise<string[]> {
  const programs = await writePrograms(folder);
  const problems: string[] = [];
  if (programs.length === 0) problems.push('Expected programs for a browser in docs/, got none.');
  for (const { at, file, shows } of programs) {
    if (shows.length === 0) problems.push(`Expected a text block under ${at} with what the page shows, got none.`);
    const context = await browser.newContext();
    const tab = await context.newPage();
    tab.on('pageerror', (error: Error) => problems.push(`${at}: ${error.stack}`));
    tab.on('console', (message: any) => message.type() === 'error' && problems.push(`${at}: ${message.text()}`));
    for (const [i, wanted] of shows.entries()) {
      await (i === 0 ? tab.goto(`${address}/${file}`) : tab.reload());
      const shown = "document.querySelector('output')?.textContent";
      await tab.waitForFunction(`${shown} === ${JSON.stringify(wanted)}`, null, { timeout: TIMEOUT }).catch(() => {});
      const got = await tab.evaluate(shown);
      console.log(`Chromium ${browser.version()}: ${at} shows "${got}"`);
      if (got !== wanted) problems.push(`${at}: Expected the page to show "${wanted}", got "${got}".`);
    }
    await context.close();
  }
  return problems;
}
