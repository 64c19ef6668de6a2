// The CPU backends: WebAssembly and the reference run their kernels on memory in the same way.

import {
  type ArrayOf,
  type Backend,
  DISPOSED,
  type Extension,
  namesOf,
  type Removed,
  type Request,
  Unavailable,
  type Write,
} from '../backend.js';
import type { Floats } from '../../platform.js';
import { GrowingRecord } from '../growing.js';
import { begin, elements, end, type Tensor } from '../layout.js';
import { checkThere, isFloat32Array } from '../memory.js';
import { OWN, type Plan, type Run, type TensorEntry } from '../plan.js';
import { byName, type NewTensors } from '../section.js';
import type { Rule } from '../../rules/rule.js';
import { ownOf, show, unexpected } from '../../errors.js';
import type { Machine } from './machine.js';
import { Buffers, view, type Placed } from './memory.js';
import { accumulate, norm } from '../sums.js';

/** Opens a backend on a machine, with all sections of the request. If it rejects, nothing stays allocated. */
export async function openCpu(request: Request, machine: Machine): Promise<Backend> {
  const backend = new CpuBackend(ownOf(machine), request.keepGrads);
  try {
    (await backend.extend(request)).take();
  } catch (error) {
    backend.dispose();
    throw error;
  }
  return backend;
}

/** The same at once, on a machine without threads that has loaded the kernels of the request. */
export function openLoaded(request: Request, machine: Machine): Backend {
  const backend = new CpuBackend(ownOf(machine), request.keepGrads);
  backend.place(request).take();
  return backend;
}

/** The own gradient of a tensor without memory for it. */
const none = /* @__PURE__ */ new Float32Array(0);

class CpuBackend implements Backend {
  readonly device = undefined;
  readonly failed = undefined;
  readonly settled = undefined;
  readonly threads: number;
  readonly remark: string | undefined;
  readonly #machine: Machine;
  readonly #keepGrads: boolean;
  readonly #buffers: Buffers;
  /** By section index. Removed sections leave holes. */
  readonly #placed: Placed[] = [];
  readonly #params = new GrowingRecord<Float32Array>(Object.fromEntries);
  readonly #grads = new GrowingRecord<Float32Array>(Object.fromEntries);
  /** The optimizer's own gradients, by tensor index. Empty arrays if gradients are not kept. */
  readonly #ownGrads: Float32Array[] = [];
  #isDisposed = false;

  constructor(machine: Machine, keepGrads: boolean) {
    this.threads = machine.threads;
    this.remark = machine.remark;
    this.#machine = machine;
    this.#keepGrads = keepGrads;
    this.#buffers = new Buffers(machine, keepGrads);
  }

  get params(): Readonly<Record<string, Float32Array>> {
    return this.#params.record;
  }

  get grads(): Readonly<Record<string, Float32Array>> {
    return this.#grads.record;
  }

  get lost(): string | undefined {
    if (this.#isDisposed) return DISPOSED;
    if (!this.#buffers.areGone()) return undefined;
    return "The optimizer's memory and state are lost: the buffer of params, grads or slots was transferred.";
  }

  async extend(added: NewTensors): Promise<Extension> {
    const { sections, memory } = added;
    if (memory === 'GPU') throw new Unavailable('the parameters are in GPU buffers');
    await this.#machine.load?.(sections.flatMap(({ rules }) => rules));
    return this.place(added);
  }

  /** Does the same at once, if the kernels are loaded. */
  place(added: NewTensors): Extension {
    const { sections } = added;
    const { placed, take, drop } = this.#buffers.place(added);
    return {
      take: () => {
        take();
        for (const each of placed) this.#placed.push(each);
        this.#params.add(byName(sections, (s, tensor) => view(this.#placed[s], tensor, 'param')));
        const grads = byName(sections, (s, tensor) => {
          return (this.#ownGrads[tensor.index] = this.#keepGrads ? view(this.#placed[s], tensor, 'grad') : none);
        });
        if (this.#keepGrads) this.#grads.add(grads);
      },
      drop,
    };
  }

  remove(removed: readonly Removed[]): void {
    const names = namesOf(removed);
    this.#params.remove(names);
    if (this.#keepGrads) this.#grads.remove(names);
    const gone = new Set<Placed>();
    for (const { section, tensors, isWhole } of removed) {
      for (const { index } of tensors) this.#ownGrads[index] = none;
      if (!isWhole) continue;
      gone.add(this.#placed[section]);
      delete this.#placed[section];
    }
    this.#buffers.free(gone);
  }

  scalars(section: number, k: number): Float32Array {
    return this.#placed[section].scalarViews[k];
  }

  check({ name, length, index }: Tensor, grad: unknown): void {
    const own = this.#ownGrads[index];
    if (grad === own) return;
    if (!isFloat32Array(grad)) throw unexpected(`gradient ${show(name)}`, 'a Float32Array', grad);
    if (grad.length !== length) {
      checkThere(grad, 'gradient', name);
      throw new RangeError(`Expected ${length} gradient values for ${show(name)}, got ${grad.length}.`);
    }
    if (length === 0 || !this.#buffers.mayChange(grad)) return;
    if (isAt(grad, own) || isAt(grad, this.params[name])) return;
    throw new TypeError(`The gradient of ${show(name)} lies in the memory of another tensor or slot.`);
  }

  isOwn({ index, length }: Tensor, grad: unknown): boolean {
    return length > 0 && isAt(grad as Float32Array, this.#ownGrads[index]);
  }

  // The CPU step must not allocate, so loops are indexed (`for...of` may allocate an iterator).
  run(plans: readonly Plan[], encoder: GPUCommandEncoder | undefined): void {
    if (encoder !== undefined) {
      throw new TypeError('encode() records GPU commands, but the parameters are in CPU memory; call step().');
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

  measure(plan: Plan, limit: number, isStrict: boolean): void {
    if (this.#keepGrads) this.#keep(plan);
    const { sections } = plan;
    for (let s = 0; s < sections.length; s++) {
      const { entries, section } = sections[s];
      const placed = this.#placed[section.index];
      for (let i = 0; i < entries.length; i++) {
        const entry = entries[i];
        const { tensor, grad } = entry;
        if (grad === undefined) continue;
        const start = begin(tensor);
        const bytes = end(tensor) - start;
        if (!this.#keepGrads) stage(placed, grad as Float32Array, bytes);
        // It is copied now, and is not copied again.
        else entry.grad = this.#ownGrads[tensor.index];
        const address = placed.arrays.grad + (this.#keepGrads ? start : 0);
        entry.squares = placed.squares(address, bytes, limit, isStrict);
      }
    }
  }

  /** Copies the caller's gradients into the optimizer's own. */
  #keep({ sections }: Plan): void {
    for (let s = 0; s < sections.length; s++) {
      const { entries } = sections[s];
      for (let i = 0; i < entries.length; i++) {
        const { tensor, grad } = entries[i];
        // If one gradient is the optimizer's own, all are.
        if (grad === OWN) return;
        if (grad === undefined) continue;
        const own = this.#ownGrads[tensor.index];
        if (grad !== own) own.set(grad as Float32Array);
      }
    }
  }

  #update(placed: Placed, rule: Rule, { first, last, scalars }: Run, entries: readonly TensorEntry[]): void {
    const { section, kernels, arrays } = placed;
    const { tensors } = section;
    const kernel = kernels.get(rule)!;
    if (this.#keepGrads || !rule.takesGrad) {
      const start = begin(tensors[first]);
      kernel(scalars.byteOffset, start, end(tensors[last]) - start, arrays.grad + start);
      return;
    }
    for (let i = first; i <= last; i++) {
      const start = begin(tensors[i]);
      const bytes = end(tensors[i]) - start;
      const grad = entries[i].grad as Float32Array;
      if (grad.length === 0) continue;
      stage(placed, grad, bytes);
      kernel(scalars.byteOffset, start, bytes, arrays.grad);
    }
  }

  accumulate(entries: readonly TensorEntry[]): void {
    for (const { tensor, grad, hasSum } of entries) {
      const own = this.#ownGrads[tensor.index];
      if (hasSum) accumulate(own, grad as Float32Array);
      else own.set(grad as Float32Array);
    }
  }

  zeroGrad(): void {
    for (const grad of this.#ownGrads) grad.fill(0);
  }

  memory({ section, tensor, array }: ArrayOf): Float32Array {
    return view(this.#placed[section], tensor, array);
  }

  async read(arrays: readonly ArrayOf[]): Promise<Floats[]> {
    return arrays.map((array) => this.memory(array).slice());
  }

  async norms(sources: readonly (ArrayOf & { readonly grad?: unknown })[]): Promise<number[]> {
    return sources.map(({ section, tensor, array, grad }) => {
      if (grad !== undefined) return norm(grad as Float32Array);
      const placed = this.#placed[section];
      const start = begin(tensor);
      return Math.sqrt(placed.squares(placed.arrays[array] + start, end(tensor) - start, Infinity, false));
    });
  }

  checkWrite(): void {}

  write(writes: readonly Write[], copies: readonly ArrayOf[]): void {
    for (const [array, values] of writes) {
      if (values === undefined) this.memory(array).fill(0);
      else this.memory(array).set(values);
    }
    for (const array of copies) this.memory(array).set(this.params[array.tensor.name]);
  }

  copyOver(params: Readonly<Record<string, Float32Array>>): void {
    for (const [name, values] of Object.entries(params)) this.params[name].set(values);
  }

  dispose(): void {
    this.#isDisposed = true;
    this.#machine.close?.();
  }
}

const isAt = (a: Float32Array, b: Float32Array): boolean => a.byteOffset === b.byteOffset && a.buffer === b.buffer;

/** Copies a gradient into the memory for one at a time, with zeros up to `bytes`. */
function stage({ staging }: Placed, grad: Float32Array, bytes: number): void {
  staging.set(grad);
  staging.fill(0, grad.length, elements(bytes));
}
