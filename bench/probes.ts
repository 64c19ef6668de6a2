// The CPU's limits as contenders: the loops of bench/assembly/probes.ts.

import { readFileSync } from 'node:fs';
import { bytesMoved, type Opened, type System } from './contender.js';

/** `npm run build:probes` writes it beside this file. */
const wasm = new URL('probes.wasm', import.meta.url);
const [PAGE, FLOAT, TURN] = [65536, 4, 32];

type Probe = (...args: number[]) => void;

function open(name: string, arrays: number, length: number, grad: (into: Float32Array) => Float32Array): Opened {
  const bytes = TURN * Math.ceil((FLOAT * length) / TURN);
  const memory = new WebAssembly.Memory({ initial: Math.ceil((arrays * bytes) / PAGE) });
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(readFileSync(wasm)), { env: { memory } });
  const probe = exports[name] as Probe;
  grad(new Float32Array(memory.buffer, 0, bytes / FLOAT));
  const [a, b, c, d] = [1, 2, 3, 4].map((i) => i * bytes);
  // One function per arity, since a call with spread arguments is 40 times as slow.
  const calls: Readonly<Record<number, () => void>> = {
    2: () => probe(0, a, bytes),
    3: () => probe(0, a, b, bytes),
    4: () => probe(0, a, b, c, bytes),
    5: () => probe(0, a, b, c, d, bytes),
  };
  return { step: calls[arrays], close: () => {} };
}

/** Moves the memory that a step moves, including the gradient. */
export const traffic = (slots: number) => (): Promise<System> =>
  Promise.resolve({
    version: '',
    open: ({ length, grad }) => open(`traffic${bytesMoved(slots)}`, slots + 2, length, grad),
  });

/** Divides and takes roots. At every size the data stays in the first-level cache; the second array is the output. */
export const divider = (): Promise<System> =>
  Promise.resolve({ version: '', open: ({ length, grad }) => open('divider', 2, length, grad) });
