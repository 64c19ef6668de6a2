// WebGPU: the kernels of wgsl/, over the caller's buffers and arenas of the optimizer's own.

import { byName, type Group } from '../groups.js';
import { ALIGNMENT, alignDown, FLOAT, pack, type Tensor } from '../layout.js';
import { isFloat32Array, isGpuMemory, locate, overlap, type Stretch } from '../memory.js';
import { show } from '../sentences.js';
import { Unavailable, type Backend, type Request, type Run } from './backend.js';
import { complaint, COPY_DST, COPY_SRC, MAP_READ, READ, requestDevice } from './webgpu/device.js';
import { Dispatches, type Dispatch } from './webgpu/dispatches.js';
import { Kernels } from './webgpu/kernel.js';
import { GroupMemory, type Place } from './webgpu/memory.js';
import { Uniforms } from './webgpu/uniforms.js';

export async function openWebGPU(request: Request): Promise<Backend> {
  const { groups, memory, device: given } = request;
  if (memory === 'gpu' && given === undefined) {
    throw new TypeError("Expected the GPUDevice of the parameters' buffers as the option device, got undefined.");
  }
  const device = given ?? (await requestDevice(request));
  const lost = await Promise.race([device.lost, undefined]);
  if (lost !== undefined) throw new Error(deviceLost(lost));
  const kernels = Kernels.of(device);
  const kernelOfGroup = await Promise.all(groups.map(({ rule }) => kernels.get(rule)));
  const arenas = packAll(request, device.limits);
  await Promise.all(groups.flatMap(({ tensors }) => tensors.map((tensor) => checkDevice(device, tensor))));

  let memories: GroupMemory[] = [];
  const trouble = await complaint(device, () => {
    memories = groups.map((group, g) => new GroupMemory(device, group, arenas[g]));
  });
  if (trouble !== undefined) {
    memories.forEach((each) => each.destroy());
    throw new Error(`The GPU device gives no memory for the optimizer: ${trouble}`);
  }
  const dispatches = groups.map(({ tensors }, g) => new Dispatches(device, kernelOfGroup[g], memories[g], tensors));
  return new WebGPU(device, given === undefined, groups, memories, dispatches);
}

/** Arenas of what one binding may hold, so that each is one dispatch. */
function packAll({ groups, memory }: Request, { maxBufferSize, maxStorageBufferBindingSize }: GPUSupportedLimits) {
  const arenas = groups.map(({ tensors }) =>
    pack(tensors, alignDown(Math.min(maxBufferSize, maxStorageBufferBindingSize))),
  );
  for (const { tensors, bytes } of arenas.flat()) {
    if (memory === 'gpu' || bytes <= maxBufferSize) continue;
    throw new Unavailable(
      `${show(tensors[0].name)} takes ${bytes} bytes, the device's buffers at most ${maxBufferSize}`,
    );
  }
  return arenas;
}

/** Throws for a parameter in a buffer of another device. A buffer does not tell: binding it is the only way to ask. */
async function checkDevice(device: GPUDevice, { name, memory, length }: Tensor): Promise<void> {
  if (!isGpuMemory(memory) || length === 0) return;
  const { buffer } = locate(memory, show(name));
  const entry = { binding: 0, visibility: 0, buffer: { type: 'storage' } } as const;
  const resource = { buffer: buffer as GPUBuffer, size: Math.min(length * FLOAT, ALIGNMENT) };
  const trouble = await complaint(device, () => {
    const layout = device.createBindGroupLayout({ entries: [entry] });
    device.createBindGroup({ layout, entries: [{ binding: 0, resource }] });
  });
  if (trouble !== undefined) throw new TypeError(unusable(`parameter ${show(name)}`, trouble));
}

const unusable = (what: string, trouble: string): string =>
  `The device cannot use the GPUBuffer of ${what}; does it belong to another device? ${trouble}`;

const deviceLost = ({ message, reason }: GPUDeviceLostInfo): string => `The GPU device was lost: ${message || reason}`;

class WebGPU implements Backend {
  readonly params: Readonly<Record<string, GPUBufferBinding>>;
  readonly grads: Readonly<Record<string, GPUBufferBinding>>;

  readonly #device: GPUDevice;
  readonly #ownsDevice: boolean;
  readonly #groups: readonly Group[];
  readonly #memories: readonly GroupMemory[];
  readonly #dispatches: readonly Dispatches[];
  /** What `grads` has shown so far. */
  readonly #shown = new Map<string, GPUBufferBinding>();
  /** Where this step's gradient is, of tensors whose gradient is in the caller's buffer. */
  readonly #callersGrad = new Map<Tensor, Place>();
  readonly #stepScalars: Uniforms;
  readonly #encodeScalars: Uniforms;
  #encoder: GPUCommandEncoder | undefined;
  #encoded = false;
  #pass: GPUComputePassEncoder | undefined;
  #unsure: Promise<Error | undefined>[] = [];
  #lost: string | undefined;

  constructor(
    device: GPUDevice,
    ownsDevice: boolean,
    groups: readonly Group[],
    memories: readonly GroupMemory[],
    dispatches: readonly Dispatches[],
  ) {
    this.#device = device;
    this.#ownsDevice = ownsDevice;
    this.#groups = groups;
    this.#memories = memories;
    this.#dispatches = dispatches;
    const { scalarsLayout } = Kernels.of(device);
    const runs = groups.reduce((sum, { tensors }) => sum + tensors.length, 0);
    this.#stepScalars = new Uniforms(device, scalarsLayout, runs);
    this.#encodeScalars = new Uniforms(device, scalarsLayout, Math.max(runs, 64));
    this.params = Object.freeze(byName(groups, (g, tensor) => binding(memories[g].param(tensor), tensor)));
    this.grads = Object.freeze(
      Object.defineProperties(
        {},
        byName(groups, (g, tensor) => this.#showGrad(g, tensor)),
      ),
    );
    void device.lost.then((info) => (this.#lost = deviceLost(info)));
  }

  scalars(group: number): Float32Array {
    return new Float32Array(this.#groups[group].rule.scalars.length);
  }

  check(tensor: Tensor, grad: unknown, encoded: boolean): void {
    const { name, length, memory } = tensor;
    if (grad === this.#shown.get(name)) return;
    const { kind, bytes, ...place } = locate(grad, `the gradient of ${show(name)}`);
    if (kind === 'cpu' ? bytes !== length * FLOAT : bytes < length * FLOAT) {
      throw new RangeError(`Expected ${length} gradient values for ${show(name)}, got ${bytes / FLOAT}.`);
    }
    if (kind === 'cpu' && encoded) {
      throw new TypeError(`encode() cannot upload: the gradient of ${show(name)} is a Float32Array, not a GPUBuffer.`);
    }
    const grads: Stretch = { kind, bytes: length * FLOAT, ...place };
    if (isGpuMemory(memory) && overlap(grads, locate(memory, show(name)))) {
      throw new TypeError(`The gradient of ${show(name)} overlaps the parameter itself.`);
    }
  }

  begin(encoder: GPUCommandEncoder | undefined): void {
    if (this.#lost !== undefined) throw new Error(this.#lost);
    this.#encoded = encoder !== undefined;
    if (!this.#encoded) this.#stepScalars.rewind();
    this.#encoder = encoder ?? this.#device.createCommandEncoder({ label: 'twinstep' });
    this.#pass = this.#encoder.beginComputePass({ label: 'twinstep' });
  }

  accept(group: number, tensor: Tensor, grad: unknown): void {
    this.#callersGrad.delete(tensor);
    if (grad === this.#shown.get(tensor.name)) return;
    if (isFloat32Array(grad)) {
      this.#memories[group].upload(this.#memories[group].grad(tensor), grad);
    } else {
      const { buffer, offset } = locate(grad, show(tensor.name));
      this.#callersGrad.set(tensor, { buffer: buffer as GPUBuffer, offset });
    }
  }

  update(group: number, { first, last, scalars }: Run): void {
    const { bindGroup, offset } = (this.#encoded ? this.#encodeScalars : this.#stepScalars).put(scalars);
    this.#pass!.setBindGroup(0, bindGroup, [offset]);
    const { tensors } = this.#groups[group];
    for (let i = first, next; i <= last; i = next) {
      next = i + 1;
      const grad = this.#callersGrad.get(tensors[i]);
      if (grad !== undefined) {
        this.#dispatch(this.#bind(group, i, grad));
        continue;
      }
      while (next <= last && this.#adjoin(group, tensors[next - 1], tensors[next])) next++;
      this.#dispatch(this.#dispatches[group].stretch(i, next - 1));
    }
  }

  end(): Promise<Error | undefined> | undefined {
    this.#pass!.end();
    (this.#encoded ? this.#encodeScalars : this.#stepScalars).flush();
    if (!this.#encoded) this.#device.queue.submit([this.#encoder!.finish()]);
    this.#encoder = this.#pass = undefined;
    if (this.#unsure.length === 0) return undefined;
    const unsure = Promise.all(this.#unsure).then((errors) => errors.find((error) => error !== undefined));
    this.#unsure = [];
    return unsure;
  }

  async read(group: number, tensor: Tensor, array: string): Promise<Float32Array> {
    if (this.#lost !== undefined) throw new Error(this.#lost);
    const bytes = tensor.length * FLOAT;
    if (bytes === 0) return new Float32Array(0);
    const { buffer, offset } = this.#memories[group].array(tensor, array);
    if ((buffer.usage & COPY_SRC) === 0) {
      throw new TypeError(
        `Reading ${show(tensor.name)} takes COPY_SRC usage of its GPUBuffer, got usage ${buffer.usage}.`,
      );
    }
    const staging = this.#device.createBuffer({ size: bytes, usage: MAP_READ | COPY_DST });
    const encoder = this.#device.createCommandEncoder();
    encoder.copyBufferToBuffer(buffer, offset, staging, 0, bytes);
    this.#device.queue.submit([encoder.finish()]);
    try {
      await staging.mapAsync(READ);
      return new Float32Array(staging.getMappedRange().slice(0));
    } finally {
      staging.destroy();
    }
  }

  dispose(): void {
    for (const memory of this.#memories) memory.destroy();
    this.#stepScalars.destroy();
    this.#encodeScalars.destroy();
    if (this.#ownsDevice) this.#device.destroy();
  }

  /** Whether one dispatch can run from `a` on into `b`: both in the same arena, with all of their arrays. */
  #adjoin(group: number, a: Tensor, b: Tensor): boolean {
    return a.arena === b.arena && !this.#memories[group].isCallers(b) && !this.#callersGrad.has(b);
  }

  /** The dispatches over a gradient of the caller's. A new buffer may turn out to be another device's. */
  #bind(group: number, index: number, grad: Place): readonly Dispatch[] {
    const dispatches = this.#dispatches[group];
    if (dispatches.isBound(index, grad)) return dispatches.bound(index, grad);
    const name = show(this.#groups[group].tensors[index].name);
    let bound!: readonly Dispatch[];
    const trouble = complaint(this.#device, () => {
      bound = dispatches.bound(index, grad);
    });
    this.#unsure.push(
      trouble.then((message) =>
        message === undefined ? undefined : new TypeError(unusable(`the gradient of ${name}`, message)),
      ),
    );
    return bound;
  }

  #dispatch(dispatches: readonly Dispatch[]): void {
    for (const { pipeline, arrays, workgroups } of dispatches) {
      this.#pass!.setPipeline(pipeline);
      this.#pass!.setBindGroup(1, arrays);
      this.#pass!.dispatchWorkgroups(...workgroups);
    }
  }

  /** A property of `grads`, whose memory is made when it is first looked at. */
  #showGrad(group: number, tensor: Tensor): PropertyDescriptor {
    const get = (): GPUBufferBinding => {
      const shown = this.#shown.get(tensor.name) ?? binding(this.#memories[group].grad(tensor), tensor);
      this.#shown.set(tensor.name, shown);
      return shown;
    };
    return { enumerable: true, get };
  }
}

const binding = ({ buffer, offset }: Place, { length }: Tensor): GPUBufferBinding =>
  Object.freeze({ buffer, offset, size: length * FLOAT });
