// What the two CPU backends share: memories, laid out once, and live views into them.

import { byName, type NewTensors, type Section } from '../section.js';
import { begin, elements, end, layout, type Block, type Tensor } from '../layout.js';
import { checkThere, isFloat32Array } from '../memory.js';
import type { Rule } from '../../rules/rule.js';
import { show, unexpected } from '../../errors.js';
import { accumulate, norm } from './sums.js';
import {
  DISPOSED,
  namesOf,
  Unavailable,
  type ArrayOf,
  type Backend,
  type Extension,
  type Removed,
  type Request,
  type Write,
} from '../backend.js';
import { GrowingRecord } from '../growing.js';
import { OWN, type Plan, type Run, type TensorEntry } from '../plan.js';

/** Runs a rule: its scalars at one address, the arrays of its section from `start` on for `bytes`, the gradient at another. */
export type RunKernel = (scalars: number, start: number, bytes: number, grad: number) => void;

/** What runs rules on the CPU. */
export interface Machine {
  readonly threads: number;
  /** What there is to say of it. */
  readonly remark?: string;
  /** Loads what running these rules takes. */
  load?(rules: readonly Rule[]): Promise<void>;
  /** Gives a zeroed buffer of at least `bytes`, and the kernel of a rule over a block of it. */
  open(bytes: number): { buffer: ArrayBufferLike; kernel(rule: Rule, block: Block): RunKernel };
  /** Frees what other threads hold of a buffer. */
  drop?(buffer: ArrayBufferLike): void;
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

/** Over what a machine opens: memory for all sections of the request, or nothing is left of it. */
export async function openCpu(request: Request, machine: Machine): Promise<Backend> {
  const backend = new CpuBackend(machine, request.keepGrads);
  try {
    (await backend.extend(request)).take();
  } catch (error) {
    backend.dispose();
    throw error;
  }
  return backend;
}

/** The least memory that is opened for added tensors, so that those that come one by one share it. */
const ROOM = 2 ** 20;

/** In place of a gradient. */
const none = /* @__PURE__ */ new Float32Array(0);

class CpuBackend implements Backend {
  readonly device = undefined;
  readonly threads: number;
  readonly remark: string | undefined;
  readonly #machine: Machine;
  readonly #keepGrads: boolean;
  #isDisposed = false;
  readonly #placed: Placed[] = [];
  /** All of its memory, and which sections lie in each buffer. */
  readonly #buffers = new Map<ArrayBufferLike, Placed[]>();
  /** A view of each buffer, to go over without an iterator. */
  #views: Uint8Array[] = [];
  /** The memory that was opened last, its length, and from which byte on it is free. */
  #room: (ReturnType<Machine['open']> & { readonly length: number; free: number }) | undefined;
  readonly #params = new GrowingRecord<Float32Array>(Object.fromEntries);
  readonly #grads = new GrowingRecord<Float32Array>(Object.fromEntries);
  /** The memory for each gradient; empty arrays where they are not kept. */
  readonly #gradOf: Float32Array[] = [];

  constructor(machine: Machine, keepGrads: boolean) {
    this.threads = machine.threads;
    this.remark = machine.remark;
    this.#machine = machine;
    this.#keepGrads = keepGrads;
  }

  get params(): Readonly<Record<string, Float32Array>> {
    return this.#params.record;
  }

  get grads(): Readonly<Record<string, Float32Array>> {
    return this.#grads.record;
  }

  async extend({ sections, sources, memory }: NewTensors): Promise<Extension> {
    if (memory === 'GPU') throw new Unavailable('the parameters are in GPU buffers');
    await this.#machine.load?.(sections.flatMap(({ rules }) => rules));
    let room = this.#room;
    let { blocks, bytes } = layout(sections, this.#keepGrads, room?.free);
    if (room === undefined || bytes > room.length) {
      ({ blocks, bytes } = layout(sections, this.#keepGrads));
      const length = room === undefined ? bytes : Math.max(bytes, ROOM);
      room = { ...this.#machine.open(length), length, free: 0 };
    }
    const { buffer } = room;
    const drop = (): void => {
      if (room !== this.#room) this.#machine.drop?.(buffer);
    };
    let more: Placed[];
    try {
      more = fill(sections, sources, blocks, room);
    } catch (error) {
      drop();
      throw error;
    }
    const take = (): void => {
      this.#room = room;
      room.free = bytes;
      if (!this.#buffers.has(buffer)) {
        this.#buffers.set(buffer, []);
        this.#views.push(new Uint8Array(buffer));
      }
      for (const each of more) {
        this.#placed.push(each);
        this.#buffers.get(buffer)!.push(each);
      }
      this.#params.add(byName(sections, (s, tensor) => view(this.#placed[s], tensor, 'param')));
      const grads = byName(sections, (s, tensor) => {
        return (this.#gradOf[tensor.index] = this.#keepGrads ? view(this.#placed[s], tensor, 'grad') : none);
      });
      if (this.#keepGrads) this.#grads.add(grads);
    };
    return { take, drop };
  }

  remove(removed: readonly Removed[]): void {
    const names = namesOf(removed);
    this.#params.remove(names);
    if (this.#keepGrads) this.#grads.remove(names);
    const gone = new Set<Placed>();
    for (const { section, tensors, isWhole } of removed) {
      for (const { index } of tensors) this.#gradOf[index] = none;
      if (!isWhole) continue;
      gone.add(this.#placed[section]);
      delete this.#placed[section];
    }
    for (const buffer of new Set(Array.from(gone, (each) => each.buffer))) {
      const left = this.#buffers.get(buffer)!.filter((each) => !gone.has(each));
      this.#buffers.set(buffer, left);
      if (left.length === 0) this.#close(buffer);
    }
    this.#views = this.#views.filter(({ buffer }) => this.#buffers.has(buffer));
  }

  scalars(s: number, k: number): Float32Array {
    return this.#placed[s].scalarViews[k];
  }

  check({ name, length, index }: Tensor, grad: unknown): void {
    const own = this.#gradOf[index];
    if (grad === own) return;
    if (!isFloat32Array(grad)) throw unexpected(`gradient ${show(name)}`, 'a Float32Array', grad);
    if (grad.length !== length) {
      checkThere(grad, 'gradient', name);
      throw new RangeError(`Expected ${length} gradient values for ${show(name)}, got ${grad.length}.`);
    }
    if (!this.#buffers.has(grad.buffer) || length === 0) return;
    if (isAt(grad, own) || isAt(grad, this.params[name])) return;
    // Another tensor's parameter is taken before it changes, where gradients are kept.
    if (this.#keepGrads && !this.#isGradient(grad)) return;
    throw new TypeError(`The gradient of ${show(name)} lies in the memory of another tensor.`);
  }

  isOwn({ index, length }: Tensor, grad: unknown): boolean {
    return length > 0 && isAt(grad as Float32Array, this.#gradOf[index]);
  }

  run(plans: readonly Plan[], encoder: GPUCommandEncoder | undefined): void {
    if (encoder !== undefined) {
      throw new TypeError('encode() records GPU commands, and the parameters are in CPU memory; call step().');
    }
    if (this.#keepGrads) for (let p = 0; p < plans.length; p++) this.#keep(plans[p]);
    for (let p = 0; p < plans.length; p++) {
      const { rule, sections } = plans[p];
      for (let s = 0; s < sections.length; s++) {
        const { runs, count, entries, section } = sections[s];
        for (let k = 0; k < count; k++) this.#update(this.#placed[section.index], rule, runs[k], entries);
      }
    }
  }

  /** Copies gradients into the optimizer's own memory. */
  #keep({ sections }: Plan): void {
    for (let s = 0; s < sections.length; s++) {
      const { entries } = sections[s];
      for (let i = 0; i < entries.length; i++) {
        const { tensor, grad } = entries[i];
        // A step takes either gradients handed over or the optimizer's own.
        if (grad === OWN) return;
        if (grad === undefined) continue;
        const own = this.#gradOf[tensor.index];
        if (grad !== own) own.set(grad as Float32Array);
      }
    }
  }

  #update({ section, kernels, arrays, passing }: Placed, rule: Rule, run: Run, entries: readonly TensorEntry[]): void {
    const { first, last, scalars } = run;
    const { tensors } = section;
    const kernel = kernels.get(rule)!;
    if (this.#keepGrads || rule.takesGrad === false) {
      const start = begin(tensors[first]);
      kernel(scalars.byteOffset, start, end(tensors[last]) - start, arrays.grad + start);
      return;
    }
    for (let i = first; i <= last; i++) {
      const start = begin(tensors[i]);
      const bytes = end(tensors[i]) - start;
      const grad = entries[i].grad as Float32Array;
      if (grad.length === 0) continue;
      passing.set(grad);
      passing.fill(0, grad.length, elements(bytes));
      kernel(scalars.byteOffset, start, bytes, arrays.grad);
    }
  }

  accumulate(entries: readonly TensorEntry[]): void {
    for (const { tensor, grad, hasSum } of entries) {
      const own = this.#gradOf[tensor.index];
      if (hasSum) accumulate(own, grad as Float32Array);
      else own.set(grad as Float32Array);
    }
  }

  async read(arrays: readonly ArrayOf[]): Promise<Float32Array[]> {
    return arrays.map((array) => this.#view(array).slice());
  }

  async norms(sources: readonly (ArrayOf & { readonly grad?: unknown })[]): Promise<number[]> {
    return sources.map(({ grad, ...array }) => norm(grad === undefined ? this.#view(array) : (grad as Float32Array)));
  }

  zeroGrad(): void {
    for (const grad of this.#gradOf) grad.fill(0);
  }

  checkWrite(): void {}

  write(writes: readonly Write[], copies: readonly ArrayOf[]): void {
    for (const [array, values] of writes) {
      if (values === undefined) this.#view(array).fill(0);
      else this.#view(array).set(values);
    }
    for (const array of copies) this.#view(array).set(this.params[array.tensor.name]);
  }

  copyOver(params: Readonly<Record<string, Float32Array>>): void {
    for (const [name, values] of Object.entries(params)) this.params[name].set(values);
  }

  dispose(): void {
    this.#isDisposed = true;
    this.#machine.close?.();
  }

  get lost(): string | undefined {
    if (this.#isDisposed) return DISPOSED;
    for (let i = 0; i < this.#views.length; i++) {
      // Of a view, since engines inline its length, and not that of a buffer.
      if (this.#views[i].length > 0) continue;
      // The caller transferred the buffer of `params` or `grads`.
      return "The optimizer's memory is gone, and its state: the buffer of params or grads was transferred.";
    }
    return undefined;
  }

  #close(buffer: ArrayBufferLike): void {
    this.#buffers.delete(buffer);
    this.#machine.drop?.(buffer);
    if (this.#room?.buffer === buffer) this.#room = undefined;
  }

  #view({ section, tensor, array }: ArrayOf): Float32Array {
    return view(this.#placed[section], tensor, array);
  }

  #isGradient({ buffer, byteOffset }: Float32Array): boolean {
    const placed = this.#buffers.get(buffer)!;
    return placed.some(({ arrays: { grad }, bytes }) => byteOffset >= grad && byteOffset < grad + bytes);
  }
}

/** Lays sections out in a memory that was opened, and copies the parameters there. */
function fill(
  sections: readonly Section[],
  sources: NewTensors['sources'],
  blocks: readonly Block[],
  { buffer, kernel }: ReturnType<Machine['open']>,
): Placed[] {
  const placed = sections.map((section, i): Placed => {
    const { rule, rules } = section;
    const kernels = new Map(rules.map((each) => [each, kernel(each, blocks[i])]));
    const scalarViews = blocks[i].scalars.map((at) => new Float32Array(buffer, at, rule.scalars.length));
    const passing = new Float32Array(buffer, blocks[i].arrays.grad, elements(blocks[i].bytes));
    return { ...blocks[i], section, buffer, kernels, scalarViews, passing };
  });
  for (const each of placed) {
    const { tensors, rule } = each.section;
    for (const tensor of tensors) {
      const source = sources.get(tensor) as Float32Array;
      // The caller may have transferred it since it was checked.
      checkThere(source, 'parameter', tensor.name);
      if (tensor.length === 0) continue;
      for (const array of ['param', ...(rule.fromParam ?? [])]) view(each, tensor, array).set(source);
    }
  }
  return placed;
}

const view = ({ buffer, arrays }: Placed, { offset, length }: Tensor, array: string): Float32Array =>
  new Float32Array(buffer, arrays[array] + offset, length);

const isAt = (a: Float32Array, b: Float32Array): boolean => a.byteOffset === b.byteOffset && a.buffer === b.buffer;
