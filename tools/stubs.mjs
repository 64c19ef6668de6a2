// Writes a file for each entry of `exports`, such as schedules.js, for resolvers that do not read `exports` (npm
// `resolve`, which eslint-plugin-import and browserify use). `npm pack` runs this before, and with `remove` after it.

import { readFileSync, rmSync, writeFileSync } from 'node:fs';

const { exports } = JSON.parse(readFileSync('package.json', 'utf8'));

for (const [entry, target] of Object.entries(exports)) {
  if (entry === '.' || typeof target === 'string') continue;
  if (process.argv[2] === 'remove') rmSync(`${entry}.js`, { force: true });
  else writeFileSync(`${entry}.js`, `export * from '${target.default}';\n`);
}
