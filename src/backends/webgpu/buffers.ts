// GPU buffers: usages, allocation, bind groups, and the checks that a buffer of the caller can be used.

import { ownOf, show, unexpected } from '../../errors.js';
import type { Role } from '../memory.js';

// The specification's numbers: the globals GPUBufferUsage, GPUMapMode and GPUShaderStage are missing outside browsers.
export const MAP_READ = 0x01;
export const COPY_SRC = 0x04;
export const COPY_DST = 0x08;
export const UNIFORM = 0x40;
export const STORAGE = 0x80;
export const INDIRECT = 0x100;
export const READ = 0x1;
export const COMPUTE = 0x4;

/** Allocates a buffer. Default usage: that of an array, which kernels use and which is copied. */
export const allocate = (
  device: GPUDevice,
  name: string,
  size: number,
  usage = STORAGE | COPY_SRC | COPY_DST,
): GPUBuffer => device.createBuffer(ownOf({ label: `twinstep ${name}`, size, usage }));

/** Binds ranges of buffers to 0, 1, ... */
export function makeBindGroup(
  device: GPUDevice,
  layout: GPUBindGroupLayout,
  ranges: readonly GPUBufferBinding[],
): GPUBindGroup {
  const entries = ranges.map((range, binding) => ownOf({ binding, resource: ownOf(range) }));
  return device.createBindGroup(ownOf({ layout, entries }));
}

/** Throws an Error about `role` and `name` if kernels cannot bind the buffer: it lacks STORAGE usage or is mapped. */
export function checkBindable({ usage, mapState }: GPUBuffer, role: Role, name: string): void {
  if ((usage & STORAGE) === 0) {
    const what = `${role} ${show(name)}`;
    throw new TypeError(`Expected the GPUBuffer of ${what} to have STORAGE usage, got usage ${usage}.`);
  }
  if (mapState !== 'unmapped') throw unexpected(`the GPUBuffer of ${role} ${show(name)}`, 'unmapped', mapState);
}

const copies = { COPY_SRC, COPY_DST };

/** Throws an Error if the buffer lacks a usage that `what` needs. */
export function checkUsage({ usage }: GPUBuffer, needed: keyof typeof copies, what: string): void {
  if ((usage & copies[needed]) !== 0) return;
  throw new TypeError(`${what} needs ${needed} usage of its GPUBuffer, got usage ${usage}.`);
}
