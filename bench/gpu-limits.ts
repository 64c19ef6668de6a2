// The kernels of our optimizers alone on the GPU, and beside them what the GPU could do at best.

import { readFileSync } from 'node:fs';
import { coefficients, wgslKernel } from 'twinstep/kernels';
import { bytesMoved, type Opened, type System } from './contender.js';
import { openGpu } from './gpu.js';
import { optimizers, slotsOf } from './ours.js';
import type { OptimizerName } from './truth.js';

// The specification's numbers: npm `webgpu` leaves the globals to the caller.
const [COPY_SRC, COPY_DST, UNIFORM, STORAGE] = [4, 8, 64, 128];
const FLOAT = 4;
/** In one pass, so that the launch costs next to nothing. */
const DISPATCHES = 32;

/** The bytes of so many elements, four at a time. */
const wholeVectors = (length: number): number => 4 * FLOAT * Math.ceil(length / 4);

interface Program {
  readonly code: string;
  readonly entryPoint: string;
  readonly scalars: Float32Array<ArrayBuffer>;
  /** The length of their buffer. */
  readonly scalarBytes: number;
  /** How many arrays are bound. */
  readonly arrays: number;
  workgroups(length: number): [number, number];
}

/** Its dispatches over arrays of one length, many in a pass. */
const dispatched = (name: OptimizerName, program: () => Program) => async (): Promise<System> => {
  const { device, ...told } = await openGpu(name);
  const { code, entryPoint, scalars, scalarBytes, arrays, workgroups } = program();
  const module = device.createShaderModule({ code });
  const pipeline = await device.createComputePipelineAsync({ layout: 'auto', compute: { module, entryPoint } });
  return {
    ...told,
    open({ length, param, grad }): Opened {
      const usage = STORAGE | UNIFORM | COPY_DST;
      const sizes = [scalarBytes, ...Array.from({ length: arrays }, () => wholeVectors(length))];
      const buffers = sizes.map((size) => device.createBuffer({ size, usage }));
      const starts = [scalars, param(new Float32Array(length)), grad(new Float32Array(length))];
      starts.forEach((values, i) => device.queue.writeBuffer(buffers[i], 0, values as Float32Array<ArrayBuffer>));
      const groups = [buffers.slice(0, 1), buffers.slice(1)].map((bound, index) => {
        const entries = bound.map((buffer, binding) => ({ binding, resource: { buffer } }));
        return device.createBindGroup({ layout: pipeline.getBindGroupLayout(index), entries });
      });
      return {
        steps: DISPATCHES,
        step() {
          const encoder = device.createCommandEncoder();
          const pass = encoder.beginComputePass();
          pass.setPipeline(pipeline);
          groups.forEach((bound, index) => pass.setBindGroup(index, bound));
          for (let i = 0; i < DISPATCHES; i++) pass.dispatchWorkgroups(...workgroups(length));
          pass.end();
          device.queue.submit([encoder.finish()]);
          return device.queue.onSubmittedWorkDone();
        },
        close: () => buffers.forEach((buffer) => buffer.destroy()),
      };
    },
  };
};

/** The kernel of an optimizer, as `twinstep/kernels` gives it. */
export const gpuKernel = (name: OptimizerName): (() => Promise<System>) =>
  dispatched(name, () => {
    const { algorithm, options } = optimizers[name];
    const steps = coefficients(algorithm, options);
    steps.next();
    return { ...wgslKernel(steps.kernel), scalars: steps.scalars(), arrays: slotsOf(name) + 2 };
  });

const probe = new URL('../../../bench/probe.wgsl', import.meta.url);

/** The memory that a step with so many slots moves, bound and dispatched as its kernel is. */
export const gpuTraffic = (slots: number): (() => Promise<System>) =>
  dispatched('adamw', () => ({
    code: readFileSync(probe, 'utf8'),
    entryPoint: `traffic${bytesMoved(slots)}`,
    scalars: new Float32Array([1]),
    scalarBytes: FLOAT,
    arrays: slots + 2,
    workgroups: wgslKernel('adam').workgroups,
  }));

/** copyBufferToBuffer of as many bytes as a step with two slots moves: half of them are read, half written. */
export async function gpuCopy(): Promise<System> {
  const { device, most, version } = await openGpu('adamw');
  if (most !== undefined) throw new Error(`${most.because}.`);
  return {
    version,
    open({ length }): Opened {
      const size = wholeVectors(length);
      const usage = COPY_SRC | COPY_DST;
      const [a, b, c, d] = Array.from({ length: 4 }, () => device.createBuffer({ size, usage }));
      const copies: [GPUBuffer, GPUBuffer, number][] = [
        [a, b, size],
        [c, d, size],
        [b, c, size],
        [d, a, size / 2],
      ];
      return {
        steps: DISPATCHES,
        step() {
          const encoder = device.createCommandEncoder();
          for (let i = 0; i < DISPATCHES; i++)
            for (const [from, to, bytes] of copies) encoder.copyBufferToBuffer(from, 0, to, 0, bytes);
          device.queue.submit([encoder.finish()]);
          return device.queue.onSubmittedWorkDone();
        },
        close: () => [a, b, c, d].forEach((buffer) => buffer.destroy()),
      };
    },
  };
}
