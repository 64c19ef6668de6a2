// Loads the package again.

import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll } from 'vitest';

const folders: string[] = [];
// Only at the end, since the package loads some files late.
afterAll(() => folders.forEach((folder) => rmSync(folder, { recursive: true })));

/** Copies the package's files to a new folder. */
export function freshFolder(): URL {
  const folder = mkdtempSync(join(tmpdir(), 'twinstep-'));
  folders.push(folder);
  cpSync(new URL('../../dist', import.meta.url), folder, { recursive: true });
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
  return pathToFileURL(`${folder}/`);
}

/** Loads a copy of the package like a new process does: nothing is compiled yet. */
export const fresh = async (): Promise<typeof import('twinstep')> =>
  (await import(new URL('index.js', freshFolder()).href)) as typeof import('twinstep');
