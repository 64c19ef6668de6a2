// The entries of a package by import name, and the copies of matrix/program.mjs that import them.

import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** The entries that create optimizers, besides `twinstep`. */
const others = ['sync', 'webgpu'];

/** The program that imports `twinstep/ENTRY` instead of `twinstep`, in the folder of all programs. */
export const programOf = (entry?: string): string => `program${entry === undefined ? '' : `-${entry}`}.mjs`;

/** Writes the programs of the other entries, and a handler of each, into a folder. */
export async function writePrograms(folder: string): Promise<void> {
  const [program, handler] = await Promise.all(
    ['program.mjs', 'handler.mjs'].map((name) => readFile(join(folder, name), 'utf8')),
  );
  for (const entry of others) {
    await writeFile(join(folder, programOf(entry)), program.replace("'twinstep'", `'twinstep/${entry}'`));
    await writeFile(join(folder, `handler-${entry}.mjs`), handler.replace(programOf(), programOf(entry)));
  }
}

type Exports = Record<string, string | Record<string, string>>;

/** Returns import names and files from `exports`, for a condition or the default. */
export const entriesOf = (exports: Exports, condition = 'default'): [name: string, path: string][] =>
  Object.entries(exports).flatMap(([key, targets]): [string, string][] =>
    typeof targets === 'string' ? [] : [[`twinstep${key.slice(1)}`, targets[condition] ?? targets.default]],
  );
