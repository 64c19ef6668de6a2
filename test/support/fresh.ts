// The package, loaded anew.

import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll } from 'vitest';

const folders: string[] = [];
// Not before: some of it is loaded late.
afterAll(() => folders.forEach((folder) => rmSync(folder, { recursive: true })));

/** A copy of the package's files. */
export function freshFolder(): URL {
  const folder = mkdtempSync(join(tmpdir(), 'twinstep-'));
  folders.push(folder);
  cpSync(new URL('../../dist', import.meta.url), folder, { recursive: true });
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
  return pathToFileURL(`${folder}/`);
}

/** The package as a fresh process loads it: nothing compiled yet. */
export const fresh = async (): Promise<typeof import('twinstep')> =>
  (await import(new URL('index.js', freshFolder()).href)) as typeof import('twinstep');
