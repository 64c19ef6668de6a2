// What a row of the matrix is, and what the families of rows share.

import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

/** What matrix/program.mjs reports of a training. */
export interface Report {
  /** The backend, and why it is this one. */
  readonly name: string;
  readonly reason: string;
  /** Of all parameters after the training. */
  readonly bits: readonly number[];
  /** Milliseconds from before the import to the first step done. */
  readonly coldStart: number;
  /** What a GPU calls itself. */
  readonly adapter?: string;
}

export interface Row {
  readonly runtime: string;
  readonly version: string;
  readonly loading: string;
  /** The backend that there has to be, and what its reason has to contain. */
  readonly backend: 'wasm' | 'reference' | 'webgpu';
  readonly reason?: string;
  /** How the cold start was measured, where it is not within the program. */
  readonly clock?: string;
  /** Part of the error of a machine that lacks what the row needs, and may. */
  readonly mayLack?: string;
  run(): Promise<Report>;
}

/** matrix/, as seen from matrix/build/matrix/. */
export const here = fileURLToPath(new URL('../..', import.meta.url));
export const root = join(here, '..');

/** A file of a package of matrix/package.json. */
export const installed = (path: string): string => join(here, 'node_modules', path);

export const versionOf = (name: string): string =>
  JSON.parse(readFileSync(installed(`${name}/package.json`), 'utf8')).version;

/** Patch levels say nothing to a reader. */
export const minor = (version: string): string => version.split('.').slice(0, 2).join('.');

/** Milliseconds that a row may take before it has failed: some take a second. */
export const PATIENCE = 60_000;

const execute = promisify(execFile);

/** What a command prints. It rejects with all of the command's output, should that fail. */
export async function output(command: string, args: readonly string[], cwd: string): Promise<string> {
  try {
    return (await execute(command, args, { cwd, timeout: PATIENCE, maxBuffer: 2 ** 26 })).stdout;
  } catch (error) {
    const { message, stdout, stderr } = error as Error & { stdout: string; stderr: string };
    throw new Error([message, stdout, stderr].join('\n'), { cause: error });
  }
}
