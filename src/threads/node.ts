// worker_threads of Node, Deno and Bun, whose types this package does without; and without an import of theirs, which
// bundlers for browsers would stumble over.

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

interface NodeProcess {
  getBuiltinModule?(name: string): unknown;
}

const { process } = globalThis as { process?: NodeProcess };

export const nodeThreads = process?.getBuiltinModule?.('node:worker_threads') as NodeThreads | undefined;
