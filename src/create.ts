// Makes the public function of each algorithm, such as `adamw`, which creates optimizers: for `twinstep` and
// `twinstep/webgpu`, and at once for `twinstep/sync`.

import type { Algorithm, AnyAlgorithm, GroupOptions } from './algorithms/algorithm.js';
import { isDevice, type Chosen, type Request, type Wanted, type WasmSource } from './backends/backend.js';
import { loadedFor } from './backends/lazy.js';
import type { ReadWanted } from './backends/wanted.js';
import { locateArray, type GpuMemory, type Locate } from './backends/memory.js';
import { lateShapes, nothing, readGroups } from './inputs/groups.js';
import type { GivenMemory, GivenNames, GivenOptions, GivenParams, MemoryOn, NotIterable } from './inputs/given.js';
import type { Shapes } from './inputs/shapes.js';
import { Optimizer } from './optimizer.js';
import type { Modes } from './step/state.js';
import { expect, expectArguments, isCount, isRecord, ownOf, show, unexpected } from './errors.js';

/** Options of the optimizer as a whole. */
export interface MachineOptions<Backend extends Wanted = Wanted, Names extends string = string> {
  /**
   * The backend that runs the steps. 'auto': GPU buffers run on their device, Float32Arrays on the best CPU backend.
   * 'fastest': Float32Arrays run on the backend whose step is fastest on this machine, including gradients in and
   * parameters out. It is measured once for their sizes, in less than 100 ms; `optimizer.backend.reason` has the times.
   * A list, such as ['webgpu', 'wasm']: the first that can run; `optimizer.backend.reason` says why those before it
   * cannot. Default 'auto'.
   */
  backend?: Backend | undefined;
  /**
   * Whether to allocate memory for gradients. false: `optimizer.grads` is empty, and gradients are passed to `step()`,
   * for example each as soon as a backward pass has computed it (arXiv 2306.09782). Default true.
   */
  keepGrads?: boolean | undefined;
  /**
   * The number of threads of a step on the WebAssembly backend, including the calling thread, from 1 to 256. Results
   * have the same bits for any number. Without shared memory and workers one thread runs, as `optimizer.backend.reason`
   * says. `dispose()` ends the threads. Default 1.
   */
  threads?: number | undefined;
  /** core.wasm, compiled or as bytes, for a runtime that cannot load it itself; or what `enableWideSimd` returned. */
  wasm?: WasmSource | undefined;
  /**
   * The sizes of the dimensions of tensors, rows first, by name: `{ embedding: [50000, 64] }`. Each product is the
   * length of its tensor. They are for checkpoints and for a `decayMask`. Tensors may be left out.
   */
  shapes?: Shapes<Names> | undefined;
  /** The device of the GPU buffers. Without it, `backend: 'webgpu'` requests a device from `navigator.gpu`. */
  device?: GPUDevice | undefined;
}

/**
 * Creates an optimizer. `params` decides the names of its tensors, and with `backend` the type of their memory. There
 * is one signature, and its type parameters do not depend on `Options`: so creators of several algorithms can be called
 * through one variable.
 *
 * @param params - Flat tensors by name, or groups; see `adam`.
 * @param options - Those of all groups, and of the optimizer as a whole (`MachineOptions`).
 * @returns A promise of the optimizer.
 * @throws The errors of `adam`.
 * @example
 * for (const create of [adam, adamw]) await create({ w: new Float32Array([1, 2, 3]) }, { lr: 0.01 });
 */
export type Create<Options extends GroupOptions> = <
  Record extends NotIterable,
  Groups extends readonly object[],
  Names extends string = never,
  const Backend extends Wanted = 'auto',
>(
  params: GivenParams<Record, Groups, Names, Options, Float32Array | GpuMemory>,
  options?: GivenOptions<Options> & MachineOptions<Backend, NoInfer<GivenNames<Record, Names>>>,
) => Promise<Optimizer<MemoryOn<Backend, GivenMemory<Record, Groups>>, Options, GivenNames<Record, Names>>>;

/** Options of the optimizer as a whole, for `twinstep/sync`. */
export interface SyncOptions<Names extends string = string> extends Pick<
  MachineOptions<Wanted, Names>,
  'keepGrads' | 'shapes' | 'wasm'
> {
  /**
   * The backend that runs the steps. 'auto': WebAssembly, or where it cannot be compiled the reference. A list: the
   * first that can run.
   */
  backend?: 'auto' | 'wasm' | 'reference' | readonly ('wasm' | 'reference')[] | undefined;
}

/** Creates an optimizer at once, and copies Float32Arrays into its memory. */
export type CreateSync<Options extends GroupOptions> = <
  Record extends NotIterable,
  Groups extends readonly object[],
  Names extends string = never,
>(
  params: GivenParams<Record, Groups, Names, Options, Float32Array>,
  options?: GivenOptions<Options> & SyncOptions<NoInfer<GivenNames<Record, Names>>>,
) => Optimizer<Float32Array, Options, GivenNames<Record, Names>>;

/** Options of the optimizer as a whole, for `twinstep/webgpu`. */
export interface GpuOptions<Names extends string = string> extends Pick<
  MachineOptions<Wanted, Names>,
  'keepGrads' | 'shapes' | 'device'
> {
  /** The backend that runs the steps. There is one. Default 'webgpu'. */
  backend?: 'webgpu' | undefined;
}

/** Creates an optimizer on the GPU: uploads Float32Arrays, or steps GPU buffers in place. */
export type CreateOnGpu<Options extends GroupOptions> = <
  Record extends NotIterable,
  Groups extends readonly object[],
  Names extends string = never,
>(
  params: GivenParams<Record, Groups, Names, Options, Float32Array | GpuMemory>,
  options?: GivenOptions<Options> & GpuOptions<NoInfer<GivenNames<Record, Names>>>,
) => Promise<Optimizer<GPUBufferBinding, Options, GivenNames<Record, Names>>>;

/** Upper bound, to catch typos. */
const MOST_THREADS = 256;

/** What an entry of the package can do. `Result` is a promise, except for `twinstep/sync`. */
interface Entry<Result> {
  /** Checks the option `backend`. */
  readonly readWanted: ReadWanted;
  /** Throws for options that the entry lacks. */
  readonly refuse?: (options: Readonly<Record<string, unknown>>) => void;
  /** Returns a copy of the option `wasm`. Throws if it is not WebAssembly. */
  readonly readWasm?: (value: unknown) => WasmSource | undefined;
  /** Opens the backend. */
  open(request: Request, wanted: Wanted): Result;
}

/** Groups and tensors, located. */
type Described = ReturnType<ReturnType<typeof readGroups>['describe']>;

/** An entry that creates optimizers asynchronously. */
export interface AsyncEntry extends Entry<Promise<Chosen>> {
  /** Returns the function that locates parameters other than arrays, for the function `caller` of the package. */
  locator(caller: string): Locate | Promise<Locate>;
}

/** An entry that creates optimizers at once. */
export interface SyncEntry extends Entry<Chosen> {
  readonly locate: Locate;
}

/** Returns the public function of an algorithm. Pass `modes` for an algorithm that has an `average`. */
export function creator<Options extends GroupOptions>(
  definition: Algorithm<Options>,
  entry: AsyncEntry,
  modes?: Modes,
): Create<Options> {
  const algorithm = ownOf(definition) as unknown as AnyAlgorithm;
  async function create(params: unknown, options: unknown = {}): Promise<Optimizer<unknown, Options>> {
    expectArguments(arguments.length, 2, algorithm.name);
    const { hasOnlyArrays, hasShapes, describe, open, make } = prepare(algorithm, modes, entry, params, options);
    const locate = hasOnlyArrays ? locateArray : await entry.locator(algorithm.name);
    if (hasShapes) await loadedFor(algorithm.name, lateShapes);
    const described = describe(locate);
    return make(described, await open(described));
  }
  return create as Create<Options>;
}

/** Returns the same that creates optimizers at once. */
export function syncCreator<Options extends GroupOptions>(
  definition: Algorithm<Options>,
  entry: SyncEntry,
  modes?: Modes,
): CreateSync<Options> {
  const algorithm = ownOf(definition) as unknown as AnyAlgorithm;
  return function create(params: unknown, options: unknown = {}): Optimizer<Float32Array, Options, any> {
    expectArguments(arguments.length, 2, algorithm.name);
    const { describe, open, make } = prepare(algorithm, modes, entry, params, options);
    const described = describe(entry.locate);
    return make(described, open(described));
  };
}

/** Reads and checks the arguments of a creation. Returns its steps: to locate the tensors, open the backend, and make. */
function prepare<Result>(
  algorithm: AnyAlgorithm,
  modes: Modes | undefined,
  entry: Entry<Result>,
  params: unknown,
  options: unknown,
) {
  expect(isRecord(options), 'options', 'a record', options);
  const own = ownOf(options) as Record<string, unknown> & MachineOptions;
  entry.refuse?.(own);
  const { backend, device, wasm: source, keepGrads = true, threads = 1, shapes, ...rest } = own;
  const wanted = entry.readWanted(backend);
  expect(device === undefined || isDevice(device), 'device', 'a GPUDevice', device);
  const wasm = entry.readWasm?.(source);
  expect(typeof keepGrads === 'boolean', 'keepGrads', 'true or false', keepGrads);
  const isInRange = isCount(threads, 1) && threads <= MOST_THREADS;
  expect(isInRange, 'threads', `a whole number from 1 to ${MOST_THREADS}`, threads);

  // Groups that are added later use these options, too: hence copies of arrays.
  const common = Object.fromEntries(
    Object.entries(rest).map(([name, value]) => [name, Array.isArray(value) ? [...value] : value]),
  );
  return {
    ...readGroups(algorithm, params, common, nothing, shapes),
    open: ({ added }: Described) => entry.open({ ...added, device, wasm, keepGrads, threads }, wanted),
    make<Shown, Options extends GroupOptions>({ specs, added }: Described, opened: Chosen): Optimizer<Shown, Options> {
      const setup = { algorithm, modes, common, memory: added.memory, keepGrads, wasm, ...opened };
      try {
        return new Optimizer<Shown, Options>(setup, specs);
      } catch (error) {
        opened.backend.dispose();
        throw error;
      }
    },
  };
}

/**
 * Returns a function that throws for options that `twinstep` has and an entry lacks. `accepted` has the values that the
 * entry accepts.
 */
export const refuseBut =
  (entry: string, accepted: Readonly<Record<string, readonly unknown[]>>) =>
  (options: Readonly<Record<string, unknown>>): void => {
    for (const [name, values] of Object.entries(accepted)) {
      const value = options[name];
      if (value === undefined || values.includes(value)) continue;
      const wanted = [...values.map(show), 'absent'].join(' or ');
      throw unexpected(name, `${wanted} in ${entry} (\`twinstep\` accepts others)`, value);
    }
  };
