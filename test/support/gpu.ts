// Helpers for WebGPU tests.

import { adamw } from 'twinstep';
import { expect, vi } from 'vitest';
import { webgpu, whyNoWebGPU } from './backends.js';
import { largest } from './numbers.js';
import { ROUNDING, webgpuRoundings } from './tolerances.js';

// Without WebGPU every file of WebGPU tests fails here, so no test is skipped silently.
if (webgpu === undefined) throw new Error(`The WebGPU tests cannot run on this machine: ${whyNoWebGPU}.`);

export const { device, adapter } = webgpu;

export const COPY_SRC = 0x4;
export const COPY_DST = 0x8;
export const STORAGE = 0x80;

/** Creates a buffer with the values. */
export function buffer(values: Float32Array, usage = STORAGE | COPY_SRC, on = device): GPUBuffer {
  const made = on.createBuffer({ size: values.byteLength, usage: usage | COPY_DST });
  on.queue.writeBuffer(made, 0, values as Float32Array<ArrayBuffer>);
  return made;
}

/** Watches the buffers of the device. `alive`: those created since, and not destroyed. */
export function watchBuffers() {
  const alive = new Set<GPUBuffer>();
  const create = device.createBuffer.bind(device);
  const spy = vi.spyOn(device, 'createBuffer').mockImplementation((descriptor) => {
    const made = create(descriptor);
    const destroy = made.destroy.bind(made);
    alive.add(made);
    made.destroy = () => {
      alive.delete(made);
      destroy();
    };
    return made;
  });
  return { alive, spy };
}

/** Reads a buffer directly, without an optimizer. */
export async function contents(source: GPUBuffer): Promise<Float32Array> {
  const staging = device.createBuffer({ size: source.size, usage: COPY_DST | 0x1 });
  const encoder = device.createCommandEncoder();
  encoder.copyBufferToBuffer(source, 0, staging, 0, source.size);
  device.queue.submit([encoder.finish()]);
  await staging.mapAsync(0x1);
  const copy = new Float32Array(staging.getMappedRange().slice(0));
  staging.destroy();
  return copy;
}

export function expectClose(actual: Float32Array, expected: Float32Array, steps: number): void {
  const bound = webgpuRoundings(adapter, steps) * ROUNDING * largest(expected);
  expect(actual.length).toBe(expected.length);
  let worst = 0;
  for (let i = 0; i < expected.length; i++) worst = Math.max(worst, Math.abs(actual[i] - expected[i]));
  expect(worst).toBeLessThanOrEqual(bound);
}

/** Takes the same steps on the CPU and returns the parameters that the GPU must reach. */
export async function onCpu(
  params: Record<string, Float32Array>,
  grads: Record<string, Float32Array>[],
  options = {},
): Promise<Readonly<Record<string, Float32Array>>> {
  const optimizer = await adamw(params, { ...options, backend: 'wasm' });
  for (const each of grads) optimizer.step(each);
  return optimizer.params;
}

/** Passes a value that the types refuse. */
export const any = (value: unknown): never => value as never;
