// Node APIs, if present (also in Deno and Bun). Reached without `import`, which would break browser bundles. The types
// are written here, since the package does not depend on Node's.

import type { Bytes } from '../../platform.js';

interface NodeProcess {
  readonly versions?: { readonly v8?: string };
  readonly execArgv?: readonly string[];
  getBuiltinModule?(name: string): unknown;
}

/** node:fs. */
export interface NodeFs {
  readFileSync(path: URL | string): Bytes;
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

interface NodeWorker extends Port {
  terminate(): void;
  /** Lets the process end before the thread does. */
  unref(): void;
}

/** Returns `process`, if any. */
export const nodeProcess = (): NodeProcess | undefined => (globalThis as { process?: NodeProcess }).process;

/** Returns node:worker_threads, if any. */
export const nodeThreads = (): NodeThreads | undefined =>
  nodeProcess()?.getBuiltinModule?.('node:worker_threads') as NodeThreads | undefined;
