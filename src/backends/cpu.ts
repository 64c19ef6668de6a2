// What the two CPU backends share: one memory, laid out once, and live views into it.

import { byName } from '../groups.js';
import { begin, end, layout, type Block, type Tensor } from '../layout.js';
import { isFloat32Array } from '../memory.js';
import type { Rule } from '../rules/rule.js';
import { show, unexpected } from '../sentences.js';
import { Unavailable, type Backend, type Request } from './backend.js';

/** Runs a rule: its scalars at one address, the arrays of its group from `start` on for `bytes`. */
export type RunKernel = (scalars: number, start: number, bytes: number) => void;

/** Gives a zeroed buffer of at least `bytes`, and the kernel of a rule over a block of it. */
export type OpenKernels = (bytes: number) => { buffer: ArrayBuffer; kernel(rule: Rule, block: Block): RunKernel };

export function openCpu(request: Request, openKernels: OpenKernels): Backend {
  if (request.memory === 'GPU') throw new Unavailable('the parameters are in GPU buffers');
  const { groups, sources } = request;
  const { blocks, bytes } = layout(groups);
  const { buffer, kernel } = openKernels(bytes);
  const kernels = groups.map(({ rules }, g) => new Map(rules.map((rule) => [rule, kernel(rule, blocks[g])])));

  const view = (g: number, tensor: Tensor, array: string): Float32Array =>
    new Float32Array(buffer, blocks[g].arrays[array] + tensor.offset, tensor.length);
  const params = byName(groups, (g, tensor) => view(g, tensor, 'param'));
  const grads = byName(groups, (g, tensor) => view(g, tensor, 'grad'));
  const gradOf: Float32Array[] = [];
  for (const { tensors } of groups) {
    for (const tensor of tensors) {
      gradOf[tensor.index] = grads[tensor.name];
      if (tensor.length > 0) params[tensor.name].set(sources.get(tensor) as Float32Array);
    }
  }
  const scalarViews = groups.map(({ rule }, g) =>
    blocks[g].scalars.map((address) => new Float32Array(buffer, address, rule.scalars.length)),
  );
  const isGradient = (address: number): boolean =>
    blocks.some(({ arrays: { grad }, bytes: size }) => address >= grad && address < grad + size);

  return {
    params: Object.freeze(params),
    grads: Object.freeze(grads),
    scalars: (g, k) => scalarViews[g][k],
    check({ name, length, index }, grad) {
      const own = gradOf[index];
      if (grad === own) return;
      if (!isFloat32Array(grad)) throw unexpected(`gradient ${show(name)}`, 'a Float32Array', grad);
      if (grad.length !== length) {
        throw new RangeError(`Expected ${length} gradient values for ${show(name)}, got ${grad.length}.`);
      }
      if (grad.buffer === buffer && grad.byteOffset !== own.byteOffset && isGradient(grad.byteOffset)) {
        throw new TypeError(`The gradient of ${show(name)} lies in the gradient memory of another tensor.`);
      }
    },
    begin(encoder) {
      if (encoder !== undefined) {
        throw new TypeError('encode() records GPU commands, and the parameters are in CPU memory; call step().');
      }
    },
    accept(_, { index }, grad) {
      const own = gradOf[index];
      if (grad !== own) own.set(grad as Float32Array);
    },
    update(g, rule, { first, last, scalars }) {
      const { tensors } = groups[g];
      const start = begin(tensors[first]);
      kernels[g].get(rule)!(scalars.byteOffset, start, end(tensors[last]) - start);
    },
    end: () => undefined,
    cancel() {},
    read: (arrays) => Promise.resolve(arrays.map(({ group, tensor, array }) => view(group, tensor, array).slice())),
    checkWrite() {},
    write: ({ group, tensor, array }, values) => view(group, tensor, array).set(values),
    writeParam(arrays) {
      for (const { group, tensor, array } of arrays) view(group, tensor, array).set(params[tensor.name]);
    },
    dispose() {},
  };
}
