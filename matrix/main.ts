// `npm run test:matrix`: the package as it is published, in every runtime and through every bundler, where it has to
// give the same bits. `-- --write` writes the table into README.md. What it runs in is installed from
// matrix/package-lock.json, once.

import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { here } from './row.js';

if (`${process.platform} ${process.arch}` !== 'linux x64') {
  throw new Error(`The runtimes of matrix/package.json are of Linux on x64, got ${process.platform} ${process.arch}.`);
}

const lock = readFileSync(join(here, 'package-lock.json'), 'utf8');
/** The lock that node_modules was installed from. */
const installed = join(here, 'node_modules/.installed.json');
if (!existsSync(installed) || readFileSync(installed, 'utf8') !== lock) {
  console.log('Installing the runtimes of matrix/package-lock.json');
  execFileSync('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: here, stdio: 'inherit' });
  writeFileSync(installed, lock);
}

// Those who are interrupted end as others do: what they leave is cleaned up on exit.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130));

// What has just been installed can only be imported now.
const { runMatrix } = await import('./run.js');
const problems = await runMatrix(process.argv.includes('--write'));
for (const problem of problems) console.error(`\n${problem}`);
// A child that a failed row left running would keep the process.
process.exit(problems.length === 0 ? 0 : 1);
