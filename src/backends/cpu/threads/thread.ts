// Starts a thread: of worker_threads if there are any, else a Web Worker. Its code is a string in this file, since some
// bundlers do not keep a file beside it.

import { nodeThreads, type NodeThreads } from '../node.js';
import code from './worker.js?text';
import type { Message } from './worker.js';

export interface Thread {
  post(message: Message): void;
  end(): void;
}

/** Starts a thread. Rejects with the reason if it cannot run. */
export function startThread(): Promise<Thread> {
  const threads = nodeThreads();
  return threads === undefined ? startWebWorker() : startNodeWorker(threads);
}

function startNodeWorker({ Worker }: NodeThreads): Promise<Thread> {
  return new Promise((resolve, reject) => {
    // Without the flags of this process, which may load a test runner.
    const worker = new Worker(code, { eval: true, execArgv: [] });
    worker.on('message', () => {
      worker.unref();
      resolve(threadOf(worker));
    });
    worker.on('error', reject);
    worker.on('exit', () => reject(new Error('it ended at once')));
  });
}

function startWebWorker(): Promise<Thread> {
  return new Promise((resolve, reject) => {
    const url = URL.createObjectURL(new Blob([code], { type: 'text/javascript' }));
    const worker = new Worker(url);
    worker.addEventListener('message', () => {
      URL.revokeObjectURL(url);
      resolve(threadOf(worker));
    });
    worker.addEventListener('error', ({ message }) => reject(message || 'a policy forbids workers from a blob:'));
  });
}

const threadOf = (worker: Pick<Worker, 'terminate' | 'postMessage'>): Thread => ({
  post: (message) => worker.postMessage(message),
  end: () => worker.terminate(),
});
