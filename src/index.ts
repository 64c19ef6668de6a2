// The public names of `twinstep`.

import * as algorithms from './algorithms/index.js';
import { emaBy } from './averages/ema.js';
import { lookaheadBy } from './averages/lookahead.js';
import { readWasm } from './backends/cpu/module.js';
import { choose, readWanted } from './backends/index.js';
import { gpuMemory, loadedFor } from './backends/lazy.js';
import { creator, type AsyncEntry } from './create.js';
import { modes } from './step/mode.js';

const entry: AsyncEntry = {
  readWanted,
  readWasm,
  locator: async (caller) => (await loadedFor(caller, gpuMemory)).locate,
  open: choose,
};

/**
 * Creates an optimizer that runs Adam (arXiv 1412.6980), with weight decay as an L2 term in the gradient, or with
 * `amsgrad: true` AMSGrad (arXiv 1904.09237). Names, defaults and checks are those of torch.optim.Adam.
 *
 * `params` is a record of flat tensors by name, of any lengths, or an array of groups `{ params, lr, ... }` with
 * options of their own. It is read until the promise resolves: do not change it before. Resolves to an `Optimizer`,
 * whose `step` takes gradients of the same names and lengths. Rejects with a TypeError or RangeError for any option or
 * tensor that is not as documented.
 */
export const adam = /* @__PURE__ */ creator(algorithms.adam, entry);

/**
 * Creates an optimizer that runs AdamW (arXiv 1711.05101): Adam with decoupled weight decay. Names, defaults and checks
 * are those of torch.optim.AdamW. `params` and errors are as for `adam`.
 *
 * @example const optimizer = await adamw({ w: new Float32Array([1, 2, 3]) }, { lr: 0.01 }); optimizer.step({ w: new
 * Float32Array([0.1, 0.2, 0.3]) }); optimizer.params.w; // the updated values
 */
export const adamw = /* @__PURE__ */ creator(algorithms.adamw, entry);

/**
 * Creates an optimizer that runs Schedule-Free AdamW (arXiv 2405.15682), which needs neither a schedule nor a planned
 * number of steps. In train mode the parameters are y, where gradients are computed. `eval()` sets them to the average
 * x, to evaluate and save; `train()` sets them to y again. Names and defaults are upstream's
 * (facebookresearch/schedule_free). `params` and errors are as for `adam`.
 */
export const adamwScheduleFree = /* @__PURE__ */ creator(algorithms.adamwScheduleFree, entry, modes);

/**
 * Creates an optimizer that runs Schedule-Free RAdam (arXiv 2405.15682, 1908.03265), which needs no warm-up: upstream's
 * RAdamScheduleFree. Modes and errors are as for `adamwScheduleFree`.
 */
export const radamScheduleFree = /* @__PURE__ */ creator(algorithms.radamScheduleFree, entry, modes);

/**
 * Creates an optimizer that runs Schedule-Free SGD (arXiv 2405.15682): upstream's SGDScheduleFree. Modes and errors are
 * as for `adamwScheduleFree`.
 */
export const sgdScheduleFree = /* @__PURE__ */ creator(algorithms.sgdScheduleFree, entry, modes);

/**
 * Creates an optimizer that runs NAdam: Adam with Nesterov momentum (Dozat 2016, Incorporating Nesterov Momentum into
 * Adam). Names, defaults and arithmetic are those of torch.optim.NAdam. `params` and errors are as for `adam`.
 */
export const nadam = /* @__PURE__ */ creator(algorithms.nadam, entry);

/**
 * Creates an optimizer that runs RAdam (arXiv 1908.03265). Names, defaults and arithmetic are those of
 * torch.optim.RAdam. `params` and errors are as for `adam`.
 */
export const radam = /* @__PURE__ */ creator(algorithms.radam, entry);

/**
 * Creates an exponential moving average of the weights of `optimizer`, on the same backend. It starts as a copy of
 * them; `average.step(optimizer.params)` updates it. Get its weights from `average.params` or `read`; save and load it
 * like any optimizer, also in checkpoints. It can outlive the optimizer, runs on one thread and keeps no gradients.
 * Rejects with an Error for a `decay` that is not as documented, and for options of the backend.
 */
export const ema = /* @__PURE__ */ emaBy(/* @__PURE__ */ creator(algorithms.ema, entry));

/**
 * Creates a Lookahead (arXiv 1907.08610) over an optimizer that keeps no average itself. After every `k` completed
 * steps, the slow weights move by `alpha` towards the optimizer's weights, which are then set to them; its moments
 * stay. Step, save and load the Lookahead instead of the optimizer; use `lookahead.optimizer` for everything else, such
 * as adding and removing tensors. Frozen tensors do not change. On the GPU, the caller's buffers need COPY_SRC and
 * COPY_DST usage. Throws an Error for arguments that are not as documented.
 */
export const lookahead = /* @__PURE__ */ lookaheadBy(ema);

export { enableWideSimd, type WideSimd } from './backends/cpu/wide.js';
export { debiasedDecay } from './algorithms/algorithm.js';
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
export type { BackendName, Choice } from './backends/backend.js';
export type { Create, MachineOptions } from './create.js';
export type { Gradient, Gradients, Norms } from './step/gradients.js';
export type { GivenOptions, ParamGroup, Params, Tensors } from './inputs/given.js';
export type { Lookahead, LookaheadOptions } from './averages/lookahead.js';
export type { GpuMemory } from './backends/memory.js';
export type { Optimizer } from './optimizer.js';
export type { LiveGroup } from './step/group.js';
export type { StepOptions } from './step/step.js';
export type { StateDict, TensorState } from './state/dict.js';
export type { IncompatibleNames, LoadOptions } from './state/load-options.js';
export type { LazyArray, LazyParam } from './state/save.js';
