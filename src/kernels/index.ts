// The public names of twinstep/kernels: kernels for engines that have their own memory and pipelines.

export {
  coefficients,
  type AlgorithmName,
  type CoefficientsState,
  type OptionsOf,
  type StepCoefficients,
} from './step-coefficients.js';
export { kernels, type KernelDescription, type KernelName } from './table.js';
export { wasmKernels, type WasmKernel, type WasmKernels } from './wasm-kernels.js';
export { wgslKernel, type WgslKernel } from './wgsl-kernel.js';
