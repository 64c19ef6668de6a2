// Records commands into the caller's encoder, or into one of ours, which is then submitted.

import type { Average } from '../backend.js';
import type { Section } from '../section.js';
import { FLOAT, type Tensor } from '../layout.js';
import { isEachClipped, maySkip, type GradientOptions } from '../gradient-options.js';
import { isFloat32Array } from '../memory.js';
import { allocate, COPY_DST, STORAGE } from './buffers.js';
import type { Rule } from '../../rules/rule.js';
import { expect, list, ownOf } from '../../errors.js';
import { OWN, type Plan, type Run } from '../plan.js';
import { popErrorScopes, pushErrorScopes } from './device.js';
import { isDeferred, type DeferredSteps } from './deferred.js';
import { describe, type RunPart } from './deferred-inputs.js';
import type { Dispatch, Dispatches } from './dispatches.js';
import { Kernels } from './kernels.js';
import type { Reduction } from './reduction.js';
import { placeOf, type Place, type SectionMemory } from './section-memory.js';
import { addAll, copyAll, type Sum } from './accumulate.js';
import { Submissions } from './submissions.js';
import { Uniforms } from './uniforms.js';

/** A section, its memory, and its dispatches by rule. */
export interface GpuSection {
  readonly section: Section;
  readonly memory: SectionMemory;
  readonly dispatches: ReadonlyMap<Rule, Dispatches>;
}

/** Records work, one call after another, each in its own error scopes. */
export class Recording {
  readonly #device: GPUDevice;
  readonly #keepGrads: boolean;
  readonly #stepScalars: Uniforms;
  readonly #encodeScalars: Uniforms;
  readonly #reduction: Reduction;
  readonly #deferred: DeferredSteps;
  /** Which of the recorded calls were submitted. */
  readonly submissions: Submissions;

  // State of the work being recorded:
  #callersEncoder: GPUCommandEncoder | undefined;
  #encoder: GPUCommandEncoder | undefined;
  #pass: GPUComputePassEncoder | undefined;
  /** The pass's current pipeline. Setting it again for every tensor would take a quarter of the step's time. */
  #pipeline: GPUComputePipeline | undefined;
  /** The dispatches of tensors whose gradient is in the caller's buffer. */
  readonly #bound = new Map<Tensor, { readonly place: Place; readonly dispatches: readonly Dispatch[] }>();
  /** Buffers of gradients uploaded for this step only. */
  #temporary: GPUBuffer[] = [];
  /** Gradients to add to the optimizer's own. */
  #sums: Sum[] = [];
  /** Names of gradients in new buffers, which may belong to another device. */
  #new: string[] = [];

  constructor(device: GPUDevice, keepGrads: boolean, reduction: Reduction, deferred: DeferredSteps) {
    this.#device = device;
    this.#reduction = reduction;
    this.#deferred = deferred;
    this.#keepGrads = keepGrads;
    const { scalarsLayout } = Kernels.of(device);
    this.#stepScalars = new Uniforms(device, scalarsLayout, true);
    this.#encodeScalars = new Uniforms(device, scalarsLayout, false);
    this.submissions = new Submissions(device);
  }

  /** Reserves scalars for `runs` runs per step. */
  reserve(runs: number): void {
    this.#stepScalars.reserve(runs);
    this.#encodeScalars.reserve(Math.max(runs, 64));
  }

  /**
   * Runs a step: uploads or binds the gradients, then updates each run. `placed` is indexed by section. `own` has the
   * bindings that `optimizer.grads` has returned.
   */
  run(
    plans: readonly Plan[],
    placed: readonly GpuSection[],
    own: ReadonlyMap<Tensor, GPUBufferBinding>,
    encoder: GPUCommandEncoder | undefined,
    options: GradientOptions | undefined,
  ): Promise<Error | undefined> {
    return this.attempt('a step, and did none of it', encoder, () => {
      if (encoder === undefined) this.#stepScalars.rewind();
      for (const { entries, section } of plans.flatMap(({ sections }) => sections)) {
        for (const { tensor, grad } of entries) {
          if (grad === undefined || grad === OWN || grad === own.get(tensor)) continue;
          this.#take(placed[section.index], tensor, grad);
        }
      }
      if (options !== undefined && isDeferred(plans, options)) this.#defer(plans, placed, options);
      else this.#updateAll(plans, placed);
      if (encoder !== undefined) this.submissions.record(this.#pass);
    });
  }

  /** Uploads a gradient from the CPU, into the optimizer's memory or for this step only; binds one on the GPU. */
  #take({ section, memory, dispatches }: GpuSection, tensor: Tensor, grad: unknown): void {
    if (isFloat32Array(grad) && this.#keepGrads) return memory.upload(memory.grad(tensor), grad);
    const onNew = (): void => void this.#new.push(tensor.name);
    const place = this.#placeOf(memory, grad);
    this.#bound.set(tensor, { place, dispatches: dispatches.get(section.rule)!.bound(tensor, place, onNew) });
  }

  #updateAll(plans: readonly Plan[], placed: readonly GpuSection[]): void {
    for (const { rule, sections } of plans) {
      for (const { section, runs, count } of sections) {
        for (let k = 0; k < count; k++) this.#update(placed[section.index], rule, runs[k]);
      }
    }
  }

  #update(placed: GpuSection, rule: Rule, run: Run): void {
    const pass = (this.#pass ??= beginPass(this.#ownEncoder));
    this.#setScalars(pass, run.scalars);
    for (const { dispatches } of this.#cover(placed, rule, run, false)) this.#dispatch(pass, dispatches);
  }

  /** Records a step whose scalars only the GPU knows. */
  #defer(plans: readonly Plan[], placed: readonly GpuSection[], options: GradientOptions): void {
    const runs = plans.flatMap((plan) =>
      plan.sections.flatMap(({ section, runs: ofSection, count }) =>
        ofSection.slice(0, count).map((run) => {
          const ofRun = placed[section.index];
          // The update of neighbours in the optimizer's memory has one scale, so theirs are clipped before it.
          const isClipped = isEachClipped(options) && !this.#hasBound(ofRun, run);
          const parts = this.#cover(ofRun, plan.rule, run, isClipped);
          return describe(plan, ofRun, run, parts, isClipped, maySkip(options) ? this.#reduction : undefined);
        }),
      ),
    );
    const begin = (encoder: GPUCommandEncoder): GPUComputePassEncoder => (this.#pass = beginPass(encoder));
    this.#deferred.record(runs, options, this.#ownEncoder, this.#callersEncoder !== undefined, begin);
  }

  #hasBound({ section: { tensors } }: GpuSection, { first, last }: Run): boolean {
    return tensors.slice(first, last + 1).some((tensor) => this.#bound.has(tensor));
  }

  /** Returns the parts of a run: neighbours that the same dispatches cover. */
  #cover(
    { section: { tensors }, memory, dispatches: ofRule }: GpuSection,
    rule: Rule,
    { first, last }: Run,
    isClipped: boolean,
  ): RunPart[] {
    const parts: RunPart[] = [];
    for (let i = first, next; i <= last; i = next) {
      next = i + 1;
      const bound = this.#bound.get(tensors[i]);
      if (bound === undefined) {
        while (next <= last && this.#adjoins(memory, tensors[next - 1], tensors[next])) next++;
      }
      const dispatches = bound?.dispatches ?? ofRule.get(rule)!.adjoining(i, next - 1, isClipped);
      parts.push({ first: i, last: next - 1, place: bound?.place, dispatches });
    }
    return parts;
  }

  #setScalars(pass: GPUComputePassEncoder, scalars: Float32Array): void {
    const { bindGroup, offset } = this.#scalars.put(scalars);
    pass.setBindGroup(0, bindGroup, [offset]);
  }

  #dispatch(pass: GPUComputePassEncoder, dispatches: readonly Dispatch[]): void {
    for (const { pipeline, arrays, workgroups } of dispatches) {
      if (pipeline !== this.#pipeline) pass.setPipeline((this.#pipeline = pipeline));
      pass.setBindGroup(1, arrays);
      pass.dispatchWorkgroups(workgroups[0], workgroups[1]);
    }
  }

  /** The encoder of the work: the caller's, or one of ours. */
  get #ownEncoder(): GPUCommandEncoder {
    return (this.#encoder ??= this.#callersEncoder ?? this.#device.createCommandEncoder(ownOf({ label: 'twinstep' })));
  }

  copy(from: GPUBufferBinding, to: GPUBufferBinding): void {
    this.#encoder ??= this.#callersEncoder ?? this.#device.createCommandEncoder(ownOf({ label: 'twinstep copy' }));
    this.#encoder.copyBufferToBuffer(from.buffer, from.offset ?? 0, to.buffer, to.offset ?? 0, from.size ?? 0);
  }

  /** Copies parameters into the caller's buffers at `places`, and moves copies with scalars to the average by `rule`. */
  encodeAverages(
    rule: Rule,
    averages: readonly Average[],
    places: readonly Place[],
    placed: readonly GpuSection[],
    encoder: GPUCommandEncoder,
  ): Promise<Error | undefined> {
    return this.attempt('an average', encoder, () => {
      const copies = averages.map(({ section, tensor }, i) => {
        return { sum: places[i], term: placed[section].memory.param(tensor), bytes: tensor.length * FLOAT };
      });
      copyAll(this.#device, encoder, copies);
      let latest: Float32Array | undefined;
      for (const [i, { section, tensor, scalars }] of averages.entries()) {
        if (scalars === undefined) continue;
        const pass = (this.#pass ??= beginPass(encoder));
        if (scalars !== latest) this.#setScalars(pass, (latest = scalars));
        this.#dispatch(
          pass,
          placed[section].dispatches.get(rule)!.bound(tensor, places[i], () => {}),
        );
      }
    });
  }

  clear(buffers: readonly GPUBuffer[]): void {
    this.#encoder ??= this.#device.createCommandEncoder(ownOf({ label: 'twinstep zero grad' }));
    for (const buffer of buffers) this.#encoder.clearBuffer(buffer);
  }

  /** Adds a gradient to the optimizer's own. The first one replaces it. */
  accumulate({ memory }: GpuSection, tensor: Tensor, grad: unknown, isFirst: boolean): void {
    const own = memory.grad(tensor);
    if (isFirst && isFloat32Array(grad)) return memory.upload(own, grad);
    const more = this.#placeOf(memory, grad);
    const bytes = tensor.length * FLOAT;
    this.#encoder ??= this.#device.createCommandEncoder(ownOf({ label: 'twinstep accumulate' }));
    if (isFirst) this.#encoder.clearBuffer(own.buffer, own.offset, bytes);
    this.#sums.push({ sum: own, term: more, bytes });
    if (!isFloat32Array(grad)) this.#new.push(tensor.name);
  }

  /**
   * Calls `work` in error scopes, and submits what it recorded, unless it used the caller's encoder. Submits nothing if
   * `work` throws. Resolves to the error that the device reports, if any; `what` names the work in its message.
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
    this.#reset();
    return popErrorScopes(this.#device).then((reported) => {
      // A lost device may report no error.
      const message = reported ?? Kernels.of(this.#device).lost;
      return message === undefined ? undefined : new Error(`The GPU device refused ${what}${inNewBuffers}: ${message}`);
    });
  }

  #submit(): void {
    this.#endPass();
    this.#scalars.flush();
    addAll(this.#device, this.#encoder!, this.#sums);
    if (this.#callersEncoder === undefined && this.#encoder !== undefined) {
      this.#device.queue.submit([this.#encoder.finish()]);
    }
  }

  /** Never throws: the caller gets the error that cancelled the work. */
  #cancel(): void {
    try {
      this.#endPass();
    } catch {
      // The encoder is invalid, so nothing that it recorded can be submitted.
    }
    this.#reset();
  }

  destroy(): void {
    this.#stepScalars.destroy();
    this.#encodeScalars.destroy();
    this.submissions.destroy();
  }

  get #scalars(): Uniforms {
    return this.#callersEncoder === undefined ? this.#stepScalars : this.#encodeScalars;
  }

  /** Returns where a gradient lies. Uploads one in CPU memory into a temporary buffer. */
  #placeOf(memory: SectionMemory, grad: unknown): Place {
    if (!isFloat32Array(grad)) return placeOf(grad);
    const buffer = allocate(this.#device, 'temporary grad', grad.byteLength, STORAGE | COPY_DST);
    this.#temporary.push(buffer);
    const place = { buffer, offset: 0 };
    memory.upload(place, grad);
    return place;
  }

  /** Ends the pass. Never ends it again, even if this throws. */
  #endPass(): void {
    const pass = this.#pass;
    this.#pass = undefined;
    pass?.end();
  }

  #reset(): void {
    for (const buffer of this.#temporary) buffer.destroy();
    this.#temporary = [];
    this.#sums = [];
    this.#callersEncoder = this.#encoder = this.#pipeline = undefined;
    this.#bound.clear();
    this.#new = [];
  }

  /** Whether one dispatch can cover `a` and then `b`: all of b's arrays are in the same arena as a's. */
  #adjoins(memory: SectionMemory, a: Tensor, b: Tensor): boolean {
    return a.arena === b.arena && !memory.isCallers(b) && !this.#bound.has(b);
  }
}

function beginPass(encoder: GPUCommandEncoder): GPUComputePassEncoder {
  const pass = encoder.beginComputePass(ownOf({ label: 'twinstep' }));
  expect(typeof pass?.dispatchWorkgroups === 'function', "the encoder's pass", 'a GPUComputePassEncoder', pass);
  return pass;
}
