// The public names.

import * as algorithms from './algorithms/index.js';
import { creator } from './create.js';
import { modes } from './step/mode.js';

/**
 * Adam (arXiv 1412.6980), its weight decay an L2 term in the gradient; with `amsgrad` AMSGrad (arXiv 1904.09237).
 * Names, defaults and checks of torch.optim.Adam.
 *
 * `params` is a record of flat tensors by name, of any lengths, or an array of groups `{ params, lr, ... }` with
 * options of their own, read until the promise resolves: to an `Optimizer`, whose `step` takes gradients of the same
 * names and lengths. Rejects with a TypeError or RangeError for any option or tensor that is not as documented.
 */
export const adam = /* @__PURE__ */ creator(algorithms.adam);

/**
 * AdamW (arXiv 1711.05101): Adam with decoupled weight decay. Names, defaults and checks of torch.optim.AdamW.
 * `params` and errors are as for `adam`.
 */
export const adamw = /* @__PURE__ */ creator(algorithms.adamw);

/**
 * Schedule-Free AdamW (arXiv 2405.15682): no schedule, and no end to plan for. While it trains the parameters are y,
 * where gradients are to be taken; `eval()` makes them the average x, which is what to evaluate and save, and `train()`
 * y again. Names and defaults are upstream's (facebookresearch/schedule_free); `params` and errors are as for `adam`.
 */
export const adamwScheduleFree = /* @__PURE__ */ creator(algorithms.adamwScheduleFree, modes);

/**
 * Schedule-Free RAdam (arXiv 2405.15682, 1908.03265), which needs no warm-up: upstream's RAdamScheduleFree. Modes and
 * errors are as for `adamwScheduleFree`.
 */
export const radamScheduleFree = /* @__PURE__ */ creator(algorithms.radamScheduleFree, modes);

/** Schedule-Free SGD (arXiv 2405.15682): upstream's SGDScheduleFree. Modes and errors are as for `adamwScheduleFree`. */
export const sgdScheduleFree = /* @__PURE__ */ creator(algorithms.sgdScheduleFree, modes);

/**
 * NAdam, Adam with Nesterov momentum (Dozat 2016, Incorporating Nesterov Momentum into Adam): names, defaults and
 * arithmetic of torch.optim.NAdam. Otherwise as `adam`.
 */
export const nadam = /* @__PURE__ */ creator(algorithms.nadam);

/** RAdam (arXiv 1908.03265): names, defaults and arithmetic of torch.optim.RAdam. Otherwise as `adam`. */
export const radam = /* @__PURE__ */ creator(algorithms.radam);

export { ema } from './averages/ema.js';
export { enableWideSimd, type WideSimd } from './backends/cpu/wide.js';
export { debiasedDecay } from './algorithms/algorithm.js';
export { lookahead } from './averages/lookahead.js';
export { noDecayOnBiasAndNorm } from './inputs/masks.js';

export type {
  AdamOptions,
  AdamwScheduleFreeOptions,
  EmaOptions,
  NadamOptions,
  RadamOptions,
  RadamScheduleFreeOptions,
  SgdScheduleFreeOptions,
} from './algorithms/index.js';
export type { Betas, CommonOptions } from './algorithms/algorithm.js';
export type { Choice } from './backends/index.js';
export type { BackendName } from './backends/backend.js';
export type { Create, MachineOptions } from './create.js';
export type { Gradient, Gradients, Norms } from './step/gradients.js';
export type { ParamGroup, Params, Tensors } from './inputs/groups.js';
export type { Lookahead, LookaheadOptions } from './averages/lookahead.js';
export type { GpuMemory } from './backends/memory.js';
export type { Optimizer } from './optimizer.js';
export type { LiveGroup } from './step/group.js';
export type { StepOptions } from './step/step.js';
export type { StateDict, TensorState } from './state/dict.js';
export type { IncompatibleNames, LoadOptions } from './state/how.js';
export type { LazyArray, LazyParam } from './state/save.js';
