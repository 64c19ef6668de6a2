// The kernels of a device: layouts and pipelines, made once per device, and the shape of a dispatch.

import { arraysOf, elements } from '../layout.js';
import { COMPUTE } from '../memory.js';
import type { Rule } from '../../rules/rule.js';
import { ownOf } from '../../errors.js';
import { inRows, lanes, shader, WORKGROUP, type Flavour, type ToolName } from './shaders.js';

/** A rule on a device. */
export interface Kernel {
  /** Of group 1, the arrays, in the order of `arraysOf(rule)`. Group 0 is the scalars. */
  readonly arraysLayout: GPUBindGroupLayout;
  readonly pipelines: Readonly<Record<Flavour, GPUComputePipeline>>;
  /** Invocations in a workgroup. */
  readonly workgroup: number;
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

  async get(rule: Rule, workgroup: number): Promise<Kernel> {
    const key = `${rule.name} ${workgroup}`;
    let kernel = this.#kernels.get(key);
    if (kernel === undefined) this.#kernels.set(key, (kernel = this.#make(rule, workgroup)));
    try {
      return await kernel;
    } catch (error) {
      if (this.#kernels.get(key) === kernel) this.#kernels.delete(key);
      throw error;
    }
  }

  /** A kernel that is no rule: its arrays are group 0. Few need one, and so it is made when it is used, at once. */
  tool(name: ToolName, flavour: Flavour): GPUComputePipeline {
    const label = `twinstep ${name} ${flavour}`;
    let pipeline = this.#tools.get(label);
    if (pipeline === undefined) {
      const module = this.#device.createShaderModule({ label, code: shader(name, flavour) });
      const compute = { module, entryPoint: name, constants: ownOf({ WORKGROUP }) };
      pipeline = this.#device.createComputePipeline({ label, layout: 'auto', compute });
      this.#tools.set(label, pipeline);
    }
    return pipeline;
  }

  /** One pipeline of a rule, made anew. */
  async compile(
    rule: Rule,
    flavour: Flavour,
    workgroup: number,
    arraysLayout: GPUBindGroupLayout,
  ): Promise<GPUComputePipeline> {
    const device = this.#device;
    const label = `twinstep ${rule.name} ${flavour}, workgroups of ${workgroup}`;
    const module = device.createShaderModule({ label, code: shader(rule.name, flavour) });
    // One for each flavour: between pipelines of the same layout wgpu does not look at the least size of bindings anew.
    const layout = device.createPipelineLayout({ bindGroupLayouts: [this.scalarsLayout, arraysLayout] });
    const compute = { module, entryPoint: rule.name, constants: ownOf({ WORKGROUP: workgroup }) };
    return device.createComputePipelineAsync({ label, layout, compute });
  }

  async #make(rule: Rule, workgroup: number): Promise<Kernel> {
    const arraysLayout = this.#device.createBindGroupLayout({
      entries: arraysOf(rule).map((_, binding) => ({ binding, visibility: COMPUTE, buffer: { type: 'storage' } })),
    });
    const compile = (flavour: Flavour) => this.compile(rule, flavour, workgroup, arraysLayout);
    const [vec4, scalar] = await Promise.all([compile('vec4'), compile('scalar')]);
    return { arraysLayout, pipelines: { vec4, scalar }, workgroup };
  }
}

/** The workgroups for so many bytes of each array, in x and y: one dimension holds 65,535 for certain, and no more. */
export function workgroups(
  device: GPUDevice,
  flavour: Flavour,
  bytes: number,
  workgroup = WORKGROUP,
): [x: number, y: number] {
  const count = Math.ceil(elements(bytes) / lanes[flavour] / workgroup);
  return inRows(count, device.limits.maxComputeWorkgroupsPerDimension);
}
