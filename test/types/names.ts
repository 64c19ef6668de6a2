// Types that carry the names of tensors from `params`: what must compile, and what must not.

import {
  adam,
  adamw,
  adamwScheduleFree,
  ema,
  lookahead,
  type AdamOptions,
  type EmaOptions,
  type Gradients,
  type Lookahead,
  type Optimizer,
} from 'twinstep';
import * as sync from 'twinstep/sync';
import * as gpu from 'twinstep/webgpu';

interface Weights {
  weight: Float32Array;
  bias: Float32Array;
}
declare const weights: Weights;
declare const gradients: Weights;
declare const record: Record<string, Float32Array>;
declare const device: GPUDevice;
declare const buffer: GPUBuffer;
const w = new Float32Array(1);

// Interfaces, for params and gradients.
const optimizer = await adamw(weights, { lr: 0.1 });
optimizer.step(gradients);
optimizer.step({ weight: w, bias: null });
optimizer.step({ weight: w });
optimizer.step(record);
optimizer.step(optimizer.grads);
optimizer.accumulate(gradients);
await optimizer.stepClosure(() => gradients);
await optimizer.stepClosure(async () => ({ weight: w }));
export const shown: Float32Array = optimizer.params.weight;
export const copy: ReturnType<Float32Array['slice']> = await optimizer.read('bias');
export const steps: number = optimizer.stepOf('bias');
optimizer.freeze('bias');
optimizer.freeze(0);
export const norm: number | undefined = (await optimizer.norms(gradients)).weight.grad;
for (const group of optimizer.groups) for (const name of group.params) await optimizer.read(name);

// @ts-expect-error a misspelt name
void optimizer.params.wieght;
// @ts-expect-error a misspelt name
void optimizer.grads.wieght;
// @ts-expect-error a misspelt name
optimizer.step({ wieght: w });
// @ts-expect-error a misspelt name
optimizer.accumulate({ wieght: w });
// @ts-expect-error a misspelt name
await optimizer.read('wieght');
// @ts-expect-error a misspelt name
optimizer.stepOf('wieght');
// @ts-expect-error a misspelt name
optimizer.freeze('wieght');
// @ts-expect-error not a gradient
optimizer.step({ weight: [1] });
// @ts-expect-error not a gradient
await optimizer.stepClosure(() => ({ weight: 1 }));

// Names that are known only at run time.
const general: Optimizer<Float32Array> = optimizer;
const dynamic = await adamw(record);
export const maybe: Float32Array | undefined = dynamic.params['x'];
for (const each of [general, dynamic]) {
  each.step({ x: w, absent: null });
  each.step(gradients);
  each.step(record);
  each.step({} as Gradients);
  await each.stepClosure(() => gradients);
  await each.read('x');
}
// @ts-expect-error not a gradient
general.step({ w: [1] });
// @ts-expect-error not a gradient
general.step({ w: 1 });

// Options and groups in variables.
const options = { lr: 1e-3, betas: [0.9, 0.99] };
await adamw({ w }, options);
const groups = [{ params: { w }, lr: 1e-3 }, { params: { v: w } }];
const grouped = await adamw(groups, { weightDecay: 0.1 });
export const both: [Float32Array, Float32Array] = [grouped.params.v, grouped.params.w];
await adamw([{ params: weights, lr: 1 }]);
await adamw([{ params: record, lr: 1 }]);
await adamw({ w }, { device: undefined, backend: undefined, lr: undefined, wasm: undefined });
await adamw([{ params: { w }, decayMask: (name) => name.length > 1, schedule: (t) => 1 / (1 + t) }]);
// @ts-expect-error a misspelt name in groups
void grouped.params.u;
await adamw([
  {
    params: { w },
    // @ts-expect-error a misspelt option, reported where it is
    wieghtDecay: 0.1,
  },
]);
await adamw([
  { params: { w }, lr: 1 },
  {
    params: { v: w },
    // @ts-expect-error a misspelt option, reported where it is
    weight_decay: 0.1,
  },
]);
await adamw([
  {
    // @ts-expect-error a plain array
    params: { w: [1] },
  },
]);
// @ts-expect-error an array of tensors
await adamw([w]);
// @ts-expect-error a tensor
await adamw(w);
// @ts-expect-error a Map
await adamw(new Map([['w', w]]));
// @ts-expect-error an unknown backend
await adamw({ w }, { backend: 'wgpu' });

// Where the memory is.
const mixed = [{ params: { w: { buffer, offset: 0, size: 4 } }, lr: 1 }, { params: { v: buffer } }];
export const inPlace: Optimizer<GPUBufferBinding> = await adamw(mixed, { device });
export const uploaded: Optimizer<GPUBufferBinding> = await adamw(weights, { backend: 'webgpu' });
export const either: Optimizer<Float32Array | GPUBufferBinding> = await adamw(weights, { backend: 'fastest' });
export const listed: Optimizer<Float32Array> = await adamw(weights, { backend: ['wasm', 'reference'] });
export const fallback = await adamw(weights, { backend: ['webgpu', 'wasm'] });
// @ts-expect-error may be on the GPU
fallback.params.weight.fill(0);
fallback.step(gradients);
// @ts-expect-error 'auto' in a list
await adamw({ w }, { backend: ['auto'] });
const shared = [{ params: { w: new Float32Array(new SharedArrayBuffer(8)) } }, { params: { v: new Float32Array(8) } }];
export const onCpu: Optimizer<Float32Array> = await adamw(shared);
// @ts-expect-error GPU buffers
export const wrong: Optimizer<Float32Array> = await adamw({ w: buffer }, { device });

// Several creators, a class field, generic functions.
declare const kind: 'adamw' | 'adamwScheduleFree';
const creators = { adamw, adamwScheduleFree };
const made = await creators[kind](weights, { lr: 1e-3 });
made.step(gradients);
const creator: typeof adam | typeof adamwScheduleFree = adam;
await creator({ w });
export class Trainer {
  optimizer?: Optimizer<Float32Array, AdamOptions>;
  async init(): Promise<void> {
    this.optimizer = await adamw({ w });
    this.optimizer.step(gradients);
  }
}
function stepAll<Names extends string>(
  each: Optimizer<Float32Array, AdamOptions, Names>,
  grads: Gradients<Names>,
): void {
  each.step(grads);
}
stepAll(optimizer, gradients);
async function create<Params extends Record<string, Float32Array>>(params: Params) {
  return adamw(params, { lr: 1 });
}
(await create({ w })).step({ w: null });
declare const recordOrGroups: Record<string, Float32Array> | { params: Record<string, Float32Array>; lr: number }[];
(await adamw(recordOrGroups)).step(record);

// Exported, so that its declaration must be able to name its type.
export async function createOver<Names extends string>(params: Record<Names, Float32Array>) {
  return adamw(params);
}
export const cast = <Names extends string>(params: Record<Names, Float32Array>) =>
  createOver(params) as Promise<Optimizer<Float32Array, AdamOptions, Names>>;
optimizer.groups[0].lr *= 0.5;
(await ema(made, { decay: 0.9 })).step(made.params);
export const aheadField: Lookahead<Float32Array> = await lookahead(optimizer);
export const averageField: Optimizer<Float32Array, EmaOptions> = await ema(optimizer);

// Tensors that are added, and averages.
const grown = await optimizer.addParams(0, { extra: w });
grown.step({ extra: w, bias: w });
const again = await grown.addParamGroup({ params: { more: w }, lr: 1 });
await again.removeParams(['more', 'weight']);
const average = await ema(optimizer, { decay: undefined });
average.step(optimizer.params);
const ahead = await lookahead(optimizer);
ahead.step(gradients);
export const slow: Float32Array = ahead.slow.params.weight;
// @ts-expect-error a misspelt name
ahead.step({ wieght: w });
// @ts-expect-error a misspelt name
void average.params.wieght;
await optimizer.addParamGroup({
  params: { x: w },
  // @ts-expect-error a misspelt option, reported where it is
  wieghtDecay: 1,
});

// twinstep/sync.
const atOnce = sync.adamw(weights, { lr: 0.1, wasm: undefined });
atOnce.step(gradients);
export const onCpuAtOnce: Float32Array = atOnce.params.weight;
sync.adamw([{ params: { w } }, { params: { v: w }, lr: 1 }]).step({ w, v: null });
sync.ema(atOnce).step(atOnce.params);
sync.lookahead(atOnce).step(gradients);
// @ts-expect-error a misspelt name
void atOnce.params.wieght;
// @ts-expect-error GPU buffers
sync.adamw({ w: buffer });
// @ts-expect-error a backend on the GPU
sync.adamw({ w }, { backend: 'webgpu' });

// twinstep/webgpu.
const onGpu: Optimizer<GPUBufferBinding> = await gpu.adamw(weights, { device });
onGpu.step(gradients);
const buffers = await gpu.adamw({ w: buffer, v: { buffer, offset: 256 } }, { device, backend: undefined });
buffers.step({ w: buffer, v: null });
buffers.encode(device.createCommandEncoder(), { w: buffer });
(await gpu.ema(buffers)).step(buffers.params);
// @ts-expect-error a misspelt name
buffers.encode(device.createCommandEncoder(), { u: buffer });
// @ts-expect-error an array in a caller's encoder
buffers.encode(device.createCommandEncoder(), { w });
buffers.encodeEval(device.createCommandEncoder(), 0);
buffers.encodeTrain(device.createCommandEncoder());
buffers.encodeAverage(device.createCommandEncoder(), { w: { buffer, offset: 256 } });
// @ts-expect-error a misspelt name
buffers.encodeAverage(device.createCommandEncoder(), { u: buffer });
// @ts-expect-error an array as a destination
buffers.encodeAverage(device.createCommandEncoder(), { w });
declare const destinations: { w: GPUBuffer };
declare const anyOnGpu: Optimizer<GPUBufferBinding>;
anyOnGpu.encodeAverage(device.createCommandEncoder(), destinations);
// @ts-expect-error another backend
await gpu.adamw(weights, { backend: 'wasm' });
