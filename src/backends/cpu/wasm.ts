// WebAssembly SIMD: runs the kernels of assembly/ on a WebAssembly.Memory of the optimizer's own.

import { Unavailable, type Backend, type Request } from '../backend.js';
import { makeCall, type Call } from './call.js';
import { bind, modulesOf, SQUARES, type Kernel, type Modules } from './module.js';
import { openCpu } from './cpu.js';
import type { Machine, RunKernel, Squares } from './machine.js';
import { loaded, threads as lateThreads } from '../lazy.js';

const PAGE = 65536;
const MAX_PAGES = 65536;

/** Returns a function that opens memories and binds kernels to them. `share` wraps each call, to run it on threads. */
export const overMemories =
  (
    modules: Modules,
    share: (alone: RunKernel, call: Call, module: WebAssembly.Module, memory: WebAssembly.Memory) => RunKernel,
  ): Machine['open'] =>
  (bytes) => {
    const pages = Math.ceil(bytes / PAGE);
    if (pages > MAX_PAGES)
      throw new Unavailable(`it needs ${bytes} bytes, more than the 4 GiB of a WebAssembly memory`);
    const memory = allocate(pages, modules.shared);
    const bound = new Map<WebAssembly.Module, (name: string) => Kernel>();
    const bindTo = (module: WebAssembly.Module, name: string): Kernel => {
      let kernel = bound.get(module);
      if (kernel === undefined) bound.set(module, (kernel = bind(module, memory)));
      return kernel(name);
    };
    return {
      buffer: memory.buffer,
      kernel(rule, { arrays }) {
        const { name, takesGrad, slots } = rule;
        const module = modules.of(name);
        const call = { name, takesGrad, arrays: ['param', ...slots].map((array) => arrays[array]) };
        return share(makeCall(bindTo(module, name), call), call, module, memory);
      },
      squares: () => bindTo(modules.of(SQUARES), SQUARES) as unknown as Squares,
    };
  };

function allocate(pages: number, shared: boolean): WebAssembly.Memory {
  try {
    return new WebAssembly.Memory({ initial: pages, maximum: pages, shared });
  } catch (error) {
    throw new Unavailable(`WebAssembly cannot allocate ${pages * PAGE} bytes (${error})`);
  }
}

/** Opens WebAssembly on the requested number of threads; if that fails, on one, with a remark that says why. */
export async function openWasm(request: Request): Promise<Backend> {
  const { threads, wasm } = request;
  let remark: string | undefined;
  if (threads > 1) {
    try {
      return await openCpu(request, await (await loaded(lateThreads)).openThreads(request));
    } catch (error) {
      if (!(error instanceof Unavailable)) throw error;
      remark = `One thread, not ${threads}: ${error.message}.`;
    }
  }
  const modules = modulesOf(wasm);
  const open = overMemories(modules, (alone) => alone);
  return openCpu(request, { load: modules.load, open, threads: 1, remark });
}
