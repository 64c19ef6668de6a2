// Code that must compile in strict mode without lib.dom, and code that the types must refuse.

import { adam, adamw, nadam, type Gradient, type Optimizer, type StateDict } from 'twinstep';
import {
  checkpointStream,
  decodeCheckpoint,
  loadCheckpoint,
  saveCheckpoint,
  type ByteStream,
} from 'twinstep/checkpoint';
import { cosineAnnealing, linearWarmup, oneCycle, reduceOnPlateau, type Schedule } from 'twinstep/schedules';

declare const device: GPUDevice;
declare const buffer: GPUBuffer;
declare const stream: ByteStream;
const w = new Float32Array(4);

const cpu: Optimizer<Float32Array> = await adamw({ w }, { lr: 1e-3, betas: [0.9, 0.99], decayMask: { w: false } });
const view: Float32Array | undefined = cpu.params['w'];
cpu.step({ w, absent: null, late: undefined });
cpu.step();
cpu.groups[0]!.lr *= 0.5;
const names: readonly string[] = cpu.groups[0]!.params;
const dict: StateDict = await cpu.stateDict();
await cpu.loadStateDict(structuredCloneOf(dict));

const gpu: Optimizer<GPUBufferBinding> = await adam({ w: buffer, b: { buffer, offset: 256, size: 16 } }, { device });
gpu.encode(device.createCommandEncoder(), { w: buffer, b: { buffer } });
const uploaded: Optimizer<GPUBufferBinding> = await adamw({ w }, { backend: 'webgpu' });
const grouped = await adamw(
  [
    { params: { w }, lr: 0.1 },
    { params: {}, weightDecay: 0 },
  ],
  { schedule: (t) => 1 / (1 + t) },
);
const bytes: Uint8Array = await saveCheckpoint(cpu, { metadata: { epoch: 1 } });
const read: unknown = await loadCheckpoint(gpu, bytes);
await loadCheckpoint(cpu, checkpointStream(grouped));
await loadCheckpoint(cpu, stream);
const restarted: Optimizer<Float32Array> = await adamw(decodeCheckpoint(bytes).params);
const gradients: Record<string, Gradient> = { w, b: buffer, c: null };
grouped.step(gradients);

const cycle = oneCycle({ totalSteps: 100, annealStrategy: 'linear' });
await adamw({ w }, { schedule: cycle, betas: cycle.betas(0.999) });
const plateau = reduceOnPlateau({ mode: 'max' });
plateau.step(0.5);
const schedule: Schedule = linearWarmup({ totalIters: 10 }, plateau);
await adam({ w }, { schedule, betas: (t) => [1 - 1 / (t + 2), 0.99] });

// @ts-expect-error an option with PyTorch's name
await adamw({ w }, { weight_decay: 0.1 });
// @ts-expect-error a path
await loadCheckpoint(cpu, 'run.safetensors');
// @ts-expect-error metadata outside of the option metadata
await saveCheckpoint(cpu, { epoch: 3 });
// @ts-expect-error a schedule option with PyTorch's name
cosineAnnealing({ T_max: 10 });
// @ts-expect-error a missing option without a default
cosineAnnealing({});
// @ts-expect-error a function for betas, which NAdam does not support
await nadam({ w }, { betas: cycle.betas(0.999) });
// @ts-expect-error a plain array
await adamw({ w: [1, 2, 3] });
// @ts-expect-error params of a group are read-only
cpu.groups[0]!.params = names;
// @ts-expect-error encode takes only GPU buffers
gpu.encode(device.createCommandEncoder(), { w });

declare function structuredCloneOf<T>(value: T): T;
export { read, restarted, uploaded, view };

// The names in `shapes` are those of the tensors.
const shaped = await adamw({ w }, { shapes: { w: [2, 2] }, decayMask: (_, shape) => (shape?.length ?? 0) > 1 });
const shapeOfW: readonly number[] | undefined = shaped.shapes.w;
await adamw([{ params: { w }, shapes: { w: [4] } }, { params: { v: w } }]);
await shaped.addParams(0, { v: w }, { shapes: { v: [4] } });
// @ts-expect-error There is no tensor `v`.
await adamw({ w }, { shapes: { v: [4] } });
// @ts-expect-error The tensor that is added is `v`.
await shaped.addParams(0, { v: w }, { shapes: { w: [4] } });
// @ts-expect-error Sizes are numbers.
await adamw({ w }, { shapes: { w: ['4'] } });
void shapeOfW;
