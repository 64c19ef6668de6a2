// Loads code at its first use: a step on one thread of WebAssembly needs none of it. The entries of the package
// (src/entries/) provide it; those of edge runtimes provide only the reference, which they import statically.

import { Unavailable, type Backend, type Request } from './backend.js';
import type { Candidate, Ranking } from './calibration.js';
import type { Machine } from './cpu/cpu.js';
import type { Arrays, Rule } from '../rules/rule.js';

interface LateCode {
  reference(): Promise<{
    openReference(request: Request): Promise<Backend>;
    apply(rule: Rule, arrays: Arrays, scalars: Readonly<Record<string, number>>): void;
  }>;
  webgpu(): Promise<{ openWebGPU(request: Request): Promise<Backend> }>;
  threads(): Promise<{ openThreads(request: Request): Promise<Machine> }>;
  calibration(): Promise<{ rank(request: Request, candidates: readonly Candidate[]): Promise<Ranking> }>;
}

const provided: Partial<LateCode> = {};

export function provideLate(code: Partial<LateCode>): void {
  Object.assign(provided, code);
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
