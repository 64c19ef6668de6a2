// A step whose scalars only the GPU knows: they depend on gradients' values, on a number in GPU memory, or on how many
// steps were skipped. wgsl/decide.wgsl and wgsl/prepare.wgsl compute them, and each update is dispatched indirectly.

import correctionsSource from '../../../wgsl/corrections.wgsl';
import decideSource from '../../../wgsl/decide.wgsl';
import deferredSource from '../../../wgsl/deferred.wgsl';
import scaleSource from '../../../wgsl/device_scale.wgsl';
import limitsSource from '../../../wgsl/limits.wgsl';
import partsSource from '../../../wgsl/parts.wgsl';
import prepareSource from '../../../wgsl/prepare.wgsl';
import rescaleSource from '../../../wgsl/rescale.wgsl';
import scalerSource from '../../../wgsl/scaler.wgsl';
import { ownOf } from '../../errors.js';
import type { Outcomes } from '../backend.js';
import { maySkip, type GradientOptions } from '../gradient-options.js';
import { ALIGNMENT, elements, FLOAT, type Tensor } from '../layout.js';
import type { Plan } from '../plan.js';
import { LatestGroups } from './binding-cache.js';
import { allocate } from './buffers.js';
import { pack, type DeferredRun, type Packed } from './deferred-inputs.js';
import { COUNTS, DeferredMemory, STATE, TENSOR_STATE } from './deferred-memory.js';
import { dispatch, Kernels, rowsOf, type Workgroups } from './kernels.js';
import { readBack } from './readback.js';
import type { Reduction } from './reduction.js';
import type { Check } from './submissions.js';
import { bindingOf } from './section-memory.js';
import { WORKGROUP } from './shaders.js';

/** The bits of an infinite f32. */
const INFINITY_BITS = 0x7f800000;

/** The kernels, each of the files of wgsl/ that it is made of. */
const sources = {
  limit: [scalerSource, deferredSource, scaleSource, limitsSource],
  decide: [partsSource, scalerSource, deferredSource, scaleSource, decideSource],
  rescale: [partsSource, deferredSource, rescaleSource],
  prepare: [correctionsSource, deferredSource, prepareSource],
} as const;

/** Whether only the GPU knows the scalars of a step. */
export const isDeferred = (plans: readonly Plan[], options: GradientOptions): boolean =>
  maySkip(options) || options.scaleBuffer !== undefined || plans.some((plan) => plan.corrections !== undefined);

/** Records deferred steps, and keeps what the GPU decides. Allocates nothing before the first one. */
export class DeferredSteps {
  readonly #device: GPUDevice;
  readonly #reduction: Reduction;
  #memory: DeferredMemory | undefined;
  /** Whether the caller's command buffers may use the memory: then it is not destroyed when it is replaced. */
  isRecorded = false;
  /** What the GPU has decided: struct State. */
  #state: GPUBuffer | undefined;
  /** A limit for each tensor: the largest magnitude of its gradient before it is scaled. */
  #limits: GPUBuffer | undefined;
  readonly #groups: LatestGroups;

  constructor(device: GPUDevice, reduction: Reduction) {
    this.#device = device;
    this.#reduction = reduction;
    this.#groups = new LatestGroups(device);
  }

  /** Records a step into `encoder`, in a pass that `beginPass` begins. `isCallers`: it may be submitted at any time. */
  record(
    runs: readonly DeferredRun[],
    options: GradientOptions,
    encoder: GPUCommandEncoder,
    isCallers: boolean,
    beginPass: (encoder: GPUCommandEncoder) => GPUComputePassEncoder,
  ): void {
    const { scaler, scaleBuffer, maxValue } = options;
    this.isRecorded ||= isCallers;
    const packed = pack(runs, options, (tensor) => this.#reduction.slotOf(tensor));
    const memory = this.#memoryFor(packed, runs.length);
    const { state, limits } = this.#ofTensors();
    memory.upload(packed, isCallers ? encoder : undefined);
    const [inputs, tensors, ...ofRuns] = packed.parts.map((part) => ({ buffer: memory.inputs, ...part }));
    const scalars = { buffer: memory.scalars };
    // Without a scaler and a scale in GPU memory, what is bound in their places is not used.
    const ofScaler = scaler === undefined ? scalars : { buffer: scaler.memory(this.#device) };
    const ofScale = scaleBuffer === undefined ? inputs : bindingOf(scaleBuffer);

    const pass = beginPass(encoder);
    if (maySkip(options)) {
      const hasLimit = maxValue > 0;
      if (hasLimit) this.#dispatch(pass, 'limit', [inputs, tensors, ofScaler, ofScale, limits], packed.tensors);
      const works = runs.flatMap((run) => run.works);
      this.#reduction.record(pass, works, hasLimit ? limits : undefined);
    }
    const sums = { buffer: this.#reduction.sums };
    this.#dispatch(pass, 'decide', [inputs, tensors, ofScaler, ofScale, limits, sums, state], 1);
    for (const { work, clipped } of runs.flatMap(({ rescales }) => rescales)) {
      this.#run(pass, 'rescale', work, [work.values, work.shares, clipped, state], work.workgroups);
    }
    const written = [scalars, { buffer: memory.counts }];
    this.#dispatch(pass, 'prepare', [inputs, ...ofRuns, state, ...written], Math.max(runs.length, packed.dispatches));
    update(pass, runs, memory);
  }

  /** Forgets the skipped steps of tensors, the number of all skipped steps, and the norm. */
  forget(tensors: readonly Tensor[]): void {
    if (this.#state === undefined) return;
    const { queue } = this.#device;
    queue.writeBuffer(this.#state, 0, new Uint8Array(STATE));
    for (const tensor of tensors) this.#zero(tensor);
  }

  /** Begins to count the skipped steps of new tensors, which may have the place of removed ones. */
  add(tensors: readonly Tensor[]): void {
    if (this.#state === undefined) return;
    this.#ofTensors();
    for (const tensor of tensors) this.#zero(tensor);
  }

  #zero(tensor: Tensor): void {
    const at = STATE + TENSOR_STATE * this.#reduction.slotOf(tensor);
    this.#device.queue.writeBuffer(this.#state!, at, new Uint8Array(TENSOR_STATE));
  }

  /** Resolves to what the GPU has decided at this point of the queue. `check`: of the calls recorded so far. */
  async outcomes(check: Check | undefined): Promise<Outcomes> {
    const slots = this.#reduction.copySlots();
    const { buffer } = this.#ofTensors().state;
    const source = { name: 'skipped steps', buffer, offset: 0, bytes: buffer.size };
    const [floats, counts] = await readBack(this.#device, check === undefined ? [source] : [source, check.source]);
    const words = new Uint32Array(floats.buffer, floats.byteOffset, floats.length);
    return {
      skipped: words[0],
      norm: normOf(floats, words),
      // Tensors that were added later have skipped none.
      ofTensor(tensor) {
        const slot = slots.get(tensor);
        return slot === undefined ? 0 : words[elements(STATE + TENSOR_STATE * slot)];
      },
      checkSubmitted: () => check?.run(counts),
    };
  }

  destroy(): void {
    this.#memory?.destroy();
    this.#state?.destroy();
    this.#limits?.destroy();
  }

  #memoryFor({ bytes, dispatches }: Packed, runs: number): DeferredMemory {
    // A binding is not empty, even if the step has no gradients.
    const needed = { inputs: bytes.byteLength, runs: Math.max(runs, 1), dispatches: Math.max(dispatches, 1) };
    if (!this.#memory?.holds(needed)) {
      const before = this.#memory;
      this.#memory = new DeferredMemory(this.#device, needed, before);
      if (!this.isRecorded) before?.destroy();
    }
    return this.#memory!;
  }

  /** Returns the memory that has an element for each tensor. */
  #ofTensors(): { readonly state: GPUBufferBinding; readonly limits: GPUBufferBinding } {
    const count = this.#reduction.slots;
    const fit = (name: string, before: GPUBuffer | undefined, size: number): GPUBuffer => {
      if (before !== undefined && before.size >= size) return before;
      const buffer = allocate(this.#device, name, Math.max(size, 2 * (before?.size ?? 0)));
      if (before !== undefined) {
        const encoder = this.#device.createCommandEncoder(ownOf({ label: 'twinstep' }));
        encoder.copyBufferToBuffer(before, 0, buffer, 0, before.size);
        this.#device.queue.submit([encoder.finish()]);
        if (!this.isRecorded) before.destroy();
      }
      return buffer;
    };
    this.#state = fit('state of steps', this.#state, STATE + TENSOR_STATE * count);
    this.#limits = fit('limits', this.#limits, FLOAT * count);
    return { state: { buffer: this.#state }, limits: { buffer: this.#limits } };
  }

  /** Dispatches a kernel over `count` items. */
  #dispatch(
    pass: GPUComputePassEncoder,
    name: keyof typeof sources,
    ranges: readonly GPUBufferBinding[],
    count: number,
  ): void {
    if (count === 0) return;
    this.#run(pass, name, sources[name], ranges, rowsOf(this.#device, Math.ceil(count / WORKGROUP)));
  }

  /** Dispatches a kernel. `key`: what its bind group is kept for. */
  #run(
    pass: GPUComputePassEncoder,
    name: keyof typeof sources,
    key: object,
    ranges: readonly GPUBufferBinding[],
    workgroups: Workgroups,
  ): void {
    const pipeline = Kernels.of(this.#device).tool(name, sources[name]);
    dispatch(pass, pipeline, this.#groups.of(key, pipeline, 0, ranges), workgroups);
  }
}

/** Dispatches the update of each run, with its scalars, over as many workgroups as the GPU decided. */
function update(pass: GPUComputePassEncoder, runs: readonly DeferredRun[], memory: DeferredMemory): void {
  let count = 0;
  let current: GPUComputePipeline | undefined;
  for (const [k, { dispatches }] of runs.entries()) {
    pass.setBindGroup(0, memory.scalarsGroup, [k * ALIGNMENT]);
    for (const { pipeline, arrays } of dispatches) {
      if (pipeline !== current) pass.setPipeline((current = pipeline));
      pass.setBindGroup(1, arrays);
      pass.dispatchWorkgroupsIndirect(memory.counts, COUNTS * count++);
    }
  }
}

/** Returns the latest norm of a State. */
function normOf(floats: Float32Array, words: Uint32Array): number {
  const [factor, squares] = floats.subarray(4, 6);
  const largest = words[7];
  if (largest > 0) return largest === INFINITY_BITS ? Infinity : NaN;
  return factor * Math.sqrt(squares) * 2 ** (words[6] - 127);
}
