// Code that is loaded when it is first used: a step on one thread of WebAssembly needs none of it. The entries of the
// package (src/entries/) set `load`, or `code` if they import it statically. Those for edge runtimes have no WebGPU and
// no threads.

import { Unavailable, type Backend, type Request } from './backend.js';
import type { Candidate, Ranking } from './calibration.js';
import type { Machine } from './cpu/machine.js';
import type { Locate } from './memory.js';

/**
 * Code that may be loaded already, and the function that loads it. Both are own properties, since a page may have added
 * others to `Object.prototype`.
 */
export interface Lazy<Code> {
  code: Code | undefined;
  load: (() => Promise<Code>) | undefined;
}

export const reference: Lazy<{ openReference(request: Request): Promise<Backend> }> = {
  code: undefined,
  load: undefined,
};
export const webgpu: Lazy<{ openWebGPU(request: Request): Promise<Backend> }> = { code: undefined, load: undefined };
/** Recognizes GPU buffers. */
export const gpuMemory: Lazy<{ locate: Locate }> = { code: undefined, load: undefined };
export const threads: Lazy<{ openThreads(request: Request): Promise<Machine> }> = { code: undefined, load: undefined };
export const calibration: Lazy<{ rank(request: Request, candidates: readonly Candidate[]): Promise<Ranking> }> = {
  code: undefined,
  load: undefined,
};

const LACKING = 'this build of twinstep, for edge runtimes, lacks the code';

const cannotRun = (caller: string, why: string): string => `${caller}() cannot run: ${why}.`;

/** Returns code for `caller`, a function. Throws an Error, a sentence, if it has not been loaded. */
export function codeFor<Code>(caller: string, { code }: Lazy<Code>): Code {
  if (code === undefined) throw new Error(cannotRun(caller, LACKING));
  return code;
}

/** Loads the code, once. Rejects with Unavailable if it cannot. */
export async function loaded<Code>(lazy: Lazy<Code>): Promise<Code> {
  if (lazy.code !== undefined) return lazy.code;
  if (lazy.load === undefined) throw new Unavailable(LACKING);
  try {
    return (lazy.code = await lazy.load());
  } catch (error) {
    throw new Unavailable(`its code cannot be loaded here (${error})`);
  }
}

/** Loads the code for `caller`, a function. Rejects with an Error that is a sentence. */
export async function loadedFor<Code>(caller: string, lazy: Lazy<Code>): Promise<Code> {
  try {
    return await loaded(lazy);
  } catch (error) {
    throw new Error(cannotRun(caller, (error as Error).message), { cause: error });
  }
}
