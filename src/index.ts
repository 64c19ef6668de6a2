// The public names of `twinstep`.

import * as algorithms from './algorithms/index.js';
import { emaBy } from './averages/ema.js';
import { lookaheadBy } from './averages/lookahead.js';
import { readWasm } from './backends/cpu/module.js';
import { choose, readWanted } from './backends/index.js';
import { gpuMemory, loadedFor } from './backends/lazy.js';
import { creator, type AsyncEntry } from './create.js';
import { modesBy } from './step/mode.js';

const modes = /* @__PURE__ */ modesBy({ code: undefined, load: () => import('./rules/extrapolate.js') });

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
 * @param params - Flat tensors by name, each a Float32Array, which is copied, or a GPU buffer, which steps update in
 *   place; or an array of groups `{ params, lr, ... }` with options of their own. They are read until the promise
 *   resolves: do not change them before.
 * @param options - Those of all groups (`AdamOptions`), and of the optimizer as a whole (`MachineOptions`). Default lr
 *   is 1e-3, per step.
 * @returns A promise of the optimizer, whose `step` takes gradients of the same names and lengths.
 * @throws TypeError or RangeError for any option or tensor that is not as documented, and an Error if no backend can
 *   run. The promise rejects with them.
 * @example
 * const optimizer = await adam({ w: new Float32Array([1, 2, 3]) }, { lr: 0.01 });
 * optimizer.step({ w: new Float32Array([0.1, 0.2, 0.3]) });
 */
export const adam = /* @__PURE__ */ creator(algorithms.adam, entry);

/**
 * Creates an optimizer that runs AdamW (arXiv 1711.05101): Adam with decoupled weight decay. Names, defaults and checks
 * are those of torch.optim.AdamW.
 *
 * @param params - Flat tensors by name, or groups; see `adam`.
 * @param options - `AdamOptions` and `MachineOptions`. Default lr is 1e-3, and default weightDecay 0.01.
 * @returns A promise of the optimizer.
 * @throws The errors of `adam`.
 * @example
 * const optimizer = await adamw({ w: new Float32Array([1, 2, 3]) }, { lr: 0.01 });
 * optimizer.step({ w: new Float32Array([0.1, 0.2, 0.3]) });
 * optimizer.params.w; // the updated values
 */
export const adamw = /* @__PURE__ */ creator(algorithms.adamw, entry);

/**
 * Creates an optimizer that runs Schedule-Free AdamW (arXiv 2405.15682), which needs neither a schedule nor a planned
 * number of steps. In train mode the parameters are y, where gradients are computed. `eval()` sets them to the average
 * x, to evaluate and save; `train()` sets them to y again. Names and defaults are upstream's
 * (facebookresearch/schedule_free, AdamWScheduleFree).
 *
 * @param params - Flat tensors by name, or groups; see `adam`.
 * @param options - `AdamwScheduleFreeOptions` and `MachineOptions`. Default lr is 0.0025.
 * @returns A promise of the optimizer, in train mode.
 * @throws The errors of `adam`.
 * @example
 * const optimizer = await adamwScheduleFree({ w: new Float32Array([1, 2, 3]) }, { warmupSteps: 10 });
 * optimizer.step({ w: new Float32Array([0.1, 0.2, 0.3]) });
 * optimizer.eval();
 * optimizer.params.w; // the average
 */
export const adamwScheduleFree = /* @__PURE__ */ creator(algorithms.adamwScheduleFree, entry, modes);

/**
 * Creates an optimizer that runs Schedule-Free RAdam (arXiv 2405.15682, 1908.03265), which needs no warm-up: upstream's
 * RAdamScheduleFree. Its modes are those of `adamwScheduleFree`.
 *
 * @param params - Flat tensors by name, or groups; see `adam`.
 * @param options - `RadamScheduleFreeOptions` and `MachineOptions`. Default lr is 0.0025.
 * @returns A promise of the optimizer, in train mode.
 * @throws The errors of `adam`.
 * @example const optimizer = await radamScheduleFree({ w: new Float32Array([1, 2, 3]) }, { lr: 0.0025 });
 */
export const radamScheduleFree = /* @__PURE__ */ creator(algorithms.radamScheduleFree, entry, modes);

/**
 * Creates an optimizer that runs Schedule-Free SGD (arXiv 2405.15682): upstream's SGDScheduleFree. Its modes are those
 * of `adamwScheduleFree`.
 *
 * @param params - Flat tensors by name, or groups; see `adam`.
 * @param options - `SgdScheduleFreeOptions` and `MachineOptions`. Default lr is 1.
 * @returns A promise of the optimizer, in train mode.
 * @throws The errors of `adam`.
 * @example const optimizer = await sgdScheduleFree({ w: new Float32Array([1, 2, 3]) }, { lr: 1 });
 */
export const sgdScheduleFree = /* @__PURE__ */ creator(algorithms.sgdScheduleFree, entry, modes);

/**
 * Creates an optimizer that runs NAdam: Adam with Nesterov momentum (Dozat 2016, Incorporating Nesterov Momentum into
 * Adam). Names, defaults and arithmetic are those of torch.optim.NAdam.
 *
 * @param params - Flat tensors by name, or groups; see `adam`.
 * @param options - `NadamOptions` and `MachineOptions`. Default lr is 2e-3.
 * @returns A promise of the optimizer.
 * @throws The errors of `adam`.
 * @example const optimizer = await nadam({ w: new Float32Array([1, 2, 3]) }, { lr: 0.002 });
 */
export const nadam = /* @__PURE__ */ creator(algorithms.nadam, entry);

/**
 * Creates an optimizer that runs RAdam (arXiv 1908.03265). Names, defaults and arithmetic are those of
 * torch.optim.RAdam.
 *
 * @param params - Flat tensors by name, or groups; see `adam`.
 * @param options - `RadamOptions` and `MachineOptions`. Default lr is 1e-3.
 * @returns A promise of the optimizer.
 * @throws The errors of `adam`.
 * @example const optimizer = await radam({ w: new Float32Array([1, 2, 3]) }, { lr: 0.001 });
 */
export const radam = /* @__PURE__ */ creator(algorithms.radam, entry);

/**
 * Creates an exponential moving average of the weights of an optimizer, on the same backend. It starts as a copy of
 * them; `average.step(optimizer.params)` updates it. Get its weights from `average.params` or `read`; save and load it
 * like any optimizer, also in checkpoints. It can outlive the optimizer, runs on one thread and keeps no gradients.
 *
 * @param optimizer - An optimizer of any algorithm, awaited. On the GPU, its own buffers need COPY_SRC usage.
 * @param options - `decay`: the weight of the old average at each step, at least 0 and less than 1. Default 0.999.
 * @returns A promise of the average, an optimizer whose gradients are the weights.
 * @throws TypeError for a `decay` that is not as documented, and for options of the backend.
 * @example
 * const average = await ema(optimizer, { decay: 0.99 });
 * optimizer.step(grads);
 * average.step(optimizer.params);
 */
export const ema = /* @__PURE__ */ emaBy(/* @__PURE__ */ creator(algorithms.ema, entry));

/**
 * Creates a Lookahead (arXiv 1907.08610) over an optimizer. After every `k` completed steps, the slow weights move by
 * `alpha` towards the optimizer's weights, which are then set to them; its moments stay. Step, save and load the
 * Lookahead instead of the optimizer; use `lookahead.optimizer` for everything else, such as adding and removing
 * tensors. Frozen tensors do not change.
 *
 * @param optimizer - An optimizer that keeps no average itself, awaited. On the GPU, its own buffers need COPY_SRC and
 *   COPY_DST usage.
 * @param options - `k`: the steps between two of the slow weights, default 5. `alpha`: how far these move, default 0.5.
 * @returns A promise of the Lookahead, whose `step` is to be called instead of the optimizer's.
 * @throws TypeError for arguments that are not as documented.
 * @example
 * const ahead = await lookahead(optimizer, { k: 5 });
 * ahead.step(grads);
 */
export const lookahead = /* @__PURE__ */ lookaheadBy(ema);

export { enableWideSimd, type WideSimd } from './backends/cpu/wide.js';
export { debiasedDecay } from './algorithms/algorithm.js';
export { decayMatricesOnly, noDecayOnBiasAndNorm } from './inputs/masks.js';
export { gradScaler } from './step/scaler.js';

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
export type { GivenMemory, GivenNames, GivenOptions, MemoryOn, ParamGroup, Params, Tensors } from './inputs/given.js';
export type { ScalerStateDict } from './inputs/scaler-dict.js';
export type { Shape, Shapes } from './inputs/shapes.js';
export type { Lookahead, LookaheadOptions } from './averages/lookahead.js';
export type { GpuMemory } from './backends/memory.js';
export type { Optimizer } from './optimizer.js';
export type { LiveGroup } from './step/group.js';
export type { GradScaler, GradScalerOptions, ScalerReading } from './step/scaler.js';
export type { PerTensor, StepOptions } from './step/options.js';
export type { StateDict, TensorState } from './state/dict.js';
export type { IncompatibleNames, LoadOptions } from './state/load-options.js';
export type { LazyArray, LazyParam } from './state/save.js';
