// The public names of `twinstep/webgpu`: those of `twinstep`, for the GPU alone. Each function has the shaders of its own
// rules: most of them at once, and those that few programs need when they are first used.

import adamShader from '../wgsl/adam.wgsl';
import emaShader from '../wgsl/ema.wgsl';
import extrapolateShader from '../wgsl/extrapolate.wgsl';
import scheduleFreeAdamwShader from '../wgsl/schedulefree_adamw.wgsl';
import scheduleFreeSgdShader from '../wgsl/schedulefree_sgd.wgsl';
import type { Algorithm, GroupOptions } from './algorithms/algorithm.js';
import * as algorithms from './algorithms/index.js';
import { emaBy } from './averages/ema.js';
import { lookaheadBy } from './averages/lookahead.js';
import type { Lazy } from './backends/lazy.js';
import { locate } from './backends/webgpu/locate.js';
import { openOnly, type Shaders } from './backends/webgpu/only.js';
import { creator, refuseBut, type CreateOnGpu } from './create.js';
import { modesBy } from './step/mode.js';
import type { Modes } from './step/state.js';

const modes = /* @__PURE__ */ modesBy({ code: undefined, load: () => import('./rules/extrapolate.js') });
const refuse = /* @__PURE__ */ refuseBut('twinstep/webgpu', { backend: ['webgpu'], threads: [], wasm: [] });

const create = <Options extends GroupOptions>(
  algorithm: Algorithm<Options>,
  shaders: Shaders,
  ownModes?: Modes,
): CreateOnGpu<Options> =>
  creator(
    algorithm,
    { readWanted: () => 'webgpu', refuse, locator: () => locate, open: (request) => openOnly(request, shaders) },
    ownModes,
  ) as unknown as CreateOnGpu<Options>;

const here = (shader: string): Lazy<{ default: string }> => ({ code: { default: shader }, load: undefined });
const late = (load: () => Promise<{ default: string }>): Lazy<{ default: string }> => ({ code: undefined, load });

// The shaders of each function: those that its options can choose.
const nadamShader = /* @__PURE__ */ late(() => import('../wgsl/nadam.wgsl'));
const adamShaders = {
  adam: /* @__PURE__ */ here(adamShader),
  adam_amsgrad: /* @__PURE__ */ late(() => import('../wgsl/adam_amsgrad.wgsl')),
  nadam: nadamShader,
};
const extrapolate = /* @__PURE__ */ here(extrapolateShader);
const schedulefree_adamw = /* @__PURE__ */ here(scheduleFreeAdamwShader);
const schedulefree_adamw_inner = /* @__PURE__ */ late(() => import('../wgsl/schedulefree_adamw_inner.wgsl'));
const schedulefree_sgd = /* @__PURE__ */ here(scheduleFreeSgdShader);

/**
 * Creates an optimizer that runs Adam, as `adam` of `twinstep` does on the GPU.
 *
 * @param params - Flat tensors by name, or groups of them: Float32Arrays, which are uploaded, or GPU buffers, which
 *   steps update in place.
 * @param options - Those of `adam` of `twinstep`, except `threads`, `wasm`, and another `backend`. Without `device`, a
 *   device of `navigator.gpu` is requested.
 * @returns A promise of the optimizer.
 * @throws TypeError or RangeError for any option or tensor that is not as documented, and an Error without a GPU.
 * @example const optimizer = await adam({ w: new Float32Array([1, 2, 3]) }, { lr: 0.01 });
 */
export const adam = /* @__PURE__ */ create(algorithms.adam, adamShaders);

/**
 * Creates an optimizer that runs AdamW. Otherwise as `adam`.
 *
 * @param params - Flat tensors by name, or groups of them: Float32Arrays, which are uploaded, or GPU buffers, which
 *   steps update in place.
 * @param options - Those of `adamw` of `twinstep`, except `threads`, `wasm`, and another `backend`. Without `device`, a
 *   device of `navigator.gpu` is requested.
 * @returns A promise of the optimizer.
 * @throws TypeError or RangeError for any option or tensor that is not as documented, and an Error without a GPU.
 * @example const optimizer = await adamw({ w: new Float32Array([1, 2, 3]) }, { weightDecay: 0.1 });
 */
export const adamw = /* @__PURE__ */ create(algorithms.adamw, adamShaders);

/**
 * Creates an optimizer that runs Schedule-Free AdamW. Otherwise as `adam`.
 *
 * @param params - Flat tensors by name, or groups of them: Float32Arrays, which are uploaded, or GPU buffers, which
 *   steps update in place.
 * @param options - Those of `adamwScheduleFree` of `twinstep`, except `threads`, `wasm`, and another `backend`. Without
 *   `device`, a device of `navigator.gpu` is requested.
 * @returns A promise of the optimizer, in train mode.
 * @throws TypeError or RangeError for any option or tensor that is not as documented, and an Error without a GPU.
 * @example const optimizer = await adamwScheduleFree({ w: new Float32Array([1, 2, 3]) }, { warmupSteps: 10 });
 */
export const adamwScheduleFree = /* @__PURE__ */ create(
  algorithms.adamwScheduleFree,
  { schedulefree_adamw, schedulefree_adamw_inner, extrapolate },
  modes,
);

/**
 * Creates an optimizer that runs Schedule-Free RAdam. Otherwise as `adam`.
 *
 * @param params - Flat tensors by name, or groups of them: Float32Arrays, which are uploaded, or GPU buffers, which
 *   steps update in place.
 * @param options - Those of `radamScheduleFree` of `twinstep`, except `threads`, `wasm`, and another `backend`. Without
 *   `device`, a device of `navigator.gpu` is requested.
 * @returns A promise of the optimizer, in train mode.
 * @throws TypeError or RangeError for any option or tensor that is not as documented, and an Error without a GPU.
 * @example const optimizer = await radamScheduleFree({ w: new Float32Array([1, 2, 3]) }, { lr: 0.0025 });
 */
export const radamScheduleFree = /* @__PURE__ */ create(
  algorithms.radamScheduleFree,
  { schedulefree_adamw, extrapolate },
  modes,
);

/**
 * Creates an optimizer that runs Schedule-Free SGD. Otherwise as `adam`.
 *
 * @param params - Flat tensors by name, or groups of them: Float32Arrays, which are uploaded, or GPU buffers, which
 *   steps update in place.
 * @param options - Those of `sgdScheduleFree` of `twinstep`, except `threads`, `wasm`, and another `backend`. Without
 *   `device`, a device of `navigator.gpu` is requested.
 * @returns A promise of the optimizer, in train mode.
 * @throws TypeError or RangeError for any option or tensor that is not as documented, and an Error without a GPU.
 * @example const optimizer = await sgdScheduleFree({ w: new Float32Array([1, 2, 3]) }, { lr: 1 });
 */
export const sgdScheduleFree = /* @__PURE__ */ create(
  algorithms.sgdScheduleFree,
  { schedulefree_sgd, extrapolate },
  modes,
);

/**
 * Creates an optimizer that runs NAdam. Otherwise as `adam`.
 *
 * @param params - Flat tensors by name, or groups of them: Float32Arrays, which are uploaded, or GPU buffers, which
 *   steps update in place.
 * @param options - Those of `nadam` of `twinstep`, except `threads`, `wasm`, and another `backend`. Without `device`, a
 *   device of `navigator.gpu` is requested.
 * @returns A promise of the optimizer.
 * @throws TypeError or RangeError for any option or tensor that is not as documented, and an Error without a GPU.
 * @example const optimizer = await nadam({ w: new Float32Array([1, 2, 3]) }, { lr: 0.002 });
 */
export const nadam = /* @__PURE__ */ create(algorithms.nadam, { nadam: nadamShader });

/**
 * Creates an optimizer that runs RAdam. Otherwise as `adam`.
 *
 * @param params - Flat tensors by name, or groups of them: Float32Arrays, which are uploaded, or GPU buffers, which
 *   steps update in place.
 * @param options - Those of `radam` of `twinstep`, except `threads`, `wasm`, and another `backend`. Without `device`, a
 *   device of `navigator.gpu` is requested.
 * @returns A promise of the optimizer.
 * @throws TypeError or RangeError for any option or tensor that is not as documented, and an Error without a GPU.
 * @example const optimizer = await radam({ w: new Float32Array([1, 2, 3]) }, { lr: 0.001 });
 */
export const radam = /* @__PURE__ */ create(algorithms.radam, { nadam: nadamShader });

/**
 * Creates an exponential moving average of the weights of an optimizer on the GPU, as `ema` of `twinstep` does.
 *
 * @param optimizer - An optimizer on the GPU, of `twinstep/webgpu` or `twinstep`.
 * @param options - `decay`: the weight of the old average at each step, at least 0 and less than 1.
 * @returns A promise of the average, an optimizer whose gradients are the weights.
 * @throws TypeError for an optimizer on the CPU, and for a `decay` that is not as documented.
 * @example const average = await ema(optimizer, { decay: 0.99 }); average.step(optimizer.params);
 */
export const ema = /* @__PURE__ */ emaBy(
  /* @__PURE__ */ create(algorithms.ema, { ema: /* @__PURE__ */ here(emaShader) }),
  'GPU',
);

/**
 * Creates a Lookahead over an optimizer on the GPU, as `lookahead` of `twinstep` does.
 *
 * @param optimizer - An optimizer on the GPU, of `twinstep/webgpu` or `twinstep`. Its own buffers need COPY_SRC and
 *   COPY_DST usage.
 * @param options - `k`: the steps between two of the slow weights. `alpha`: how far these move.
 * @returns A promise of the Lookahead, whose `step` is to be called instead of the optimizer's.
 * @throws TypeError for an optimizer on the CPU or with an average of its own, and for options that are not as
 *   documented.
 * @example const ahead = await lookahead(optimizer, { k: 5 }); ahead.step(grads);
 */
export const lookahead = /* @__PURE__ */ lookaheadBy(ema);

export { debiasedDecay } from './algorithms/algorithm.js';
export { decayMatricesOnly, noDecayOnBiasAndNorm } from './inputs/masks.js';
export { gradScaler } from './step/scaler.js';

export type * from './index.js';
