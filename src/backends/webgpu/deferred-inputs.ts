// The inputs of a deferred step: the structs of wgsl/deferred.wgsl and wgsl/prepare.wgsl.

import { isEachClipped, maySkip, needsFinite, needsNorm, type GradientOptions } from '../gradient-options.js';
import { align, elements, FLOAT, type Tensor } from '../layout.js';
import type { Plan, Run } from '../plan.js';
import type { Correction } from '../../rules/rule.js';
import { remember } from './binding-cache.js';
import type { Dispatch } from './dispatches.js';
import { POWERS, powersOf } from './powers.js';
import type { Reduction, Work } from './reduction.js';
import type { Place, SectionMemory } from './section-memory.js';
import type { Section } from '../section.js';
import { LARGEST } from '../sums.js';

/** A dispatch of wgsl/rescale.wgsl: the gradients of `work`, and where it writes their clipped copies. */
export interface Rescale {
  readonly work: Work;
  readonly clipped: GPUBufferBinding;
}

/** A run of a step, with what is dispatched for it. */
export interface DeferredRun {
  readonly plan: Plan;
  readonly run: Run;
  readonly tensors: readonly Tensor[];
  readonly works: readonly Work[];
  /** What clips its gradients before the update, if that takes copies that are clipped. */
  readonly rescales: readonly Rescale[];
  readonly dispatches: readonly Dispatch[];
}

/** Neighbours in a run that the same dispatches cover. */
export interface RunPart {
  readonly first: number;
  readonly last: number;
  /** Their gradient, if it is in a buffer of the caller. */
  readonly place: Place | undefined;
  readonly dispatches: readonly Dispatch[];
}

/** Describes a run. `isClipped`: its update takes clipped copies. `reduction` measures the gradients, if that is needed. */
export function describe(
  plan: Plan,
  { section, memory }: { readonly section: Section; readonly memory: SectionMemory },
  run: Run,
  parts: readonly RunPart[],
  isClipped: boolean,
  reduction: Reduction | undefined,
): DeferredRun {
  const { tensors } = section;
  const works: Work[] = [];
  const rescales: Rescale[] = [];
  if (reduction !== undefined) {
    for (const { first, last, place } of parts) {
      const tensor = tensors[first];
      const ofPart = place === undefined ? reduction.adjoining(section, first, last) : reduction.bound(tensor, place);
      works.push(...ofPart);
      if (!isClipped) continue;
      const { buffer } = memory.clipped(tensor);
      for (const work of ofPart) rescales.push({ work, clipped: { ...work.values, buffer } });
    }
  }
  const dispatches = parts.flatMap((part) => part.dispatches);
  return { plan, run, tensors: tensors.slice(run.first, run.last + 1), works, rescales, dispatches };
}

/** The forms of factor() in wgsl/corrections.wgsl, in their order. */
const forms: readonly Correction[] = ['none', 'sqrt(c2)/c1', 'sqrt(c2)', 'sqrt(c2)/next c1', 'c2', 'flush'];

/** The words of the structs, the first for the flags and numbers, and where the scalars and corrections of a run begin. */
const HEADER = 13;
const TENSOR = 2;
const RUN = 40;
const IS_CLIPPED_AT = 4;
const SCALARS_AT = 8;
const CORRECTIONS_AT = 24;
const DISPATCH = 2;
/** The words of the powers of a decay rate. */
const RATE = 2 * POWERS;

/** The inputs of a step. */
export interface Packed {
  readonly bytes: ArrayBuffer;
  /** Where `inputs`, `tensors`, `runs`, `dispatches` and `powers` lie in the bytes. Each begins where a binding may. */
  readonly parts: readonly { readonly offset: number; readonly size: number }[];
  readonly tensors: number;
  readonly dispatches: number;
}

/** Packs the inputs of a step. `slotOf` returns the index of a tensor in `sums`. */
export function pack(
  runs: readonly DeferredRun[],
  options: GradientOptions,
  slotOf: (tensor: Tensor) => number,
): Packed {
  const dispatches = runs.flatMap((run) => run.dispatches);
  // Gradients matter only if the step may be skipped.
  const measured = maySkip(options) ? runs : [];
  const tensors = measured.reduce((sum, run) => sum + run.tensors.length, 0);
  const rates = [...new Set(runs.flatMap(({ plan }) => plan.corrections?.betas ?? []))];
  const words = [HEADER, tensors * TENSOR, runs.length * RUN, dispatches.length * DISPATCH, rates.length * RATE];
  let end = 0;
  const parts = words.map((count) => {
    // A binding is not empty.
    const size = Math.max(count, RUN) * FLOAT;
    const offset = end;
    end += align(size);
    return { offset, size };
  });
  const bytes = new ArrayBuffer(end);
  const [inUint, inFloat] = [new Uint32Array(bytes), new Float32Array(bytes)];
  const [, tensorsAt, runsAt, dispatchesAt, powersAt] = parts.map(({ offset }) => elements(offset));

  const { scaler, scaleBuffer, maxNorm, maxValue, normalizes } = options;
  const flags = [
    needsNorm(options),
    needsFinite(options),
    isEachClipped(options),
    normalizes,
    scaler !== undefined,
    scaler?.isLast ?? false,
    scaleBuffer !== undefined,
  ].map(Number);
  const scale = runs.reduce((most, { run }) => Math.max(most, Math.abs(run.scalars[0])), 0);
  inUint.set([...flags, tensors, runs.length, dispatches.length]);
  // GPUs need not know infinity.
  inFloat.set([Math.min(maxNorm, LARGEST), maxValue, scale], flags.length + 3);

  let tensor = tensorsAt;
  for (const { run, tensors: ofRun } of measured) {
    const weight = scale === 0 ? 0 : Math.abs(run.scalars[0]) / scale;
    for (const each of ofRun) {
      inUint[tensor] = slotOf(each);
      inFloat[tensor + 1] = weight;
      tensor += TENSOR;
    }
  }
  for (const [k, { plan, run, tensors: ofRun, rescales }] of runs.entries()) {
    const at = runsAt + k * RUN;
    const { ofScalars = [], betas = [] } = plan.corrections ?? {};
    inUint.set([slotOf(ofRun[0]), ofRun[0].step, ...betas.map((beta) => rates.indexOf(beta) * POWERS)], at);
    inUint[at + IS_CLIPPED_AT] = Number(rescales.length > 0);
    inFloat.set(run.scalars, at + SCALARS_AT);
    inFloat[at + SCALARS_AT] = scale === 0 ? 0 : run.scalars[0] / scale;
    inUint.set(
      ofScalars.map((each) => forms.indexOf(each)),
      at + CORRECTIONS_AT,
    );
  }
  for (const [k, { workgroups }] of dispatches.entries()) inUint.set(workgroups, dispatchesAt + k * DISPATCH);
  for (const [k, beta] of rates.entries()) {
    inUint.set(
      remember(powers, beta, MOST_RATES, () => powersOf(beta)),
      powersAt + k * RATE,
    );
  }
  return { bytes, parts, tensors, dispatches: dispatches.length };
}

/** The powers of the latest decay rates. */
const powers = new Map<number, Uint32Array>();
const MOST_RATES = 16;
