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
import { modes } from './step/mode.js';
import type { Modes } from './step/state.js';

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

/** Creates an optimizer that runs Adam: `adam` of `twinstep`, at once and on the CPU. */
export const adam = /* @__PURE__ */ create(algorithms.adam, adamKernels);

/** Creates an optimizer that runs AdamW: `adamw` of `twinstep`, at once and on the CPU. */
export const adamw = /* @__PURE__ */ create(algorithms.adamw, adamKernels);

export const adamwScheduleFree = /* @__PURE__ */ create(
  algorithms.adamwScheduleFree,
  { schedulefree_adamw, schedulefree_adamw_inner: innerMomentum, extrapolate },
  modes,
);

export const radamScheduleFree = /* @__PURE__ */ create(
  algorithms.radamScheduleFree,
  { schedulefree_adamw, extrapolate },
  modes,
);

export const sgdScheduleFree = /* @__PURE__ */ create(
  algorithms.sgdScheduleFree,
  { schedulefree_sgd, extrapolate },
  modes,
);

export const nadam = /* @__PURE__ */ create(algorithms.nadam, { nadam: nadamKernel });

export const radam = /* @__PURE__ */ create(algorithms.radam, { nadam: nadamKernel });

export const ema = /* @__PURE__ */ syncEmaBy(
  /* @__PURE__ */ create(algorithms.ema, { ema: { hex: emaHex, update: rules.ema } }),
);

export const lookahead = /* @__PURE__ */ syncLookaheadBy(ema, lookaheadState);

export { enableWideSimd, type WideSimd } from './backends/cpu/wide.js';
export { debiasedDecay } from './algorithms/algorithm.js';
export { noDecayOnBiasAndNorm } from './inputs/masks.js';
