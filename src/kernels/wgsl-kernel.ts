// The WGSL kernels for the caller's own pipelines.

import { inRows, lanes, shader, WORKGROUP } from '../backends/webgpu/shaders.js';
import { FLOAT } from '../backends/layout.js';
import { COMPUTE } from '../backends/webgpu/buffers.js';
import { expect, expectArguments, expectOptions, isCount, list, ownOf } from '../errors.js';
import { kernels, type KernelDescription, type KernelName } from './table.js';

/** A kernel's source, and how it is bound. */
export interface WgslKernel extends KernelDescription {
  /** A whole module. */
  readonly code: string;
  readonly entryPoint: KernelName;
  /** How many elements an invocation updates: bindings are multiples of so many. */
  readonly lanes: 1 | 4;
  /** The length of the uniform buffer, of which the kernel's scalars may be a part: those of a file share a struct. */
  readonly scalarBytes: number;
  /** Invocations in a workgroup. */
  readonly workgroupSize: number;
  /** What the pipeline's `constants` are to be. */
  readonly constants: Readonly<Record<string, number>>;
  /** Of group 0, the scalars at binding 0, and of group 1, the arrays at bindings in their order. */
  readonly bindGroupLayouts: readonly [GPUBindGroupLayoutDescriptor, GPUBindGroupLayoutDescriptor];
  /** What to dispatch for arrays of so many elements, where one dimension holds at most `most` workgroups. */
  workgroups(elements: number, most?: number): [x: number, y: number];
}

/**
 * The WGSL kernel `name`, four elements at a time, or with `lanes` 1 one, for arrays that do not divide by four. Throws
 * an Error for a name that is not in `kernels`.
 */
export function wgslKernel(name: KernelName, options: { lanes?: 1 | 4; workgroupSize?: number } = {}): WgslKernel {
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
  const code = shader(name, variant);
  const minBindingSize = uniformBytes(code);
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

/** Of the struct of scalars: as many f32 as it says. */
function uniformBytes(code: string): number {
  const [, fields] = /struct \w+Scalars\s*\{([^}]*)\}/.exec(code)!;
  return FLOAT * fields.split('f32').slice(1).length;
}
