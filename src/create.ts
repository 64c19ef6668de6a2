// From an algorithm to the function that makes its optimizers.

import type { Algorithm, AnyAlgorithm, GroupOptions } from './algorithms/algorithm.js';
import type { WasmSource } from './backends/backend.js';
import { checkWasm, keep } from './backends/cpu/module.js';
import { backendNames, choose, type Wanted } from './backends/index.js';
import { gpuMemory, loaded } from './backends/lazy.js';
import { hasOnlyArrays, nothing, readGroups, type Params } from './inputs/groups.js';
import { locateArray, type GpuMemory } from './backends/memory.js';
import { Optimizer } from './optimizer.js';
import type { Modes } from './step/state.js';
import { expect, expectArguments, isCount, isRecord, ownOf } from './errors.js';

/** Options that belong to the optimizer as a whole. */
export interface MachineOptions {
  /**
   * Where to run. 'auto', the default: GPU buffers on their device, Float32Arrays on the best CPU backend. 'fastest':
   * Float32Arrays where a step is fastest on this machine, gradients in and parameters out, which is measured once for
   * their sizes, in less than 100 ms; `optimizer.backend.reason` has the times.
   */
  backend?: Wanted;
  /**
   * False for no memory that gradients could be kept in: `optimizer.grads` is empty, and gradients are handed to
   * `step()`, as a backward pass gives them (arXiv 2306.09782). Default true.
   */
  keepGrads?: boolean;
  /**
   * How many threads step on the CPU, the calling one included, where that is WebAssembly; the bits do not depend on it.
   * Without shared memory and workers it is one, as `optimizer.backend.reason` says. `dispose()` ends them. Default 1.
   */
  threads?: number;
  /** The package's core.wasm, compiled or as bytes, where a runtime is to be given it by hand. */
  wasm?: WasmSource;
  /** The device that GPU buffers belong to. Without one, `backend: 'webgpu'` asks `navigator.gpu`. */
  device?: GPUDevice;
}

/** Where the parameters are, and with that what `optimizer.params` shows, follows from what is handed over. */
export interface Create<Options extends GroupOptions> {
  /** Float32Arrays, uploaded once and stepped on the GPU. */
  (
    params: Params<Float32Array, Options>,
    options: Partial<Options> & MachineOptions & { backend: 'webgpu' },
  ): Promise<Optimizer<GPUBufferBinding, Options>>;
  /** Float32Arrays, copied once into the optimizer's memory. */
  (
    params: Params<Float32Array, Options>,
    options?: Partial<Options> & MachineOptions & { backend?: 'auto' | 'wasm' | 'reference' },
  ): Promise<Optimizer<Float32Array, Options>>;
  /** GPU buffers, stepped in place. */
  (
    params: Params<GpuMemory, Options>,
    options: Partial<Options> & MachineOptions & { device: GPUDevice },
  ): Promise<Optimizer<GPUBufferBinding, Options>>;
  /** Either, where only the running program knows. */
  (
    params: Params<Float32Array | GpuMemory, Options>,
    options?: Partial<Options> & MachineOptions,
  ): Promise<Optimizer<Float32Array | GPUBufferBinding, Options>>;
}

/** Upper bound, to catch typos. */
const MOST_THREADS = 256;

/** `modes` is for algorithms that have an `average`. */
export function creator<Options extends GroupOptions>(made: Algorithm<Options>, modes?: Modes): Create<Options> {
  const algorithm = ownOf(made) as unknown as AnyAlgorithm;
  async function create(params: unknown, options: unknown = {}): Promise<Optimizer<unknown, Options>> {
    expectArguments(arguments.length, 2, algorithm.name);
    expect(isRecord(options), 'options', 'a record', options);
    const {
      backend: wanted = 'auto',
      device,
      wasm: given,
      keepGrads = true,
      threads = 1,
      ...common
    } = ownOf(options) as Record<string, unknown> & MachineOptions;
    expect(backendNames.includes(wanted), 'backend', `one of ${backendNames.join(', ')}`, wanted);
    expect(device === undefined || isDevice(device), 'device', 'a GPUDevice', device);
    checkWasm(given);
    const wasm = given && keep(given);
    expect(typeof keepGrads === 'boolean', 'keepGrads', 'true or false', keepGrads);
    const isInRange = isCount(threads, 1) && threads <= MOST_THREADS;
    expect(isInRange, 'threads', `a whole number from 1 to ${MOST_THREADS}`, threads);

    // What groups that are added later begin with.
    const ours = Object.fromEntries(
      Object.entries(common).map(([name, of]) => [name, Array.isArray(of) ? [...of] : of]),
    );
    // GPU buffers are recognized by code that is loaded late.
    const locate = hasOnlyArrays(params) ? locateArray : (await loaded(gpuMemory)).locate;
    const { specs, added } = readGroups(algorithm, params, ours, { ...nothing, locate });
    const opened = await choose({ ...added, device, wasm, keepGrads, threads }, wanted);
    try {
      const making = { algorithm, modes, common: ours, memory: added.memory, keepGrads, wasm, ...opened };
      return new Optimizer<unknown, Options>(making, specs);
    } catch (error) {
      opened.backend.dispose();
      throw error;
    }
  }
  return create as Create<Options>;
}

const isDevice = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && 'createBindGroup' in value && 'queue' in value;
