// `npm run test:matrix`: runs the package as it is published, in every runtime and through every bundler, and checks
// that the bits are the same. `-- --write` writes the table into docs/edge.md. The runtimes are installed from
// matrix/package-lock.json, once.

import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { here } from './row.js';

if (`${process.platform} ${process.arch}` !== 'linux x64') {
  throw new Error(`The runtimes of matrix/package.json need Linux on x64, got ${process.platform} ${process.arch}.`);
}

const lock = readFileSync(join(here, 'package-lock.json'), 'utf8');
/** A copy of the lock file that node_modules was installed from. */
const installed = join(here, 'node_modules/.installed.json');
if (!existsSync(installed) || readFileSync(installed, 'utf8') !== lock) {
  console.log('Installing the runtimes of matrix/package-lock.json');
  execFileSync('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: here, stdio: 'inherit' });
  writeFileSync(installed, lock);
}

// On a signal, exit normally, so that exit handlers clean up.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130));

// Import late: the packages are installed by now.
const { runMatrix } = await import('./run.js');
const problems = await runMatrix(process.argv.includes('--write'));
for (const problem of problems) console.error(`\n${problem}`);
// Exit explicitly: a child process of a failed row may still run.
process.exit(problems.length === 0 ? 0 : 1);
