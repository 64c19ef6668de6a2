// Layouts and pipelines, made once per device, and the size of a dispatch.

import { arraysOf, elements } from '../layout.js';
import { lossOf, Unavailable } from '../backend.js';
import { COMPUTE } from './buffers.js';
import { textOf } from './device.js';
import type { Rule } from '../../rules/rule.js';
import { ownOf } from '../../errors.js';
import { inRows, lanes, shader, WORKGROUP, type Variant } from './shaders.js';

/** A rule compiled for a device. */
export interface Kernel {
  /** The layout of group 1: the arrays, in the order of `arraysOf(rule)`. Group 0 holds the scalars. */
  readonly arraysLayout: GPUBindGroupLayout;
  readonly pipelines: Readonly<Record<Variant, GPUComputePipeline>>;
}

/** Returns the WGSL file of a rule. */
export type SourceOf = (rule: string) => string | Promise<string>;

/** State shared by the optimizers on one device. */
export class Kernels {
  static readonly #ofDevice = new WeakMap<GPUDevice, Kernels>();

  /** The layout of group 0, the scalars: one uniform buffer at a dynamic offset, for every rule. */
  readonly scalarsLayout: GPUBindGroupLayout;
  /** A sentence saying that the device was lost, and why; undefined until then. */
  lost: string | undefined;
  /** How many optimizers use the device, and whether the package requested it. */
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
    this.scalarsLayout = bufferLayout(device, [{ type: 'uniform', hasDynamicOffset: true }]);
    void device.lost.then((info) => {
      this.lost = lossOf(info);
    });
  }

  /** Registers an optimizer. `isOurs`: the device was requested for it. */
  enter(isOurs: boolean): void {
    this.#optimizers += 1;
    this.#isOurs ||= isOurs;
  }

  /** Unregisters an optimizer. Destroys our own device with the last one: an average may outlive its optimizer. */
  leave(): void {
    this.#optimizers -= 1;
    if (this.#isOurs && this.#optimizers === 0) this.#device.destroy();
  }

  /** Returns the kernel of a rule, compiled at first use. Tries again after a failure. */
  async get(rule: Rule, sourceOf: SourceOf): Promise<Kernel> {
    const { name } = rule;
    let kernel = this.#kernels.get(name);
    if (kernel === undefined) this.#kernels.set(name, (kernel = this.#compile(rule, sourceOf)));
    try {
      return await kernel;
    } catch (error) {
      if (this.#kernels.get(name) === kernel) this.#kernels.delete(name);
      if (error instanceof Unavailable) throw error;
      throw new Error(`The GPU device cannot compile the kernel ${name}: ${textOf(error)}`, { cause: error });
    }
  }

  /** Returns a kernel that is not a rule, with its arrays in group 0; compiled at first use from its files. */
  tool(name: string, sources: readonly string[], variant: Variant = 'scalar'): GPUComputePipeline {
    const label = `twinstep ${name} ${variant}`;
    let pipeline = this.#tools.get(label);
    if (pipeline === undefined) {
      const module = this.#device.createShaderModule(ownOf({ label, code: shader(sources.join('\n'), variant) }));
      const compute = ownOf({ module, entryPoint: name, constants: ownOf({ WORKGROUP }) });
      pipeline = this.#device.createComputePipeline(ownOf({ label, layout: 'auto' as const, compute }));
      this.#tools.set(label, pipeline);
    }
    return pipeline;
  }

  async #compile(rule: Rule, sourceOf: SourceOf): Promise<Kernel> {
    const source = await sourceOf(rule.name);
    const device = this.#device;
    const arraysLayout = bufferLayout(
      device,
      arraysOf(rule).map(() => ({ type: 'storage' })),
    );
    const compile = (variant: Variant): Promise<GPUComputePipeline> => {
      const label = `twinstep ${rule.name} ${variant}`;
      const module = device.createShaderModule(ownOf({ label, code: shader(source, variant) }));
      // One layout per variant: wgpu does not check the minimum binding size again between pipelines of one layout.
      const layout = device.createPipelineLayout(ownOf({ bindGroupLayouts: [this.scalarsLayout, arraysLayout] }));
      const compute = ownOf({ module, entryPoint: rule.name, constants: ownOf({ WORKGROUP }) });
      return device.createComputePipelineAsync(ownOf({ label, layout, compute }));
    };
    const [vec4, scalar] = await Promise.all([compile('vec4'), compile('scalar')]);
    return { arraysLayout, pipelines: { vec4, scalar } };
  }
}

/** Returns the layout of a bind group of buffers, for compute shaders. */
function bufferLayout(device: GPUDevice, buffers: readonly GPUBufferBindingLayout[]): GPUBindGroupLayout {
  const entries = buffers.map((buffer, binding) => ownOf({ binding, visibility: COMPUTE, buffer: ownOf(buffer) }));
  return device.createBindGroupLayout(ownOf({ entries }));
}

/** The workgroups of a dispatch. */
export type Workgroups = readonly [x: number, y: number];

/** Arranges workgroups in rows. Every device allows 65,535 in each. */
export const rowsOf = ({ limits }: GPUDevice, workgroups: number): Workgroups =>
  inRows(workgroups, limits.maxComputeWorkgroupsPerDimension);

/** Returns the workgroups that process `bytes` of each array. */
export const workgroups = (device: GPUDevice, variant: Variant, bytes: number): Workgroups =>
  rowsOf(device, Math.ceil(elements(bytes) / lanes[variant] / WORKGROUP));

/** Dispatches a kernel that is not a rule. */
export function dispatch(
  pass: GPUComputePassEncoder,
  pipeline: GPUComputePipeline,
  arrays: GPUBindGroup,
  [x, y]: Workgroups,
): void {
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, arrays);
  pass.dispatchWorkgroups(x, y);
}
