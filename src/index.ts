// The public names of `twinstep`.

import * as algorithms from './algorithms/index.js';
import { creator } from './create.js';
import { modes } from './step/mode.js';

/**
 * Creates an optimizer that runs Adam (arXiv 1412.6980), with weight decay as an L2 term in the gradient, or with
 * `amsgrad: true` AMSGrad (arXiv 1904.09237). Names, defaults and checks are those of torch.optim.Adam.
 *
 * `params` is a record of flat tensors by name, of any lengths, or an array of groups `{ params, lr, ... }` with
 * options of their own. It is read until the promise resolves: do not change it before. Resolves to an `Optimizer`,
 * whose `step` takes gradients of the same names and lengths. Rejects with a TypeError or RangeError for any option or
 * tensor that is not as documented.
 */
export const adam = /* @__PURE__ */ creator(algorithms.adam);

/**
 * Creates an optimizer that runs AdamW (arXiv 1711.05101): Adam with decoupled weight decay. Names, defaults and checks
 * are those of torch.optim.AdamW. `params` and errors are as for `adam`.
 *
 * @example const optimizer = await adamw({ w: new Float32Array([1, 2, 3]) }, { lr: 0.01 }); optimizer.step({ w: new
 * Float32Array([0.1, 0.2, 0.3]) }); optimizer.params.w; // the updated values
 */
export const adamw = /* @__PURE__ */ creator(algorithms.adamw);

/**
 * Creates an optimizer that runs Schedule-Free AdamW (arXiv 2405.15682), which needs neither a schedule nor a planned
 * number of steps. In train mode the parameters are y, where gradients are computed. `eval()` sets them to the average
 * x, to evaluate and save; `train()` sets them to y again. Names and defaults are upstream's
 * (facebookresearch/schedule_free). `params` and errors are as for `adam`.
 */
export const adamwScheduleFree = /* @__PURE__ */ creator(algorithms.adamwScheduleFree, modes);

/**
 * Creates an optimizer that runs Schedule-Free RAdam (arXiv 2405.15682, 1908.03265), which needs no warm-up: upstream's
 * RAdamScheduleFree. Modes and errors are as for `adamwScheduleFree`.
 */
export const radamScheduleFree = /* @__PURE__ */ creator(algorithms.radamScheduleFree, modes);

/**
 * Creates an optimizer that runs Schedule-Free SGD (arXiv 2405.15682): upstream's SGDScheduleFree. Modes and errors are
 * as for `adamwScheduleFree`.
 */
export const sgdScheduleFree = /* @__PURE__ */ creator(algorithms.sgdScheduleFree, modes);

/**
 * Creates an optimizer that runs NAdam: Adam with Nesterov momentum (Dozat 2016, Incorporating Nesterov Momentum into
 * Adam). Names, defaults and arithmetic are those of torch.optim.NAdam. `params` and errors are as for `adam`.
 */
export const nadam = /* @__PURE__ */ creator(algorithms.nadam);

/**
 * Creates an optimizer that runs RAdam (arXiv 1908.03265). Names, defaults and arithmetic are those of
 * torch.optim.RAdam. `params` and errors are as for `adam`.
 */
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
export type { IncompatibleNames, LoadOptions } from './state/load-options.js';
export type { LazyArray, LazyParam } from './state/save.js';
