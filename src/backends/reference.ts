// The plain reference: the rules as src/rules/ states them, element by element. The law for the other backends, and
// what runs where WebAssembly cannot.

import { arraysOf, elements } from '../layout.js';
import type { Arrays } from '../rules/rule.js';
import { Unavailable, type Backend, type Request } from './backend.js';
import { openCpu, type OpenKernels } from './cpu.js';

const openKernels: OpenKernels = ({ groups }, blocks, bytes) => {
  const buffer = allocate(bytes);
  const floats = new Float32Array(buffer);
  const kernels = groups.map(({ rule }, g) => ({
    rule,
    arrays: Object.fromEntries(
      arraysOf(rule).map((name, i) => [name, new Float32Array(buffer, blocks[g].arrays[i], elements(blocks[g].bytes))]),
    ) as Arrays,
    by: Object.fromEntries(rule.scalars.map((name) => [name, 0])),
  }));
  return {
    buffer,
    run(g, scalars, start, length) {
      const { rule, arrays, by } = kernels[g];
      for (let k = 0; k < rule.scalars.length; k++) by[rule.scalars[k]] = floats[elements(scalars) + k];
      const end = elements(start + length);
      for (let i = elements(start); i < end; i++) rule.update(i, arrays, by);
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

export const openReference = (request: Request): Promise<Backend> => Promise.resolve(openCpu(request, openKernels));
