// What the two CPU backends share: memories, laid out once, and live views into them.

import { byName, type Section } from '../groups.js';
import { begin, elements, end, layout, type Block, type Tensor } from '../layout.js';
import { isFloat32Array } from '../memory.js';
import type { Rule } from '../rules/rule.js';
import { show, unexpected } from '../sentences.js';
import { accumulate, norm } from '../vectors.js';
import { Unavailable, type Backend, type Request } from './backend.js';

/** Runs a rule: its scalars at one address, the arrays of its section from `start` on for `bytes`, the gradient at another. */
export type RunKernel = (scalars: number, start: number, bytes: number, grad: number) => void;

/** What runs rules on the CPU. */
export interface Machine {
  readonly threads: number;
  /** What there is to say of it. */
  readonly remark?: string;
  /** Gives a zeroed buffer of at least `bytes`, and the kernel of a rule over a block of it. */
  open(bytes: number): { buffer: ArrayBufferLike; kernel(rule: Rule, block: Block): RunKernel };
  close?(): void;
}

/** A section, and where it lies: those that come together share one memory, which never grows, so that views last. */
interface Placed extends Block {
  readonly section: Section;
  readonly buffer: ArrayBufferLike;
  readonly kernels: ReadonlyMap<Rule, RunKernel>;
  readonly scalarViews: readonly Float32Array[];
  /** Where gradients pass that are not kept. */
  readonly passing: Float32Array;
}

export async function openCpu(request: Request, machine: Machine): Promise<Backend> {
  const { keepGrads } = request;
  const placed: Placed[] = [];
  let params: Readonly<Record<string, Float32Array>> = {};
  let grads: Readonly<Record<string, Float32Array>> = {};
  /** The memory for each gradient, or where they are not kept, the gradient that is passing. */
  const gradOf: Float32Array[] = [];

  const view = ({ buffer, arrays }: Placed, { offset, length }: Tensor, array: string): Float32Array =>
    new Float32Array(buffer, arrays[array] + offset, length);
  const isGradient = ({ buffer, byteOffset }: Float32Array): boolean =>
    placed.some(({ buffer: own, arrays: { grad }, bytes }) => {
      return buffer === own && byteOffset >= grad && byteOffset < grad + bytes;
    });
  /** All of its memory. */
  const buffers = new Set<ArrayBufferLike>();

  const letGo = (): undefined => {
    if (!keepGrads) gradOf.length = 0;
  };

  const backend: Backend = {
    threads: machine.threads,
    remark: machine.remark,
    get params() {
      return params;
    },
    get grads() {
      return grads;
    },
    async extend({ sections, sources, memory }) {
      if (memory === 'GPU') throw new Unavailable('the parameters are in GPU buffers');
      const { blocks, bytes } = layout(sections, keepGrads);
      const { buffer, kernel } = machine.open(bytes);
      const more = sections.map((section, i): Placed => {
        const { rule, rules } = section;
        const kernels = new Map(rules.map((each) => [each, kernel(each, blocks[i])]));
        const scalarViews = blocks[i].scalars.map((at) => new Float32Array(buffer, at, rule.scalars.length));
        const passing = new Float32Array(buffer, blocks[i].arrays.grad, elements(blocks[i].bytes));
        return { ...blocks[i], section, buffer, kernels, scalarViews, passing };
      });
      for (const each of more) {
        for (const tensor of each.section.tensors) {
          if (tensor.length > 0) view(each, tensor, 'param').set(sources.get(tensor) as Float32Array);
        }
      }
      const take = (): void => {
        placed.push(...more);
        buffers.add(buffer);
        params = Object.freeze({ ...params, ...byName(sections, (s, tensor) => view(placed[s], tensor, 'param')) });
        if (!keepGrads) return;
        grads = Object.freeze({ ...grads, ...byName(sections, (s, tensor) => view(placed[s], tensor, 'grad')) });
        for (const { name, index } of sections.flatMap(({ tensors }) => tensors)) gradOf[index] = grads[name];
      };
      return { take, drop() {} };
    },
    scalars: (s, k) => placed[s].scalarViews[k],
    check({ name, length, index }, grad) {
      const own = gradOf[index];
      if (grad === own) return;
      if (!isFloat32Array(grad)) throw unexpected(`gradient ${show(name)}`, 'a Float32Array', grad);
      if (grad.length !== length) {
        throw new RangeError(`Expected ${length} gradient values for ${show(name)}, got ${grad.length}.`);
      }
      if (!buffers.has(grad.buffer) || length === 0) return;
      if (isAt(grad, own) || isAt(grad, params[name])) return;
      // Another tensor's parameter is taken before it changes, where gradients are kept.
      if (keepGrads && !isGradient(grad)) return;
      throw new TypeError(`The gradient of ${show(name)} lies in the memory of another tensor.`);
    },
    begin(encoder) {
      if (encoder !== undefined) {
        throw new TypeError('encode() records GPU commands, and the parameters are in CPU memory; call step().');
      }
    },
    accept(_, { index }, grad) {
      const own = gradOf[index];
      if (!keepGrads) gradOf[index] = grad as Float32Array;
      else if (grad !== own) own.set(grad as Float32Array);
    },
    update(s, rule, { first, last, scalars }) {
      const { section, kernels, arrays, passing } = placed[s];
      const { tensors } = section;
      const kernel = kernels.get(rule)!;
      if (keepGrads || rule.takesGrad === false) {
        const start = begin(tensors[first]);
        kernel(scalars.byteOffset, start, end(tensors[last]) - start, arrays.grad + start);
      } else {
        for (let i = first; i <= last; i++) {
          const start = begin(tensors[i]);
          const bytes = end(tensors[i]) - start;
          const grad = gradOf[tensors[i].index];
          if (grad.length === 0) continue;
          passing.set(grad);
          passing.fill(0, grad.length, elements(bytes));
          kernel(scalars.byteOffset, start, bytes, arrays.grad);
        }
      }
    },
    accumulate(_, { index }, grad, isFirst) {
      if (isFirst) gradOf[index].set(grad as Float32Array);
      else accumulate(gradOf[index], grad as Float32Array);
    },
    end: letGo,
    cancel: letGo,
    read: (arrays) =>
      Promise.resolve(arrays.map(({ section, tensor, array }) => view(placed[section], tensor, array).slice())),
    norms: (sources) =>
      Promise.resolve(
        sources.map(({ section, tensor, array, grad }) =>
          norm(grad === undefined ? view(placed[section], tensor, array) : (grad as Float32Array)),
        ),
      ),
    zeroGrad() {
      for (const grad of gradOf) grad.fill(0);
    },
    checkWrite() {},
    write: ({ section, tensor, array }, values) => view(placed[section], tensor, array).set(values),
    writeParam(arrays) {
      for (const { section, tensor, array } of arrays) view(placed[section], tensor, array).set(params[tensor.name]);
    },
    dispose: () => machine.close?.(),
  };
  try {
    (await backend.extend(request)).take();
  } catch (error) {
    backend.dispose();
    throw error;
  }
  return backend;
}

const isAt = (a: Float32Array, b: Float32Array | undefined): boolean =>
  a.byteOffset === b?.byteOffset && a.buffer === b.buffer;
