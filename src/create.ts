// Makes the public function of each algorithm, such as `adamw`, which creates optimizers.

import type { Algorithm, AnyAlgorithm, GroupOptions } from './algorithms/algorithm.js';
import type { WasmSource } from './backends/backend.js';
import { checkWasm, keep } from './backends/cpu/module.js';
import { choose, readWanted, type Wanted } from './backends/index.js';
import { gpuMemory, loadedFor } from './backends/lazy.js';
import { nothing, readGroups, type Params } from './inputs/groups.js';
import { locateArray, type GpuMemory } from './backends/memory.js';
import { Optimizer } from './optimizer.js';
import type { Modes } from './step/state.js';
import { expect, expectArguments, isCount, isRecord, ownOf } from './errors.js';

/** Options of the optimizer as a whole. */
export interface MachineOptions {
  /**
   * The backend that runs the steps. 'auto': GPU buffers run on their device, Float32Arrays on the best CPU backend.
   * 'fastest': Float32Arrays run on the backend whose step is fastest on this machine, including gradients in and
   * parameters out. It is measured once for their sizes, in less than 100 ms; `optimizer.backend.reason` has the times.
   * A list, such as ['webgpu', 'wasm']: the first that can run; `optimizer.backend.reason` says why those before it
   * cannot. Default 'auto'.
   */
  backend?: Wanted;
  /**
   * Whether to allocate memory for gradients. false: `optimizer.grads` is empty, and gradients are passed to `step()`,
   * for example each as soon as a backward pass has computed it (arXiv 2306.09782). Default true.
   */
  keepGrads?: boolean;
  /**
   * The number of threads of a step on the WebAssembly backend, including the calling thread, from 1 to 256. Results
   * have the same bits for any number. Without shared memory and workers one thread runs, as `optimizer.backend.reason`
   * says. `dispose()` ends the threads. Default 1.
   */
  threads?: number;
  /** core.wasm, compiled or as bytes, for a runtime that cannot load it itself; or what `enableWideSimd` returned. */
  wasm?: WasmSource;
  /** The device of the GPU buffers. Without it, `backend: 'webgpu'` requests a device from `navigator.gpu`. */
  device?: GPUDevice;
}

/** Creates an optimizer. The arguments decide where the parameters are, and so the type of `optimizer.params`. */
export interface Create<Options extends GroupOptions> {
  /** Uploads Float32Arrays once, and steps them on the GPU. */
  (
    params: Params<Float32Array, Options>,
    options: Partial<Options> & MachineOptions & { backend: 'webgpu' },
  ): Promise<Optimizer<GPUBufferBinding, Options>>;
  /** Copies Float32Arrays once into the optimizer's memory. */
  (
    params: Params<Float32Array, Options>,
    options?: Partial<Options> & MachineOptions & { backend?: 'auto' | 'wasm' | 'reference' },
  ): Promise<Optimizer<Float32Array, Options>>;
  /** Steps GPU buffers in place. */
  (
    params: Params<GpuMemory, Options>,
    options: Partial<Options> & MachineOptions & { device: GPUDevice },
  ): Promise<Optimizer<GPUBufferBinding, Options>>;
  /** For arguments whose types are known only at run time. */
  (
    params: Params<Float32Array | GpuMemory, Options>,
    options?: Partial<Options> & MachineOptions,
  ): Promise<Optimizer<Float32Array | GPUBufferBinding, Options>>;
}

/** Upper bound, to catch typos. */
const MOST_THREADS = 256;

/** Returns the public function of an algorithm. Pass `modes` for an algorithm that has an `average`. */
export function creator<Options extends GroupOptions>(definition: Algorithm<Options>, modes?: Modes): Create<Options> {
  const algorithm = ownOf(definition) as unknown as AnyAlgorithm;
  async function create(params: unknown, options: unknown = {}): Promise<Optimizer<unknown, Options>> {
    expectArguments(arguments.length, 2, algorithm.name);
    expect(isRecord(options), 'options', 'a record', options);
    const {
      backend = 'auto',
      device,
      wasm: source,
      keepGrads = true,
      threads = 1,
      ...rest
    } = ownOf(options) as Record<string, unknown> & MachineOptions;
    const wanted = readWanted(backend);
    expect(device === undefined || isDevice(device), 'device', 'a GPUDevice', device);
    checkWasm(source);
    const wasm = source && keep(source);
    expect(typeof keepGrads === 'boolean', 'keepGrads', 'true or false', keepGrads);
    const isInRange = isCount(threads, 1) && threads <= MOST_THREADS;
    expect(isInRange, 'threads', `a whole number from 1 to ${MOST_THREADS}`, threads);

    // Groups that are added later use these options, too: hence copies of arrays.
    const common = Object.fromEntries(
      Object.entries(rest).map(([name, value]) => [name, Array.isArray(value) ? [...value] : value]),
    );
    const read = readGroups(algorithm, params, common, nothing);
    // The code that recognizes GPU buffers is loaded late.
    const locate = read.hasOnlyArrays ? locateArray : (await loadedFor(algorithm.name, gpuMemory)).locate;
    const { specs, added } = read.describe(locate);
    const opened = await choose({ ...added, device, wasm, keepGrads, threads }, wanted);
    try {
      const setup = { algorithm, modes, common, memory: added.memory, keepGrads, wasm, ...opened };
      return new Optimizer<unknown, Options>(setup, specs);
    } catch (error) {
      opened.backend.dispose();
      throw error;
    }
  }
  return create as Create<Options>;
}

const isDevice = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && 'createBindGroup' in value && 'queue' in value;
