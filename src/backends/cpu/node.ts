// What Node has, and Deno and Bun have of it, where this is such a runtime: without an import of theirs, which bundlers
// for browsers would stumble over, and without their types, which the package does without.

export interface NodeProcess {
  readonly versions?: { readonly v8?: string };
  readonly execArgv?: readonly string[];
  getBuiltinModule?(name: string): unknown;
}

/** node:v8. */
export interface NodeV8 {
  setFlagsFromString?(flag: string): void;
}

/** node:worker_threads. */
export interface NodeThreads {
  readonly Worker: new (code: string, options: { eval: true; execArgv: readonly string[] }) => NodeWorker;
  readonly parentPort: Port | null;
}

interface Port {
  on(event: string, listener: (value: never) => void): void;
  postMessage(message: unknown): void;
}

export interface NodeWorker extends Port {
  terminate(): void;
  /** Lets the process end while the thread is there. */
  unref(): void;
}

/** Its `process`, if any. */
export const nodeProcess = (): NodeProcess | undefined => (globalThis as { process?: NodeProcess }).process;

/** Its threads, if any. */
export const nodeThreads = (): NodeThreads | undefined =>
  nodeProcess()?.getBuiltinModule?.('node:worker_threads') as NodeThreads | undefined;
