// The kernels of a device: layouts and pipelines, made once per device, and the shape of a dispatch.

import { arraysOf, elements } from '../layout.js';
import { COMPUTE } from '../memory.js';
import type { Rule } from '../../rules/rule.js';
import { ownOf } from '../../errors.js';
import { inRows, lanes, shader, WORKGROUP, type Variant, type ToolName } from './shaders.js';

/** A rule on a device. */
export interface Kernel {
  /** Of group 1, the arrays, in the order of `arraysOf(rule)`. Group 0 is the scalars. */
  readonly arraysLayout: GPUBindGroupLayout;
  readonly pipelines: Readonly<Record<Variant, GPUComputePipeline>>;
}

/** What optimizers on the same device share. */
export class Kernels {
  static readonly #ofDevice = new WeakMap<GPUDevice, Kernels>();

  /** Of group 0, the scalars: one uniform buffer at a dynamic offset, for every rule. */
  readonly scalarsLayout: GPUBindGroupLayout;
  /** That the device was lost, and why, once it is. */
  lost: string | undefined;
  /** Optimizers that run on the device, and whether one of them asked for it. */
  #optimizers = 0;
  #isOurs = false;
  readonly #device: GPUDevice;
  readonly #kernels = new Map<string, Promise<Kernel>>();
  readonly #tools = new Map<string, GPUComputePipeline>();

  static of(device: GPUDevice): Kernels {
    let kernels = Kernels.#ofDevice.get(device);
    if (kernels === undefined) Kernels.#ofDevice.set(device, (kernels = new Kernels(device)));
    return kernels;
  }

  private constructor(device: GPUDevice) {
    this.#device = device;
    this.scalarsLayout = device.createBindGroupLayout({
      entries: [{ binding: 0, visibility: COMPUTE, buffer: { type: 'uniform', hasDynamicOffset: true } }],
    });
    void device.lost.then(({ message, reason }) => {
      // Not every implementation says why.
      const why = reason === 'destroyed' ? 'it was destroyed' : 'no reason was given';
      this.lost = `The GPU device was lost: ${message.replace(/\.$/, '') || why}`;
    });
  }

  /** Counts an optimizer on the device; `isOurs`: the device was requested for it. */
  enter(isOurs: boolean): void {
    this.#optimizers += 1;
    this.#isOurs ||= isOurs;
  }

  /** An optimizer is done. A device of ours is destroyed with the last one on it: an average may outlive its optimizer. */
  leave(): void {
    this.#optimizers -= 1;
    if (this.#isOurs && this.#optimizers === 0) this.#device.destroy();
  }

  /** Returns the kernel of a rule, compiled at first use. Tries again after a failure. */
  async get(rule: Rule): Promise<Kernel> {
    const { name } = rule;
    let kernel = this.#kernels.get(name);
    if (kernel === undefined) this.#kernels.set(name, (kernel = this.#compile(rule)));
    try {
      return await kernel;
    } catch (error) {
      if (this.#kernels.get(name) === kernel) this.#kernels.delete(name);
      throw error;
    }
  }

  /** A kernel that is no rule: its arrays are group 0. Few need one, and so it is made when it is used, at once. */
  tool(name: ToolName, variant: Variant): GPUComputePipeline {
    const label = `twinstep ${name} ${variant}`;
    let pipeline = this.#tools.get(label);
    if (pipeline === undefined) {
      const module = this.#device.createShaderModule({ label, code: shader(name, variant) });
      const compute = { module, entryPoint: name, constants: ownOf({ WORKGROUP }) };
      pipeline = this.#device.createComputePipeline({ label, layout: 'auto', compute });
      this.#tools.set(label, pipeline);
    }
    return pipeline;
  }

  async #compile(rule: Rule): Promise<Kernel> {
    const device = this.#device;
    const arraysLayout = device.createBindGroupLayout({
      entries: arraysOf(rule).map((_, binding) => ({ binding, visibility: COMPUTE, buffer: { type: 'storage' } })),
    });
    const compile = (variant: Variant): Promise<GPUComputePipeline> => {
      const label = `twinstep ${rule.name} ${variant}`;
      const module = device.createShaderModule({ label, code: shader(rule.name, variant) });
      // One layout per variant: wgpu does not check the minimum binding size again between pipelines of one layout.
      const layout = device.createPipelineLayout({ bindGroupLayouts: [this.scalarsLayout, arraysLayout] });
      const compute = { module, entryPoint: rule.name, constants: ownOf({ WORKGROUP }) };
      return device.createComputePipelineAsync({ label, layout, compute });
    };
    const [vec4, scalar] = await Promise.all([compile('vec4'), compile('scalar')]);
    return { arraysLayout, pipelines: { vec4, scalar } };
  }
}

/** Returns how many workgroups in x and y process `bytes` of each array. Every device allows 65,535 in one dimension. */
export function workgroups(device: GPUDevice, variant: Variant, bytes: number): [x: number, y: number] {
  const count = Math.ceil(elements(bytes) / lanes[variant] / WORKGROUP);
  return inRows(count, device.limits.maxComputeWorkgroupsPerDimension);
}
