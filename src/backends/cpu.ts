// What the two CPU backends share: one memory, laid out once, and live views into it.

import { byName } from '../groups.js';
import { arraysOf, begin, end, layout, type Block, type Tensor } from '../layout.js';
import { isFloat32Array } from '../memory.js';
import { show, unexpected } from '../sentences.js';
import { Unavailable, type Backend, type Request } from './backend.js';

/** Runs the kernel of a group: scalars at one address, its arrays from `start` on for `bytes`. */
export type RunKernel = (group: number, scalars: number, start: number, bytes: number) => void;

/** Gives a zeroed buffer of at least `bytes`, and the kernels over it. */
export type OpenKernels = (
  request: Request,
  blocks: readonly Block[],
  bytes: number,
) => { buffer: ArrayBuffer; run: RunKernel };

export function openCpu(request: Request, openKernels: OpenKernels): Backend {
  if (request.memory === 'gpu') throw new Unavailable('the parameters are in GPU buffers');
  const { groups } = request;
  const { blocks, bytes } = layout(groups);
  const { buffer, run: runKernel } = openKernels(request, blocks, bytes);

  const view = (g: number, tensor: Tensor, array: string): Float32Array =>
    new Float32Array(buffer, blocks[g].arrays[arraysOf(groups[g].rule).indexOf(array)] + tensor.offset, tensor.length);
  const params = byName(groups, (g, tensor) => view(g, tensor, 'param'));
  const grads = byName(groups, (g, tensor) => view(g, tensor, 'grad'));
  const scalarViews = groups.map(({ rule }, g) =>
    blocks[g].scalars.map((address) => new Float32Array(buffer, address, rule.scalars.length)),
  );
  for (const { tensors } of groups) {
    for (const { name, memory } of tensors) params[name].set(memory as Float32Array);
  }

  return {
    params: Object.freeze(params),
    grads: Object.freeze(grads),
    scalars: (g, k) => scalarViews[g][k],
    check(tensor, grad) {
      if (!isFloat32Array(grad)) throw unexpected(`gradient ${show(tensor.name)}`, 'a Float32Array', grad);
      if (grad.length !== tensor.length) {
        throw new RangeError(`Expected ${tensor.length} gradient values for ${show(tensor.name)}, got ${grad.length}.`);
      }
    },
    begin(encoder) {
      if (encoder !== undefined) {
        throw new TypeError('encode() records GPU commands, and the parameters are in CPU memory; call step().');
      }
    },
    accept(_, { name }, grad) {
      const own = grads[name];
      if (grad !== own) own.set(grad as Float32Array);
    },
    update(g, { first, last, scalars }) {
      const { tensors } = groups[g];
      const start = begin(tensors[first]);
      runKernel(g, scalars.byteOffset, start, end(tensors[last]) - start);
    },
    end: () => undefined,
    read: (g, tensor, array) => Promise.resolve(view(g, tensor, array).slice()),
    write: (g, tensor, array, values) => view(g, tensor, array).set(values),
    dispose() {},
  };
}
