// Opens a CPU backend at once, with kernels that the caller links statically. Used by `twinstep/sync`.

import { hex as squaresHex } from '../../../assembly/squares?hex';
import type { AnyUpdate } from '../../rules/rule.js';
import {
  BY_LIST,
  BY_NAME,
  noneCanRun,
  reasonOf,
  Unavailable,
  type Chosen,
  type Request,
  type Wanted,
} from '../backend.js';
import { openLoaded } from './cpu.js';
import type { Machine } from './machine.js';
import { modulesNow, SQUARES } from './module.js';
import { referenceMachine } from './reference.js';
import { overMemories } from './wasm.js';

/** The kernels of rules, by name: WebAssembly as hex, and the update of the reference. */
export type Kernels = Readonly<Record<string, { readonly hex: string; readonly update: AnyUpdate }>>;

/** All kernels, compiled by the runtime. */
let core: WebAssembly.Module | undefined;

/** Sets the module that a runtime compiled in advance. */
export function provideCore(module: WebAssembly.Module): void {
  core = module;
}

/** Opens WebAssembly, or where it cannot run the reference. Throws an Error with all reasons if neither can. */
export function chooseNow(request: Request, wanted: Wanted, kernels: Kernels): Chosen {
  const candidates = [
    { name: 'wasm', title: 'WebAssembly SIMD', machine: () => wasmMachine(request, kernels) },
    { name: 'reference', title: 'Plain JavaScript', machine: () => referenceMachine((rule) => kernels[rule].update) },
  ] as const;
  const names = wanted === 'auto' ? ['wasm', 'reference'] : [wanted].flat();
  const asked = names.length > 1 ? BY_LIST : BY_NAME;
  const cause = wanted === 'auto' ? 'for parameters in CPU memory' : asked;
  const obstacles: string[] = [];
  for (const each of names) {
    const { name, title, machine } = candidates.find((candidate) => candidate.name === each)!;
    try {
      const backend = openLoaded(request, machine());
      return {
        backend,
        choice: { name, reason: [`${title}, ${cause}.`, ...obstacles.map((obstacle) => `Not ${obstacle}.`)].join(' ') },
      };
    } catch (error) {
      if (!(error instanceof Unavailable)) throw error;
      obstacles.push(`${title}: ${reasonOf(error)}`);
    }
  }
  throw noneCanRun(obstacles);
}

function wasmMachine({ wasm = core, sections }: Request, kernels: Kernels): Machine {
  const modules = modulesNow(wasm, (kernel) => (kernel === SQUARES ? squaresHex : kernels[kernel].hex));
  void modules.load(sections.flatMap(({ rules }) => rules));
  return { threads: 1, load: modules.load, open: overMemories(modules, (alone) => alone) };
}
