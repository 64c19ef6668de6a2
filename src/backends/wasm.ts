// WebAssembly SIMD: the kernels of assembly/, over a WebAssembly.Memory of the optimizer's own.

import { base64 } from '../../assembly/core.wasm';
import { arraysOf } from '../layout.js';
import { Unavailable, type Backend, type Request } from './backend.js';
import { openCpu, type OpenKernels, type RunKernel } from './cpu.js';

type Kernel = (by: number, ...arraysAndBytes: number[]) => void;

const PAGE = 65536;
const MAX_PAGES = 65536;

let core: WebAssembly.Module | undefined;

/** The kernels, compiled at first use. Synchronously: the module is a few kB, far below the limit of any browser. */
function compile(): WebAssembly.Module {
  try {
    return (core ??= new WebAssembly.Module(Uint8Array.from(atob(base64), (char) => char.charCodeAt(0))));
  } catch (error) {
    // No WebAssembly at all, no SIMD, or a policy against compiling from bytes.
    throw new Unavailable(`WebAssembly cannot be compiled here (${error})`);
  }
}

const openKernels: OpenKernels = (bytes) => {
  const module = compile();
  const pages = Math.ceil(bytes / PAGE);
  if (pages > MAX_PAGES) throw new Unavailable(`it takes ${bytes} bytes, more than the 4 GiB of a WebAssembly memory`);
  const memory = allocate(pages);
  const kernels = new WebAssembly.Instance(module, { env: { memory } }).exports as Record<string, Kernel>;
  return {
    buffer: memory.buffer,
    kernel: (rule, { arrays }) =>
      direct(
        kernels[rule.name],
        arraysOf(rule).map((name) => arrays[name]),
      ),
  };
};

function allocate(pages: number): WebAssembly.Memory {
  try {
    return new WebAssembly.Memory({ initial: pages, maximum: pages });
  } catch (error) {
    throw new Unavailable(`WebAssembly got no memory of ${pages * PAGE} bytes (${error})`);
  }
}

/** A call with its arguments written out: a spread one costs 40 times as much. */
function direct(kernel: Kernel, arrays: readonly number[]): RunKernel {
  const [a, b, c, d, e] = arrays;
  switch (arrays.length) {
    case 2:
      return (by, at, bytes) => kernel(by, a + at, b + at, bytes);
    case 3:
      return (by, at, bytes) => kernel(by, a + at, b + at, c + at, bytes);
    case 4:
      return (by, at, bytes) => kernel(by, a + at, b + at, c + at, d + at, bytes);
    case 5:
      return (by, at, bytes) => kernel(by, a + at, b + at, c + at, d + at, e + at, bytes);
    default:
      throw new RangeError(`No call is written out for ${arrays.length} arrays.`);
  }
}

export const openWasm = (request: Request): Promise<Backend> => openCpu(request, openKernels);
