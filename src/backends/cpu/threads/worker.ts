// What each further thread runs. Rollup makes one text of this file and those that it imports.

import { makeCall, type Call } from '../call.js';
import type { Kernel } from '../module.js';
import type { RunKernel } from '../cpu.js';
import { nodeThreads } from '../node.js';
import { Board } from './board.js';

/** What the main thread sends. */
export type Message =
  | { readonly board: SharedArrayBuffer; readonly size: number; readonly thread: number }
  | {
      readonly index: number;
      readonly call: Call;
      readonly module: WebAssembly.Module;
      readonly memory: WebAssembly.Memory;
    }
  /** To forget a call. */
  | { readonly index: number };

const parent = nodeThreads()?.parentPort;
const port = parent ?? globalThis;
const runs: RunKernel[] = [];
let board: Board | undefined;
let thread = 0;
let read = 0;

function receive(message: Message): void {
  if ('board' in message) {
    board = new Board(message.board, message.size);
    thread = message.thread;
  } else if (!('call' in message)) {
    delete runs[message.index];
  } else {
    const { index, call, module, memory } = message;
    const { exports } = new WebAssembly.Instance(module, { env: { memory } });
    runs[index] = makeCall(exports[call.name] as Kernel, call);
  }
  read += 1;
  board!.serve(thread, runs, read);
}

if (parent) parent.on('message', receive);
else globalThis.addEventListener('message', ({ data }: MessageEvent<Message>) => receive(data));
port.postMessage('ready');
