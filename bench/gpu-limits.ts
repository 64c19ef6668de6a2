// On the GPU, measures the kernels of our optimizers alone, and the limits of the GPU.

import { readFileSync } from 'node:fs';
import { coefficients, wgslKernel } from 'twinstep/kernels';
import { bytesMoved, type Opened, type System } from './contender.js';
import { openGpu } from './gpu.js';
import { optimizers, slotsOf } from './ours.js';
import type { OptimizerName } from './truth.js';

// Values of GPUBufferUsage from the specification: npm `webgpu` does not define the globals.
const [COPY_SRC, COPY_DST, UNIFORM, STORAGE] = [4, 8, 64, 128];
const FLOAT = 4;
/** Dispatches in one pass, so that the cost of the submit hardly counts. */
const DISPATCHES = 32;

/** Bytes of `length` elements, rounded up to whole vectors of four. */
const wholeVectors = (length: number): number => 4 * FLOAT * Math.ceil(length / 4);

interface Program {
  readonly code: string;
  readonly entryPoint: string;
  readonly scalars: Float32Array<ArrayBuffer>;
  /** Size of the scalars' buffer. */
  readonly scalarBytes: number;
  /** Number of bound arrays. */
  readonly arrays: number;
  workgroups(length: number): [number, number];
}

/** Dispatches a program over arrays of one length, many times in a pass. */
const dispatched = (name: OptimizerName, program: () => Program) => async (): Promise<System> => {
  const { device, ...info } = await openGpu(name);
  const { code, entryPoint, scalars, scalarBytes, arrays, workgroups } = program();
  const module = device.createShaderModule({ code });
  const pipeline = await device.createComputePipelineAsync({ layout: 'auto', compute: { module, entryPoint } });
  return {
    ...info,
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

/** The kernel of an optimizer, from `twinstep/kernels`. */
export const gpuKernel = (name: OptimizerName): (() => Promise<System>) =>
  dispatched(name, () => {
    const { algorithm, options } = optimizers[name];
    const steps = coefficients(algorithm, options);
    steps.next();
    return { ...wgslKernel(steps.kernel), scalars: steps.scalars(), arrays: slotsOf(name) + 2 };
  });

const probe = new URL('../../../bench/probe.wgsl', import.meta.url);

/** Moves the memory of a step with `slots` slots, bound and dispatched like its kernel. */
export const gpuTraffic = (slots: number): (() => Promise<System>) =>
  dispatched('adamw', () => ({
    code: readFileSync(probe, 'utf8'),
    entryPoint: `traffic${bytesMoved(slots)}`,
    scalars: new Float32Array([1]),
    scalarBytes: FLOAT,
    arrays: slots + 2,
    workgroups: wgslKernel('adam').workgroups,
  }));

/** Moves as many bytes as a step with two slots by copyBufferToBuffer: half of them are reads, half writes. */
export async function gpuCopy(): Promise<System> {
  const { device, sizeLimit, version } = await openGpu('adamw');
  if (sizeLimit !== undefined) throw new Error(`${sizeLimit.because}.`);
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
