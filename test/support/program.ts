// Programs in processes of their own.

import { execFileSync } from 'node:child_process';

/** An entry of the package. */
export const entry = (file: string): string => new URL(`../../dist/${file}`, import.meta.url).href;

/** Runs a program that has `adamw`, with options of Node's, and gives what it prints. */
export function run(program: string, file = 'index.js', options: readonly string[] = []): string {
  const code = `import { adamw } from ${JSON.stringify(entry(file))};\n${program}`;
  return execFileSync(process.execPath, [...options, '--input-type=module', '-e', code], {
    encoding: 'utf8',
    timeout: 60_000,
  });
}
