// The packages of bench/package.json, which are installed apart from those that twinstep is made with.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const folder = new URL('../../../../bench/', import.meta.url);
const require = createRequire(new URL('package.json', folder));

/** Throws what Node says where it is not installed. */
export const load = (name: string): unknown => require(name);

/** The version that is installed. */
export function versionOf(name: string): string {
  const path = fileURLToPath(new URL(`node_modules/${name}/package.json`, folder));
  return `${name} ${(JSON.parse(readFileSync(path, 'utf8')) as { version: string }).version}`;
}
