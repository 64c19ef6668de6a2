// The types of a row, and helpers of all rows.

import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

/** The result of a training by matrix/program.mjs. */
export interface Report {
  /** The backend, and the reason for it. */
  readonly name: string;
  readonly reason: string;
  /** The bits of all parameters after the training. */
  readonly bits: readonly number[];
  /** Milliseconds from before the import to the end of the first step. */
  readonly coldStart: number;
  /** The name of the GPU. */
  readonly adapter?: string;
}

export interface Row {
  readonly runtime: string;
  readonly version: string;
  readonly loading: string;
  /** The expected backend, and a part of the expected reason. */
  readonly backend: 'wasm' | 'reference' | 'webgpu';
  readonly reason?: string;
  /** How the cold start is measured, if not in the program. */
  readonly clock?: string;
  /** Part of an error that is accepted: the machine may lack what the row needs. */
  readonly mayLack?: string;
  run(): Promise<Report>;
}

/** The folder matrix/. This file runs in matrix/build/matrix/. */
export const here = fileURLToPath(new URL('../..', import.meta.url));
export const root = join(here, '..');

/** Returns the path of a file of an installed package. */
export const installed = (path: string): string => join(here, 'node_modules', path);

export const versionOf = (name: string): string =>
  JSON.parse(readFileSync(installed(`${name}/package.json`), 'utf8')).version;

/** Returns the version without the patch level. */
export const minor = (version: string): string => version.split('.').slice(0, 2).join('.');

/** Milliseconds until a row fails. Most take a few seconds. */
export const TIMEOUT = 60_000;

const execute = promisify(execFile);

/** Runs a command and returns its output. If it fails, rejects with all of its output. */
export async function output(command: string, args: readonly string[], cwd: string): Promise<string> {
  try {
    return (await execute(command, args, { cwd, timeout: TIMEOUT, maxBuffer: 2 ** 26 })).stdout;
  } catch (error) {
    const { message, stdout, stderr } = error as Error & { stdout: string; stderr: string };
    throw new Error([message, stdout, stderr].join('\n'), { cause: error });
  }
}
