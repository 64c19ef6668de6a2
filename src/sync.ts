// The public names of `twinstep/sync`: those of `twinstep`, except that optimizers are created at once, on the CPU. Each
// function links the kernels of its own rules statically, so that a bundle has no others.

import { hex as adamHex } from '../assembly/adam?hex';
import { hex as amsgradHex } from '../assembly/adam_amsgrad?hex';
import { hex as emaHex } from '../assembly/ema?hex';
import { hex as extrapolateHex } from '../assembly/extrapolate?hex';
import { hex as nadamHex } from '../assembly/nadam?hex';
import { hex as scheduleFreeAdamwHex } from '../assembly/schedulefree_adamw?hex';
import { hex as innerMomentumHex } from '../assembly/schedulefree_adamw_inner?hex';
import { hex as scheduleFreeSgdHex } from '../assembly/schedulefree_sgd?hex';
import type { Algorithm, GroupOptions } from './algorithms/algorithm.js';
import * as algorithms from './algorithms/index.js';
import { syncEmaBy } from './averages/ema.js';
import * as lookaheadState from './averages/lookahead-state.js';
import { syncLookaheadBy } from './averages/lookahead.js';
import { readWasm } from './backends/cpu/module.js';
import { chooseNow, type Kernels } from './backends/cpu/now.js';
import { arrayLocator } from './backends/memory.js';
import { wantedReader } from './backends/wanted.js';
import { refuseBut, syncCreator, type CreateSync } from './create.js';
import * as rules from './rules/index.js';
import { modesBy } from './step/mode.js';
import type { Modes } from './step/state.js';

const modes = /* @__PURE__ */ modesBy({ code: rules, load: undefined });
const readWanted = /* @__PURE__ */ wantedReader(['auto'], ['wasm', 'reference'], ' (`twinstep` has others)');
const refuse = /* @__PURE__ */ refuseBut('twinstep/sync', { device: [], threads: [1] });

const create = <Options extends GroupOptions>(
  algorithm: Algorithm<Options>,
  kernels: Kernels,
  ownModes?: Modes,
): CreateSync<Options> =>
  syncCreator(
    algorithm,
    {
      readWanted,
      refuse,
      readWasm,
      locate: arrayLocator('a Float32Array (`twinstep` and `twinstep/webgpu` take GPU buffers)'),
      open: (request, wanted) => chooseNow(request, wanted, kernels),
    },
    ownModes,
  );

// The kernels of each function: those that its options can choose.
const nadamKernel = { hex: nadamHex, update: rules.nadam };
const adamKernels = {
  adam: { hex: adamHex, update: rules.adam },
  adam_amsgrad: { hex: amsgradHex, update: rules.adam_amsgrad },
  nadam: nadamKernel,
};
const extrapolate = { hex: extrapolateHex, update: rules.extrapolate };
const schedulefree_adamw = { hex: scheduleFreeAdamwHex, update: rules.schedulefree_adamw };
const innerMomentum = { hex: innerMomentumHex, update: rules.schedulefree_adamw_inner };
const schedulefree_sgd = { hex: scheduleFreeSgdHex, update: rules.schedulefree_sgd };

/**
 * Creates an optimizer that runs Adam, as `adam` of `twinstep` does, but at once and on the CPU. Where WebAssembly
 * cannot be compiled, plain JavaScript runs, as `optimizer.backend` says.
 *
 * @param params - Flat tensors by name, or groups of them. Their values are copied.
 * @param options - Those of `adam`, except `device`, `threads`, and a `backend` on the GPU.
 * @returns The optimizer. What is a promise in `twinstep` after creation is one here, too.
 * @throws TypeError or RangeError for any option or tensor that is not as documented.
 * @example const optimizer = adam({ w: new Float32Array([1, 2, 3]) }, { lr: 0.01 });
 */
export const adam = /* @__PURE__ */ create(algorithms.adam, adamKernels);

/**
 * Creates an optimizer that runs AdamW. Otherwise as `adam`.
 *
 * @param params - Flat tensors by name, or groups of them. Their values are copied.
 * @param options - Those of `adamw` of `twinstep`, except `device`, `threads`, and a `backend` on the GPU.
 * @returns The optimizer.
 * @throws TypeError or RangeError for any option or tensor that is not as documented.
 * @example const optimizer = adamw({ w: new Float32Array([1, 2, 3]) }, { weightDecay: 0.1 });
 */
export const adamw = /* @__PURE__ */ create(algorithms.adamw, adamKernels);

/**
 * Creates an optimizer that runs Schedule-Free AdamW. Otherwise as `adam`.
 *
 * @param params - Flat tensors by name, or groups of them. Their values are copied.
 * @param options - Those of `adamwScheduleFree` of `twinstep`, except `device`, `threads`, and a `backend` on the GPU.
 * @returns The optimizer, in train mode.
 * @throws TypeError or RangeError for any option or tensor that is not as documented.
 * @example const optimizer = adamwScheduleFree({ w: new Float32Array([1, 2, 3]) }, { warmupSteps: 10 });
 */
export const adamwScheduleFree = /* @__PURE__ */ create(
  algorithms.adamwScheduleFree,
  { schedulefree_adamw, schedulefree_adamw_inner: innerMomentum, extrapolate },
  modes,
);

/**
 * Creates an optimizer that runs Schedule-Free RAdam. Otherwise as `adam`.
 *
 * @param params - Flat tensors by name, or groups of them. Their values are copied.
 * @param options - Those of `radamScheduleFree` of `twinstep`, except `device`, `threads`, and a `backend` on the GPU.
 * @returns The optimizer, in train mode.
 * @throws TypeError or RangeError for any option or tensor that is not as documented.
 * @example const optimizer = radamScheduleFree({ w: new Float32Array([1, 2, 3]) }, { lr: 0.0025 });
 */
export const radamScheduleFree = /* @__PURE__ */ create(
  algorithms.radamScheduleFree,
  { schedulefree_adamw, extrapolate },
  modes,
);

/**
 * Creates an optimizer that runs Schedule-Free SGD. Otherwise as `adam`.
 *
 * @param params - Flat tensors by name, or groups of them. Their values are copied.
 * @param options - Those of `sgdScheduleFree` of `twinstep`, except `device`, `threads`, and a `backend` on the GPU.
 * @returns The optimizer, in train mode.
 * @throws TypeError or RangeError for any option or tensor that is not as documented.
 * @example const optimizer = sgdScheduleFree({ w: new Float32Array([1, 2, 3]) }, { lr: 1 });
 */
export const sgdScheduleFree = /* @__PURE__ */ create(
  algorithms.sgdScheduleFree,
  { schedulefree_sgd, extrapolate },
  modes,
);

/**
 * Creates an optimizer that runs NAdam. Otherwise as `adam`.
 *
 * @param params - Flat tensors by name, or groups of them. Their values are copied.
 * @param options - Those of `nadam` of `twinstep`, except `device`, `threads`, and a `backend` on the GPU.
 * @returns The optimizer.
 * @throws TypeError or RangeError for any option or tensor that is not as documented.
 * @example const optimizer = nadam({ w: new Float32Array([1, 2, 3]) }, { lr: 0.002 });
 */
export const nadam = /* @__PURE__ */ create(algorithms.nadam, { nadam: nadamKernel });

/**
 * Creates an optimizer that runs RAdam. Otherwise as `adam`.
 *
 * @param params - Flat tensors by name, or groups of them. Their values are copied.
 * @param options - Those of `radam` of `twinstep`, except `device`, `threads`, and a `backend` on the GPU.
 * @returns The optimizer.
 * @throws TypeError or RangeError for any option or tensor that is not as documented.
 * @example const optimizer = radam({ w: new Float32Array([1, 2, 3]) }, { lr: 0.001 });
 */
export const radam = /* @__PURE__ */ create(algorithms.radam, { nadam: nadamKernel });

/**
 * Creates an exponential moving average of the weights of an optimizer on the CPU, at once. Otherwise as `ema` of
 * `twinstep`.
 *
 * @param optimizer - An optimizer on the CPU, of `twinstep/sync` or `twinstep`.
 * @param options - `decay`: the weight of the old average at each step, at least 0 and less than 1.
 * @returns The average, an optimizer whose gradients are the weights.
 * @throws TypeError for an optimizer on a GPU, and for a `decay` that is not as documented.
 * @example const average = ema(optimizer, { decay: 0.99 }); average.step(optimizer.params);
 */
export const ema = /* @__PURE__ */ syncEmaBy(
  /* @__PURE__ */ create(algorithms.ema, { ema: { hex: emaHex, update: rules.ema } }),
);

/**
 * Creates a Lookahead over an optimizer on the CPU, at once. Otherwise as `lookahead` of `twinstep`.
 *
 * @param optimizer - An optimizer on the CPU, of `twinstep/sync` or `twinstep`.
 * @param options - `k`: the steps between two of the slow weights. `alpha`: how far these move.
 * @returns The Lookahead, whose `step` is to be called instead of the optimizer's.
 * @throws TypeError for an optimizer on a GPU or with an average of its own, and for options that are not as
 *   documented.
 * @example const ahead = lookahead(optimizer, { k: 5 }); ahead.step(grads);
 */
export const lookahead = /* @__PURE__ */ syncLookaheadBy(ema, lookaheadState);

export { enableWideSimd, type WideSimd } from './backends/cpu/wide.js';
export { debiasedDecay } from './algorithms/algorithm.js';
export { decayMatricesOnly, noDecayOnBiasAndNorm } from './inputs/masks.js';
export { gradScaler } from './step/scaler.js';

export type * from './index.js';
