// The WGSL kernels for the caller's pipelines.

import { ruleShaders } from '../backends/webgpu/rule-shaders.js';
import { inRows, lanes, shader, WORKGROUP } from '../backends/webgpu/shaders.js';
import { FLOAT } from '../backends/layout.js';
import { COMPUTE } from '../backends/webgpu/buffers.js';
import { expect, expectArguments, expectOptions, isCount, list, ownOf } from '../errors.js';
import { kernels, type KernelDescription, type KernelName } from './table.js';

/** The source of a kernel, and its bindings. */
export interface WgslKernel extends KernelDescription {
  /** A complete WGSL module. */
  readonly code: string;
  /** The name of its function in `code`. */
  readonly entryPoint: KernelName;
  /** The number of elements that an invocation updates. The length of arrays must be a multiple of it. */
  readonly lanes: 1 | 4;
  /** The size of the uniform buffer: 4 bytes for each scalar. */
  readonly scalarBytes: number;
  /** The number of invocations in a workgroup. */
  readonly workgroupSize: number;
  /** The `constants` of the pipeline. */
  readonly constants: Readonly<Record<string, number>>;
  /** The layouts of group 0, with the scalars at binding 0, and of group 1, with the arrays in order. */
  readonly bindGroupLayouts: readonly [GPUBindGroupLayoutDescriptor, GPUBindGroupLayoutDescriptor];
  /**
   * Returns how many workgroups to dispatch.
   *
   * @param elements - The length of each array, in values.
   * @param most - The limit of each dimension: the device's maxComputeWorkgroupsPerDimension. Default 65535.
   * @returns The arguments of `dispatchWorkgroups`.
   * @throws TypeError for anything else than whole numbers.
   * @example wgslKernel('adam').workgroups(1_000_000);
   */
  workgroups(elements: number, most?: number): [x: number, y: number];
}

/**
 * Returns a WGSL kernel, for your own pipeline.
 *
 * @param name - Its name in `kernels`.
 * @param options - `lanes`: the elements that it updates at a time, 4 (the default), or 1 for lengths that are not
 *   multiples of four. `workgroupSize`: the number of invocations, at least 1.
 * @returns The source, its bindings, and the number of workgroups.
 * @throws TypeError for an unknown name, and for options that are not as documented.
 * @example
 * const { code, entryPoint, constants } = wgslKernel('adam');
 * const module = device.createShaderModule({ code });
 * const compute = { module, entryPoint, constants };
 * const pipeline = await device.createComputePipelineAsync({ layout: 'auto', compute });
 */
export function wgslKernel(
  name: KernelName,
  options: { lanes?: 1 | 4 | undefined; workgroupSize?: number | undefined } = {},
): WgslKernel {
  expectArguments(arguments.length, 2, 'wgslKernel');
  expectOptions(options, 'wgslKernel', ['lanes', 'workgroupSize']);
  const { lanes: count = 4, workgroupSize = WORKGROUP } = ownOf(options);
  const isOne = typeof name === 'string' && Object.hasOwn(kernels, name);
  expect(isOne, 'the kernel', `one of ${list(Object.keys(kernels), Infinity)}`, name);
  expect(count === 1 || count === 4, 'lanes', '1 or 4', count);
  const isSize = Number.isInteger(workgroupSize) && workgroupSize > 0;
  expect(isSize, 'workgroupSize', 'a whole number of at least 1', workgroupSize);
  const kernel = kernels[name];
  const variant = count === lanes.vec4 ? 'vec4' : 'scalar';
  const code = shader(ruleShaders[name], variant);
  const minBindingSize = FLOAT * kernel.scalars.length;
  return {
    ...kernel,
    code,
    scalarBytes: minBindingSize,
    entryPoint: name,
    lanes: count,
    workgroupSize,
    constants: ownOf({ WORKGROUP: workgroupSize }),
    bindGroupLayouts: [
      { entries: [{ binding: 0, visibility: COMPUTE, buffer: { type: 'uniform', minBindingSize } }] },
      {
        entries: kernel.arrays.map((_, binding) => ({ binding, visibility: COMPUTE, buffer: { type: 'storage' } })),
      },
    ],
    workgroups(elements, most = 65_535) {
      expectArguments(arguments.length, 2, 'workgroups');
      expect(isCount(elements), 'the elements', 'a whole number of at least 0', elements);
      expect(isCount(most, 1), 'the most workgroups', 'a whole number of at least 1', most);
      return inRows(Math.ceil(elements / count / workgroupSize), most);
    },
  };
}
