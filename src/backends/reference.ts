// The plain reference: the rules as src/rules/ states them, element by element. The law for the other backends, and
// what runs where WebAssembly cannot.

import { arraysOf, elements } from '../layout.js';
import type { Arrays } from '../rules/rule.js';
import { Unavailable, type Backend, type Request } from './backend.js';
import { openCpu, type OpenKernels } from './cpu.js';

const openKernels: OpenKernels = (bytes) => {
  const buffer = allocate(bytes);
  const floats = new Float32Array(buffer);
  return {
    buffer,
    kernel(rule, block) {
      const view = (name: string): Float32Array => new Float32Array(buffer, block.arrays[name], elements(block.bytes));
      const arrays = Object.fromEntries(arraysOf(rule).map((name) => [name, view(name)])) as Arrays;
      const by = Object.fromEntries(rule.scalars.map((name) => [name, 0]));
      return (scalars, start, length) => {
        for (let k = 0; k < rule.scalars.length; k++) by[rule.scalars[k]] = floats[elements(scalars) + k];
        const end = elements(start + length);
        for (let i = elements(start); i < end; i++) rule.update(i, arrays, by);
      };
    },
  };
};

function allocate(bytes: number): ArrayBuffer {
  try {
    return new ArrayBuffer(bytes);
  } catch (error) {
    throw new Unavailable(`there is no memory of ${bytes} bytes (${error})`);
  }
}

export const openReference = (request: Request): Promise<Backend> => openCpu(request, openKernels);
