// The code of each thread except the main one. Rollup bundles it, with its imports, into a string.

import { makeCall, type Call } from '../call.js';
import type { Kernel } from '../module.js';
import type { RunKernel } from '../machine.js';
import { nodeThreads } from '../node.js';
import { Jobs } from './jobs.js';

/** A message of the main thread: the shared memory of jobs, a call to add, or a call to remove. */
export type Message =
  | { readonly jobs: SharedArrayBuffer; readonly size: number; readonly thread: number }
  | {
      readonly index: number;
      readonly call: Call;
      readonly module: WebAssembly.Module;
      readonly memory: WebAssembly.Memory;
    }
  | { readonly index: number };

const parent = nodeThreads()?.parentPort;
const port = parent ?? globalThis;
const runs: RunKernel[] = [];
let jobs: Jobs | undefined;
let thread = 0;
let read = 0;

function receive(message: Message): void {
  if ('jobs' in message) {
    jobs = new Jobs(message.jobs, message.size);
    thread = message.thread;
  } else if (!('call' in message)) {
    delete runs[message.index];
  } else {
    const { index, call, module, memory } = message;
    const { exports } = new WebAssembly.Instance(module, { env: { memory } });
    runs[index] = makeCall(exports[call.name] as Kernel, call);
  }
  read += 1;
  jobs!.runUntilMessage(thread, runs, read);
}

if (parent) parent.on('message', receive);
else globalThis.addEventListener('message', ({ data }: MessageEvent<Message>) => receive(data));
port.postMessage('ready');
