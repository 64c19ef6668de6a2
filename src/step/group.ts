// A group on its way through training: which of its tensors step, by what scalars, and what it remembers.

import type { AnyAlgorithm, GroupState } from '../algorithms/algorithm.js';
import type { Backend } from '../backends/backend.js';
import { Coefficients } from './arithmetic.js';
import type { Section } from '../backends/section.js';
import type { GroupSpec } from '../inputs/groups.js';
import type { Tensor } from '../backends/layout.js';
import { camelCase, live, type Live } from '../inputs/options.js';
import type { Rule } from '../rules/rule.js';
import { SectionPlan, type Plan, type TensorEntry } from '../backends/plan.js';

/** The live options of a group, and what can be read of it. */
export type LiveGroup<Options> = Options & {
  /** The names of its tensors, and of those that are frozen. */
  readonly params: readonly string[];
  readonly frozen: readonly string[];
  /**
   * lr times all multipliers, as the latest step took it. 0 before the first step. After loading a state dict also 0,
   * except for Schedule-Free, which saves it.
   */
  readonly scheduledLr: number;
  /**
   * Schedule-Free's: whether the parameters are y and not the average, completed steps, the sum of the weights of its
   * average, and the largest lr so far, -1 at first.
   */
  readonly trainMode?: boolean;
  readonly k?: number;
  readonly weightSum?: number;
  readonly lrMax?: number;
};

const takesPart = ({ grad }: TensorEntry): boolean => grad !== undefined;

export class Group {
  readonly spec: GroupSpec;
  readonly index: number;
  readonly rule: Rule;
  /** The tensors that it began with, and those that were added later. */
  readonly sections: SectionPlan[] = [];
  /** What a step runs. */
  readonly plan: Plan;
  readonly entries: TensorEntry[] = [];
  /** In the caller's order. */
  readonly names: string[] = [];
  /** False while the parameters are the average. */
  isTraining = true;
  readonly coefficients: Coefficients;
  readonly liveOptions: Live;

  readonly #algorithm: AnyAlgorithm;
  /** Whether two tensors take a step with the same scalars. */
  readonly shareScalars = (a: Tensor, b: Tensor): boolean => {
    const alike = this.coefficients.countsByGroup ? a.step > 0 === b.step > 0 : a.step === b.step;
    return alike && a.decays === b.decays;
  };

  constructor(algorithm: AnyAlgorithm, spec: GroupSpec, index: number, backend: Backend) {
    this.#algorithm = algorithm;
    this.spec = spec;
    this.index = index;
    this.coefficients = new Coefficients(algorithm, spec.options, spec.where);
    this.rule = this.coefficients.rule;
    this.plan = { rule: this.rule, sections: this.sections };
    this.liveOptions = this.#show();
    this.add(spec.section, backend);
  }

  /** Takes in tensors that `backend` has memory for. */
  add(section: Section, backend: Backend): readonly TensorEntry[] {
    const runs = new SectionPlan(this.index, section, (k) => backend.scalars(section.index, k));
    this.sections.push(runs);
    // One by one, here and elsewhere, since a call takes some 100,000 arguments at most.
    for (const entry of runs.entries) this.entries.push(entry);
    for (const name of section.names) this.names.push(name);
    return runs.entries;
  }

  /** Frees the memory, even if the caller keeps what `optimizer.groups` shows. */
  letGo(): void {
    this.sections.length = this.entries.length = 0;
  }

  #show(): Live {
    const { options, where } = this.spec;
    const further: Record<string, () => unknown> = {
      // Copies, which `structuredClone` and `postMessage` take.
      params: () => Object.freeze([...this.names]),
      frozen: () => Object.freeze(this.frozen),
      scheduledLr: () => this.coefficients.scheduledLr,
    };
    if (this.#algorithm.average !== undefined) further.trainMode = () => this.isTraining;
    for (const name of Object.keys(this.state)) further[camelCase(name)] = () => this.state[name];
    return live(this.#algorithm, options, further, where);
  }

  /** The names of those tensors whose gradients are passed over. */
  get frozen(): string[] {
    const frozen = new Set(this.entries.filter(({ tensor }) => tensor.isFrozen).map(({ tensor }) => tensor.name));
    return this.names.filter((name) => frozen.has(name));
  }

  /** Completed steps of a tensor: its own, or where groups count, those of its group. */
  stepOf(tensor: Tensor): number {
    return this.coefficients.countsByGroup ? this.state.k : tensor.step;
  }

  /** What the group remembers; empty where tensors count for themselves. */
  get state(): GroupState {
    return this.coefficients.state;
  }

  /**
   * Finds the runs of a step of the optimizer after `completed` ones, by gradients that are multiplied by `gradFactor`,
   * and writes the scalars of each. Throws if one of the caller's functions throws or gives a bad value.
   */
  prepare(completed: number, gradFactor: number): void {
    const { coefficients } = this;
    coefficients.begin(completed, gradFactor);
    for (let s = 0; s < this.sections.length; s++) {
      const section = this.sections[s];
      section.find(takesPart, this.shareScalars);
      for (let k = 0; k < section.count; k++) {
        const { first, scalars } = section.runs[k];
        const { tensor } = section.entries[first];
        coefficients.write(scalars, this.stepOf(tensor), tensor.step === 0, tensor.decays);
      }
    }
  }

  /** Counts a step that was run. The group counts it with the last of its gradients. */
  count(isLast: boolean): void {
    let isFrozen = true;
    let isStepped = false;
    for (let i = 0; i < this.entries.length; i++) {
      const entry = this.entries[i];
      const { tensor, grad } = entry;
      isFrozen &&= tensor.isFrozen;
      if (grad !== undefined) {
        isStepped = true;
        tensor.step += 1;
      }
      entry.isDone = !isLast && (entry.isDone || grad !== undefined);
    }
    if (isStepped) this.coefficients.stepped();
    // A group that is frozen as a whole stands still.
    if (isLast && !isFrozen) this.coefficients.commit();
  }
}
