// The commands of one step, recorded into the caller's encoder, or into one that is submitted at its end.

import type { Section } from '../section.js';
import { FLOAT, type Tensor } from '../layout.js';
import { COPY_DST, isFloat32Array, STORAGE } from '../memory.js';
import type { Rule } from '../../rules/rule.js';
import { expect, list } from '../../errors.js';
import type { Run } from '../plan.js';
import { heard, listen } from './device.js';
import type { Dispatch, Dispatches } from './dispatches.js';
import { Kernels } from './kernels.js';
import { placeOf, type Place, type SectionMemory } from './arenas.js';
import { addAll, type Sum } from './accumulate.js';
import { Uniforms } from './uniforms.js';

/** A section, its memory, and what runs over it. */
export interface Placed {
  readonly section: Section;
  readonly memory: SectionMemory;
  readonly dispatches: ReadonlyMap<Rule, Dispatches>;
}

/** One step after the other: `begin`, the gradients, the updates, and `end` or `cancel`. */
export class Recording {
  readonly #device: GPUDevice;
  readonly #stepScalars: Uniforms;
  readonly #encodeScalars: Uniforms;

  // Of the step that is being made:
  #what = '';
  #callersEncoder: GPUCommandEncoder | undefined;
  #encoder: GPUCommandEncoder | undefined;
  #pass: GPUComputePassEncoder | undefined;
  /** What the pass was told last: telling it again for every tensor costs a quarter of the step. */
  #pipeline: GPUComputePipeline | undefined;
  /** The dispatches of tensors whose gradient is in the caller's buffer. */
  readonly #bound = new Map<Tensor, readonly Dispatch[]>();
  /** Gradients that were uploaded and are not kept. */
  #passing: GPUBuffer[] = [];
  /** Gradients that are added to the optimizer's own. */
  #sums: Sum[] = [];
  /** Names of gradients whose buffer is new, and may turn out to be another device's. */
  #new: string[] = [];

  constructor(device: GPUDevice) {
    this.#device = device;
    const { scalarsLayout } = Kernels.of(device);
    this.#stepScalars = new Uniforms(device, scalarsLayout, true);
    this.#encodeScalars = new Uniforms(device, scalarsLayout, false);
  }

  /** Makes room for so many runs a step. */
  reserve(runs: number): void {
    this.#stepScalars.reserve(runs);
    this.#encodeScalars.reserve(Math.max(runs, 64));
  }

  /** Begins `what`, recorded into the caller's encoder if there is one. */
  begin(encoder: GPUCommandEncoder | undefined, what: string): void {
    listen(this.#device);
    this.#what = what;
    this.#callersEncoder = encoder;
    if (encoder === undefined) this.#stepScalars.rewind();
  }

  /** Binds a gradient where it is, or uploads it for this step alone. */
  bind({ section, memory, dispatches }: Placed, tensor: Tensor, grad: unknown): void {
    const onNew = (): void => void this.#new.push(tensor.name);
    const place = this.#placeOf(memory, grad);
    this.#bound.set(tensor, dispatches.get(section.rule)!.bound(tensor, place, onNew));
  }

  update({ section, memory, dispatches: ofRule }: Placed, rule: Rule, { first, last, scalars }: Run): void {
    this.#encoder ??= this.#callersEncoder ?? this.#device.createCommandEncoder({ label: 'twinstep' });
    const pass = (this.#pass ??= beginPass(this.#encoder));
    const { bindGroup, offset } = this.#scalars.put(scalars);
    pass.setBindGroup(0, bindGroup, [offset]);
    const { tensors } = section;
    for (let i = first, next; i <= last; i = next) {
      next = i + 1;
      let dispatches = this.#bound.get(tensors[i]);
      if (dispatches === undefined) {
        while (next <= last && this.#adjoin(memory, tensors[next - 1], tensors[next])) next++;
        dispatches = ofRule.get(rule)!.adjoining(i, next - 1);
      }
      for (const { pipeline, arrays, workgroups } of dispatches) {
        if (pipeline !== this.#pipeline) pass.setPipeline((this.#pipeline = pipeline));
        pass.setBindGroup(1, arrays);
        pass.dispatchWorkgroups(workgroups[0], workgroups[1]);
      }
    }
  }

  copy(from: GPUBufferBinding, to: GPUBufferBinding): void {
    this.#encoder ??= this.#callersEncoder ?? this.#device.createCommandEncoder({ label: 'twinstep copy' });
    this.#encoder.copyBufferToBuffer(from.buffer, from.offset ?? 0, to.buffer, to.offset ?? 0, from.size ?? 0);
  }

  /** Adds a gradient to the optimizer's own, or as the first of some puts it there. */
  accumulate({ memory }: Placed, tensor: Tensor, grad: unknown, isFirst: boolean): void {
    const own = memory.grad(tensor);
    if (isFirst && isFloat32Array(grad)) return memory.upload(own, grad);
    const more = this.#placeOf(memory, grad);
    const bytes = tensor.length * FLOAT;
    this.#encoder ??= this.#device.createCommandEncoder({ label: 'twinstep accumulate' });
    if (isFirst) this.#encoder.clearBuffer(own.buffer, own.offset, bytes);
    this.#sums.push({ sum: own, grad: more, bytes });
    if (!isFloat32Array(grad)) this.#new.push(tensor.name);
  }

  /** Gives what the device turns out to have found wrong with the step. */
  end(): Promise<Error | undefined> {
    this.#endPass();
    this.#scalars.flush();
    if (this.#sums.length > 0) addAll(this.#device, this.#encoder!, this.#sums);
    if (this.#callersEncoder === undefined && this.#encoder !== undefined) {
      this.#device.queue.submit([this.#encoder.finish()]);
    }
    const suspects = this.#new.length > 0 ? ` (gradients in new buffers: ${list(this.#new)})` : '';
    this.#clear();
    const refused = `The GPU device refused ${this.#what}`;
    return heard(this.#device).then((heardOf) => {
      // A lost device may report no error.
      const trouble = heardOf ?? Kernels.of(this.#device).lost;
      return trouble === undefined ? undefined : new Error(`${refused}${suspects}: ${trouble}`);
    });
  }

  /** Never throws: the error that cancels the step is on its way to the caller. */
  cancel(): void {
    void heard(this.#device);
    try {
      this.#endPass();
    } catch {
      // The encoder is broken, and what was recorded into it cannot be submitted.
    }
    this.#clear();
  }

  destroy(): void {
    this.#stepScalars.destroy();
    this.#encodeScalars.destroy();
  }

  get #scalars(): Uniforms {
    return this.#callersEncoder === undefined ? this.#stepScalars : this.#encodeScalars;
  }

  /** Where a gradient lies; one that is in CPU memory is uploaded, into a buffer of its own until after the step. */
  #placeOf(memory: SectionMemory, grad: unknown): Place {
    if (!isFloat32Array(grad)) return placeOf(grad);
    const size = grad.byteLength;
    const buffer = this.#device.createBuffer({ label: 'twinstep passing grad', size, usage: STORAGE | COPY_DST });
    this.#passing.push(buffer);
    const place = { buffer, offset: 0 };
    memory.upload(place, grad);
    return place;
  }

  /** Ends the pass, once, even if that throws. */
  #endPass(): void {
    const pass = this.#pass;
    this.#pass = undefined;
    pass?.end();
  }

  #clear(): void {
    for (const buffer of this.#passing) buffer.destroy();
    this.#passing = [];
    this.#sums = [];
    this.#callersEncoder = this.#encoder = this.#pipeline = undefined;
    this.#bound.clear();
    this.#new = [];
  }

  /** Whether one dispatch can run from `a` on into `b`: both in the same arena, with all of their arrays. */
  #adjoin(memory: SectionMemory, a: Tensor, b: Tensor): boolean {
    return a.arena === b.arena && !memory.isCallers(b) && !this.#bound.has(b);
  }
}

function beginPass(encoder: GPUCommandEncoder): GPUComputePassEncoder {
  const pass = encoder.beginComputePass({ label: 'twinstep' });
  expect(typeof pass?.dispatchWorkgroups === 'function', "the encoder's pass", 'a GPUComputePassEncoder', pass);
  return pass;
}
