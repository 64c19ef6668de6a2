// Code that is loaded when it is asked for: whoever steps on one thread of the CPU does without it. The entries of the
// package (src/entries/) bring it, those of edge runtimes none.

import { Unavailable, type Backend, type Request } from './backend.js';
import type { Candidate, Ranking } from './calibration.js';
import type { Machine } from './cpu/cpu.js';

interface LateCode {
  webgpu(): Promise<{ openWebGPU(request: Request): Promise<Backend> }>;
  threads(): Promise<{ openThreads(request: Request): Promise<Machine> }>;
  calibration(): Promise<{ rank(request: Request, candidates: readonly Candidate[]): Promise<Ranking> }>;
}

let provided: Partial<LateCode> = {};

export function provideLate(code: LateCode): void {
  provided = code;
}

/** Rejects, with a reason in the middle of a sentence, where there is no such code. */
export async function late<Name extends keyof LateCode>(name: Name): Promise<Awaited<ReturnType<LateCode[Name]>>> {
  const load = provided[name];
  if (load === undefined) throw new Unavailable('this build of twinstep, of an edge runtime, has none');
  try {
    return (await load()) as Awaited<ReturnType<LateCode[Name]>>;
  } catch (error) {
    throw new Unavailable(`its code cannot be loaded here (${error})`);
  }
}
