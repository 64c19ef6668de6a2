// Loads the packages of bench/package.json, which are installed separately from twinstep's own.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const folder = new URL('../../../../bench/', import.meta.url);
const require = createRequire(new URL('package.json', folder));

/** Throws Node's error if the package is not installed. */
export const load = (name: string): unknown => require(name);

/** Returns the name and the installed version. */
export function versionOf(name: string): string {
  const path = fileURLToPath(new URL(`node_modules/${name}/package.json`, folder));
  return `${name} ${(JSON.parse(readFileSync(path, 'utf8')) as { version: string }).version}`;
}
