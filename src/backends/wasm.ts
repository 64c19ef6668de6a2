// WebAssembly SIMD: the kernels of assembly/, over a WebAssembly.Memory of the optimizer's own.

import { Unavailable, type Backend, type Request } from './backend.js';
import { bind, getCore, type Kernel } from './core.js';
import { openCpu, type OpenKernels, type RunKernel } from './cpu.js';

const PAGE = 65536;
const MAX_PAGES = 65536;

/** A backend's kernels run over one memory after another. */
const kernelsOf =
  (module: WebAssembly.Module): OpenKernels =>
  (bytes) => {
    const pages = Math.ceil(bytes / PAGE);
    if (pages > MAX_PAGES)
      throw new Unavailable(`it takes ${bytes} bytes, more than the 4 GiB of a WebAssembly memory`);
    const memory = allocate(pages);
    const kernel = bind(module, memory);
    return {
      buffer: memory.buffer,
      kernel: ({ name, takesGrad, slots }, { arrays }) =>
        direct(
          kernel(name),
          ['param', ...slots].map((array) => arrays[array]),
          takesGrad,
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
function direct(kernel: Kernel, arrays: readonly number[], takesGrad = true): RunKernel {
  const [a, b, c, d] = arrays;
  switch (takesGrad ? arrays.length : -arrays.length) {
    case 1:
      return (by, at, bytes, grad) => kernel(by, a + at, grad, bytes);
    case 2:
      return (by, at, bytes, grad) => kernel(by, a + at, grad, b + at, bytes);
    case 3:
      return (by, at, bytes, grad) => kernel(by, a + at, grad, b + at, c + at, bytes);
    case 4:
      return (by, at, bytes, grad) => kernel(by, a + at, grad, b + at, c + at, d + at, bytes);
    case -2:
      return (by, at, bytes) => kernel(by, a + at, b + at, bytes);
    default:
      throw new RangeError(`No call is written out for ${arrays.length} arrays ${takesGrad ? 'and' : 'without'} grad.`);
  }
}

export const openWasm = async (request: Request): Promise<Backend> =>
  openCpu(request, kernelsOf(getCore(request.wasm)));
