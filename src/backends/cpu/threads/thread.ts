// Starting a thread: worker_threads where they are, else a Web Worker. Its code is a text in this file, since a file
// beside it is what not every bundler keeps.

import { nodeThreads, type NodeThreads } from '../node.js';
import code from './worker.js?text';
import type { Message } from './worker.js';

export interface Thread {
  post(message: Message): void;
  end(): void;
}

/** Rejects with the reason why it cannot run. */
export function startThread(): Promise<Thread> {
  const threads = nodeThreads();
  return threads === undefined ? startWebWorker() : startNodeWorker(threads);
}

function startNodeWorker({ Worker }: NodeThreads): Promise<Thread> {
  return new Promise((resolve, reject) => {
    // Without the flags of this process, which may be such as to load a test runner.
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
