// What a step runs: the runs of each section of a group. All that a step needs is allocated here, once.

import type { Rule } from '../rules/rule.js';
import type { Tensor } from './layout.js';
import type { Section } from './section.js';

/** Neighbours in `section.tensors`, from `first` to `last` inclusive, that take this step with the same scalars. */
export interface Run {
  first: number;
  last: number;
  readonly scalars: Float32Array;
}

/** Stands for the gradient in the optimizer's own memory. */
export const OWN = true;

/** A tensor, and the gradient that it takes this step with: the caller's, `OWN`, or undefined for none. */
export interface TensorEntry {
  readonly group: number;
  readonly section: number;
  readonly tensor: Tensor;
  grad: unknown;
  /** Whether an earlier call of an unfinished step had its gradient. */
  isDone: boolean;
  /** Whether gradients of it were accumulated since the last step. */
  hasSum: boolean;
}

/** The runs of a section. */
export class SectionPlan {
  readonly section: Section;
  /** One for each of the section's tensors, in the same order. */
  readonly entries: readonly TensorEntry[];
  readonly runs: readonly Run[];
  /** How many of `runs` this step has. */
  count = 0;
  /** How many entries are not removed. Removed ones stay in `entries`, which keeps the indices, and never take part. */
  left: number;

  /** Run k has its scalars in `scalars(k)`. */
  constructor(group: number, section: Section, scalars: (k: number) => Float32Array) {
    const { index, tensors } = section;
    this.section = section;
    this.entries = tensors.map((tensor) => ({
      group,
      section: index,
      tensor,
      grad: undefined,
      isDone: false,
      hasSum: false,
    }));
    this.left = tensors.length;
    this.runs = tensors.map((_, k) => ({ first: 0, last: 0, scalars: scalars(k) }));
  }

  /** Finds the runs: neighbours among the entries that take part, if they share their scalars. */
  find(takesPart: (entry: TensorEntry) => boolean, shareScalars: (a: Tensor, b: Tensor) => boolean): void {
    const { entries, runs } = this;
    let count = 0;
    let previous: Tensor | undefined;
    for (let i = 0; i < entries.length; i++) {
      const { tensor } = entries[i];
      const isPart = takesPart(entries[i]);
      if (isPart) {
        if (previous === undefined || !shareScalars(previous, tensor)) runs[count++].first = i;
        runs[count - 1].last = i;
      }
      previous = isPart ? tensor : undefined;
    }
    this.count = count;
  }
}

/** What a backend runs for a group: its sections, by one rule. */
export interface Plan {
  readonly rule: Rule;
  readonly sections: readonly SectionPlan[];
}
