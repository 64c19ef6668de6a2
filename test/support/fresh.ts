// The package, loaded anew.

import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

/** The package as a fresh process loads it: nothing compiled yet. */
export async function fresh(): Promise<typeof import('twinstep')> {
  const folder = mkdtempSync(join(tmpdir(), 'twinstep-'));
  cpSync(new URL('../../dist', import.meta.url), folder, { recursive: true });
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
  const twinstep = (await import(pathToFileURL(join(folder, 'index.js')).href)) as typeof import('twinstep');
  rmSync(folder, { recursive: true });
  return twinstep;
}
