// Commands for the device, recorded into the caller's encoder, or into one that is submitted at their end.

import type { Section } from '../section.js';
import { FLOAT, type Tensor } from '../layout.js';
import { isFloat32Array } from '../memory.js';
import { COPY_DST, STORAGE } from './buffers.js';
import type { Rule } from '../../rules/rule.js';
import { expect, list } from '../../errors.js';
import { OWN, type Plan, type Run } from '../plan.js';
import { popErrorScopes, pushErrorScopes } from './device.js';
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

/** Records one piece of work after the other, each inside error scopes. */
export class Recording {
  readonly #device: GPUDevice;
  readonly #keepGrads: boolean;
  readonly #stepScalars: Uniforms;
  readonly #encodeScalars: Uniforms;

  // Of the work that is being recorded:
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

  constructor(device: GPUDevice, keepGrads: boolean) {
    this.#device = device;
    this.#keepGrads = keepGrads;
    const { scalarsLayout } = Kernels.of(device);
    this.#stepScalars = new Uniforms(device, scalarsLayout, true);
    this.#encodeScalars = new Uniforms(device, scalarsLayout, false);
  }

  /** Makes room for so many runs a step. */
  reserve(runs: number): void {
    this.#stepScalars.reserve(runs);
    this.#encodeScalars.reserve(Math.max(runs, 64));
  }

  /**
   * Runs a step: takes the gradients, then updates each run. `placed` is by section, `own` has by name what
   * `optimizer.grads` has shown.
   */
  run(
    plans: readonly Plan[],
    placed: readonly Placed[],
    own: ReadonlyMap<string, GPUBufferBinding>,
    encoder: GPUCommandEncoder | undefined,
  ): Promise<Error | undefined> {
    return this.attempt('a step, and nothing of it was done', encoder, () => {
      if (encoder === undefined) this.#stepScalars.rewind();
      for (const { members, section } of plans.flatMap(({ sections }) => sections)) {
        for (const { tensor, grad } of members) {
          if (grad === undefined || grad === OWN || grad === own.get(tensor.name)) continue;
          this.#take(placed[section.index], tensor, grad);
        }
      }
      for (const { rule, sections } of plans) {
        for (const { section, runs, count } of sections) {
          for (let k = 0; k < count; k++) this.#update(placed[section.index], rule, runs[k]);
        }
      }
    });
  }

  /** Takes a gradient: one that is kept is uploaded, any other is bound where it is, or uploaded for this step alone. */
  #take({ section, memory, dispatches }: Placed, tensor: Tensor, grad: unknown): void {
    if (isFloat32Array(grad) && this.#keepGrads) return memory.upload(memory.grad(tensor), grad);
    const onNew = (): void => void this.#new.push(tensor.name);
    const place = this.#placeOf(memory, grad);
    this.#bound.set(tensor, dispatches.get(section.rule)!.bound(tensor, place, onNew));
  }

  #update({ section, memory, dispatches: ofRule }: Placed, rule: Rule, { first, last, scalars }: Run): void {
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

  clear(buffers: readonly GPUBuffer[]): void {
    this.#encoder ??= this.#device.createCommandEncoder({ label: 'twinstep zero grad' });
    for (const buffer of buffers) this.#encoder.clearBuffer(buffer);
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

  /**
   * Does `work` inside error scopes, and submits what it recorded unless that went into the caller's encoder. If it
   * throws, nothing is submitted. Resolves to the error that the device reports for `what`.
   */
  attempt(what: string, encoder: GPUCommandEncoder | undefined, work: () => void): Promise<Error | undefined> {
    pushErrorScopes(this.#device);
    this.#callersEncoder = encoder;
    try {
      work();
      this.#submit();
    } catch (error) {
      void popErrorScopes(this.#device);
      this.#cancel();
      throw error;
    }
    const inNewBuffers = this.#new.length > 0 ? ` (gradients in new buffers: ${list(this.#new)})` : '';
    this.#forget();
    return popErrorScopes(this.#device).then((reported) => {
      // A lost device may report no error.
      const message = reported ?? Kernels.of(this.#device).lost;
      return message === undefined ? undefined : new Error(`The GPU device refused ${what}${inNewBuffers}: ${message}`);
    });
  }

  #submit(): void {
    this.#endPass();
    this.#scalars.flush();
    if (this.#sums.length > 0) addAll(this.#device, this.#encoder!, this.#sums);
    if (this.#callersEncoder === undefined && this.#encoder !== undefined) {
      this.#device.queue.submit([this.#encoder.finish()]);
    }
  }

  /** Never throws: the error that cancels the work is on its way to the caller. */
  #cancel(): void {
    try {
      this.#endPass();
    } catch {
      // The encoder is broken, and what was recorded into it cannot be submitted.
    }
    this.#forget();
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

  #forget(): void {
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
