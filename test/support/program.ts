// Runs programs in separate processes.

import { execFileSync } from 'node:child_process';

/** Returns the URL of an entry of the package. */
export const entry = (file: string): string => new URL(`../../dist/${file}`, import.meta.url).href;

/** Runs a program that imports `adamw`, with options for Node, and returns its output. */
export function run(program: string, file = 'index.js', options: readonly string[] = []): string {
  const code = `import { adamw } from ${JSON.stringify(entry(file))};\n${program}`;
  return execFileSync(process.execPath, [...options, '--input-type=module', '-e', code], {
    encoding: 'utf8',
    timeout: 60_000,
  });
}
