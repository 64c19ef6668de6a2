// Checks the source maps of the package: they lead to its TypeScript, also through Node and a bundler.

import { existsSync } from 'node:fs';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { bundleFor } from './bundles.js';
import { output } from './row.js';

/** Prints the stack of an error that the package throws. */
const PROGRAM = `
import { adamw } from 'twinstep';
const error = await adamw({ w: [1] }).catch((thrown) => thrown);
console.log(error.stack);
`;

export async function checkMaps(folder: string): Promise<string[]> {
  const problems: string[] = [];
  const dist = join(folder, 'node_modules/twinstep/dist');
  const files = await readdir(dist, { recursive: true });
  for (const name of files.filter((file) => /\.(?:js|d\.ts)$/.test(file))) {
    const { sources } = JSON.parse(await readFile(join(dist, `${name}.map`), 'utf8'));
    const missing = sources.filter((source: string) => !existsSync(join(dist, dirname(name), source)));
    if (missing.length > 0) problems.push(`The source map of dist/${name} names ${missing}, which do not exist.`);
  }
  await writeFile(join(folder, 'maps.mjs'), PROGRAM);
  await writeFile(
    join(folder, 'maps-min.mjs'),
    PROGRAM.replace("'twinstep'", "'./node_modules/twinstep/dist/min/twinstep.js'"),
  );
  await bundleFor(['import'], { sourcemap: true })(join(folder, 'maps.mjs'), join(folder, 'maps'));
  for (const program of ['maps.mjs', 'maps-min.mjs', 'maps/program.js']) {
    const stack = await output(process.execPath, ['--enable-source-maps', program], folder);
    for (const source of ['src/errors.ts', 'src/create.ts']) {
      if (!stack.includes(`node_modules/twinstep/${source}:`)) problems.push(`${program}: no ${source} in ${stack}.`);
    }
  }
  return problems;
}
