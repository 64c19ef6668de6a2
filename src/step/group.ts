// A group of an optimizer: its tensors, options, scalars and state.

import type { AnyAlgorithm, GroupState } from '../algorithms/algorithm.js';
import type { Backend } from '../backends/backend.js';
import { StepArithmetic } from './arithmetic.js';
import type { Section } from '../backends/section.js';
import type { GroupSpec } from '../inputs/groups.js';
import type { Tensor } from '../backends/layout.js';
import { camelCase, showOptions, type LiveOptions } from '../inputs/options.js';
import type { Rule } from '../rules/rule.js';
import { SectionPlan, type Plan, type TensorEntry } from '../backends/plan.js';
import type { StepRequest } from './request.js';

/** The options of a group, which can be assigned, and its state, which is read-only. */
export type LiveGroup<Options, Names extends string = string> = Options & {
  /** Its name, if it was made with one. */
  readonly name: string | undefined;
  /** The names of all its tensors. */
  readonly params: readonly Names[];
  /** The names of its frozen tensors. */
  readonly frozen: readonly Names[];
  /**
   * lr times the multipliers of the schedule and of a warm-up at the latest step. 0 before the first step. After
   * loading a state dict also 0, except for Schedule-Free, which saves it.
   */
  readonly scheduledLr: number;
  /** Schedule-Free: true if the parameters are y, false if they are the average x. */
  readonly trainMode?: boolean;
  /** Schedule-Free: the number of completed steps. */
  readonly k?: number;
  /** Schedule-Free: the sum of the weights in the average. */
  readonly weightSum?: number;
  /** Schedule-Free: the largest lr so far, or -1 before the first step. */
  readonly lrMax?: number;
};

export class Group {
  readonly spec: GroupSpec;
  readonly index: number;
  readonly rule: Rule;
  /** One section for the tensors that it was made with, and one for each later addition. */
  readonly sections: SectionPlan[] = [];
  /** What a step runs. */
  readonly plan: Plan;
  readonly entries: TensorEntry[] = [];
  /** The names of its tensors, in the caller's order. */
  readonly names: string[] = [];
  /** False if the parameters are the average. */
  isTraining = true;
  readonly arithmetic: StepArithmetic;
  readonly liveOptions: LiveOptions;

  readonly #algorithm: AnyAlgorithm;
  /** Whether two tensors have the same scalars. */
  readonly shareScalars = ({ tensor: a }: TensorEntry, { tensor: b }: TensorEntry): boolean => {
    const isSameStep = this.arithmetic.countsByGroup ? a.step > 0 === b.step > 0 : a.step === b.step;
    return isSameStep && a.decays === b.decays && a.history === b.history;
  };

  constructor(algorithm: AnyAlgorithm, spec: GroupSpec, index: number, backend: Backend) {
    this.#algorithm = algorithm;
    this.spec = spec;
    this.index = index;
    this.arithmetic = new StepArithmetic(algorithm, spec.section.rule, spec.options, spec.where);
    this.rule = spec.section.rule;
    this.plan = { rule: this.rule, sections: this.sections, corrections: undefined };
    this.liveOptions = this.#showOptions();
    this.add(spec.section, backend);
  }

  /** Adds a section, for which `backend` has allocated memory. Returns the entries of its tensors. */
  add(section: Section, backend: Backend): readonly TensorEntry[] {
    const plan = new SectionPlan(this.index, section, (k) => backend.scalars(section.index, k));
    this.sections.push(plan);
    // One push per item: a call with more than about 100,000 arguments fails.
    for (const entry of plan.entries) this.entries.push(entry);
    for (const name of section.names) this.names.push(name);
    return plan.entries;
  }

  /** Drops all tensors, so that their memory is freed even if the caller keeps an object of `optimizer.groups`. */
  clear(): void {
    this.sections.length = this.entries.length = 0;
  }

  /** The group's state. Empty if steps are counted per tensor. */
  get state(): GroupState {
    return this.arithmetic.state;
  }

  /** The names of its frozen tensors. */
  get frozen(): string[] {
    const frozen = new Set(this.entries.filter(({ tensor }) => tensor.isFrozen).map(({ tensor }) => tensor.name));
    return this.names.filter((name) => frozen.has(name));
  }

  /** Returns the number of completed steps: of the tensor, or of the group if steps are counted per group. */
  stepOf(tensor: Tensor): number {
    return this.arithmetic.countsByGroup ? this.state.k : tensor.step;
  }

  /**
   * Begins a step: evaluates the options that are functions, and finds the runs. `completed` is the number of steps
   * before this one. Throws if one of the caller's functions throws or returns a bad value.
   */
  begin(completed: number, { isEachClipped }: StepRequest, backend: Backend): void {
    this.arithmetic.begin(completed);
    const share = isEachClipped ? this.#shareClipped(backend) : this.shareScalars;
    for (let s = 0; s < this.sections.length; s++) {
      this.sections[s].find(hasGrad, share);
    }
  }

  /** If each tensor is clipped on its own, only those whose gradients the backend clips may have the same scalars. */
  #shareClipped({ clips }: Backend): Group['shareScalars'] {
    if (clips === undefined) return never;
    return (a, b) => clips(a) && clips(b) && this.shareScalars(a, b);
  }

  /**
   * Writes the scalars of each run. The request has the factor of all gradients and the limit of their magnitudes; if
   * each tensor is clipped on its own, its coefficient multiplies both. `isDeferred`: only the GPU knows the steps.
   */
  write({ factor, maxValue, isEachClipped }: StepRequest, isDeferred: boolean): void {
    const { arithmetic } = this;
    arithmetic.scaleGradients(factor, maxValue, isDeferred);
    for (let s = 0; s < this.sections.length; s++) {
      const section = this.sections[s];
      for (let k = 0; k < section.count; k++) {
        const { first, scalars } = section.runs[k];
        const { tensor, coefficient } = section.entries[first];
        if (isEachClipped) arithmetic.scaleGradients(factor * coefficient, maxValue * coefficient, isDeferred);
        arithmetic.write(scalars, this.stepOf(tensor), tensor.step === 0, tensor.decays);
      }
    }
    if (isDeferred) this.plan.corrections = arithmetic.corrections;
    else if (this.plan.corrections !== undefined) this.plan.corrections = undefined;
  }

  /**
   * Counts a step that was run, or skipped unless `isTaken`: each tensor now, the group when `isLast`, with the last
   * gradients of the step.
   */
  count(isLast: boolean, isTaken: boolean): void {
    let isFrozen = true;
    let hasStepped = false;
    for (let i = 0; i < this.entries.length; i++) {
      const entry = this.entries[i];
      const { tensor, grad } = entry;
      isFrozen &&= tensor.isFrozen;
      if (grad !== undefined) {
        hasStepped = true;
        if (isTaken) tensor.step += 1;
      }
      entry.isDone = !isLast && (entry.isDone || grad !== undefined);
    }
    if (hasStepped) this.arithmetic.recordLr();
    // If all tensors are frozen, so is the group's state.
    if (isLast && !isFrozen) this.arithmetic.commit(isTaken);
  }

  /** Returns what `optimizer.groups` shows of this group. */
  #showOptions(): LiveOptions {
    const { options, where } = this.spec;
    const getters: Record<string, () => unknown> = {
      name: () => this.spec.name,
      // Copies, so that `structuredClone` and `postMessage` accept them.
      params: () => Object.freeze([...this.names]),
      frozen: () => Object.freeze(this.frozen),
      scheduledLr: () => this.arithmetic.scheduledLr,
    };
    if (this.#algorithm.average !== undefined) getters.trainMode = () => this.isTraining;
    for (const name of Object.keys(this.state)) {
      if (name !== 'scheduled_lr') getters[camelCase(name)] = () => this.state[name];
    }
    return showOptions(this.#algorithm, options, getters, where);
  }
}

const hasGrad = ({ grad }: TensorEntry): boolean => grad !== undefined;
const never = (): boolean => false;
