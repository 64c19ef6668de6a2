// The plan of a group's steps: the runs of each section. Steps reuse it, so that they allocate nothing.

import type { Corrections, Rule } from '../rules/rule.js';
import type { Tensor } from './layout.js';
import type { Section } from './section.js';

/** Neighbours in `section.tensors`, from index `first` to `last` inclusive, that have the same scalars in this step. */
export interface Run {
  first: number;
  last: number;
  readonly scalars: Float32Array;
}

/** The gradient is in the optimizer's own memory. */
export const OWN = true;

/** A tensor, and its gradient in this step: the caller's, `OWN`, or undefined if it has none. */
export interface TensorEntry {
  readonly group: number;
  readonly section: number;
  readonly tensor: Tensor;
  grad: unknown;
  /** The sum of squares of the gradient, once measured, and the factor that clips it. */
  squares: number;
  coefficient: number;
  /** Whether an earlier call of the same step (`more: true`) had its gradient. */
  isDone: boolean;
  /** Whether gradients were accumulated for it since the last step. */
  hasSum: boolean;
}

/** The runs of a section. */
export class SectionPlan {
  readonly section: Section;
  /** One per tensor of the section, in the same order. */
  readonly entries: readonly TensorEntry[];
  readonly runs: readonly Run[];
  /** The number of runs in this step: the first `count` of `runs`. */
  count = 0;
  /** The number of entries not removed. Removed ones stay in `entries`, so that indices stay valid, and are skipped. */
  left: number;

  /** `scalars(k)` returns the array for the scalars of run `k`. */
  constructor(group: number, section: Section, scalars: (k: number) => Float32Array) {
    const { index, tensors } = section;
    this.section = section;
    this.entries = tensors.map((tensor) => ({
      group,
      section: index,
      tensor,
      grad: undefined,
      squares: 0,
      coefficient: 1,
      isDone: false,
      hasSum: false,
    }));
    this.left = tensors.length;
    this.runs = tensors.map((_, k) => ({ first: 0, last: 0, scalars: scalars(k) }));
  }

  /** Finds the runs of this step: neighbouring tensors that step and have the same scalars. */
  find(takesPart: (entry: TensorEntry) => boolean, shareScalars: (a: TensorEntry, b: TensorEntry) => boolean): void {
    const { entries, runs } = this;
    let count = 0;
    let previous: TensorEntry | undefined;
    for (let i = 0; i < entries.length; i++) {
      const entry = entries[i];
      const isPart = takesPart(entry);
      if (isPart) {
        if (previous === undefined || !shareScalars(previous, entry)) runs[count++].first = i;
        runs[count - 1].last = i;
      }
      previous = isPart ? entry : undefined;
    }
    this.count = count;
  }
}

/** The sections of a group, and the rule that a backend runs on them. */
export interface Plan {
  readonly rule: Rule;
  readonly sections: readonly SectionPlan[];
  /** How the device completes the scalars. Undefined if the scalars are complete. */
  corrections: Corrections | undefined;
}
