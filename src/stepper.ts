// A group on its way through training: which of its tensors step, and by what scalars.

import type { Algorithm, CommonOptions, Progress } from './algorithms/algorithm.js';
import type { Backend, Run } from './backends/backend.js';
import type { Group } from './groups.js';
import type { Tensor } from './layout.js';
import { live } from './options.js';
import { unexpected } from './sentences.js';

/** The live options of a group, and what can be read of it. */
export type LiveGroup<Options> = Options & {
  /** The names of its tensors. */
  readonly params: readonly string[];
  /** lr times the schedule's multiplier, as the latest step took it; 0 before the first. */
  readonly scheduledLr: number;
};

/** A tensor, and the gradient that it takes this step with, if any. */
export interface Member {
  readonly group: number;
  readonly tensor: Tensor;
  grad: unknown;
}

/** All that a step needs is allocated here, once. */
export class Stepper<Options extends CommonOptions> {
  readonly group: Group<Options>;
  readonly members: readonly Member[];
  readonly runs: readonly Run[];
  /** How many of `runs` this step has. */
  count = 0;

  readonly #algorithm: Algorithm<Options>;
  readonly #by: Record<string, number>;
  #scheduledLr = 0;
  readonly #progress: { -readonly [key in keyof Progress]: Progress[key] } = { step: 0, eta: 1, decays: true };

  constructor(algorithm: Algorithm<Options>, group: Group<Options>, index: number, backend: Backend) {
    this.#algorithm = algorithm;
    this.group = group;
    this.members = group.tensors.map((tensor) => ({ group: index, tensor, grad: undefined }));
    this.runs = group.tensors.map((_, k) => ({ first: 0, last: 0, scalars: backend.scalars(index, k) }));
    this.#by = Object.fromEntries(group.rule.scalars.map((name) => [name, 0]));
  }

  /** What `optimizer.groups` shows of it. */
  live(): LiveGroup<Options> {
    const { options, names, where } = this.group;
    const scheduledLr = (): number => this.#scheduledLr;
    const readOnly = {
      params: Object.freeze([...names]),
      get scheduledLr() {
        return scheduledLr();
      },
    };
    return live(this.#algorithm, options, readOnly, where) as LiveGroup<Options>;
  }

  /** Finds the runs of this step and writes the scalars of each. Throws what the schedule gives reason for. */
  prepare(): void {
    const { members, runs } = this;
    this.count = 0;
    for (let i = 0; i < members.length; i++) {
      const { tensor, grad } = members[i];
      if (grad === undefined) continue;
      if (i > 0 && members[i - 1].grad !== undefined && shareScalars(members[i - 1].tensor, tensor)) {
        runs[this.count - 1].last = i;
      } else {
        const run = runs[this.count++];
        run.first = run.last = i;
        this.#writeScalars(tensor, run.scalars);
      }
    }
  }

  #writeScalars({ step, decays }: Tensor, scalars: Float32Array): void {
    const { options, rule, where } = this.group;
    const progress = this.#progress;
    progress.step = step + 1;
    progress.eta = multiplier(options, step, where);
    progress.decays = decays;
    this.#algorithm.prepare(this.#by, options, progress);
    for (let k = 0; k < rule.scalars.length; k++) {
      const name = rule.scalars[k];
      scalars[k] = this.#by[name];
      // Each option is finite, and yet a product of them may not be.
      if (!Number.isFinite(scalars[k])) throw unexpected(`${name}${where} at step ${step + 1}`, 'finite', scalars[k]);
    }
    this.#scheduledLr = options.lr * progress.eta;
  }
}

const shareScalars = (a: Tensor, b: Tensor): boolean => a.step === b.step && a.decays === b.decays;

/** The schedule's multiplier, checked: it is the caller's code. */
function multiplier({ schedule }: Readonly<CommonOptions>, completed: number, where: string): number {
  if (schedule === undefined) return 1;
  const eta: unknown = schedule(completed);
  if (typeof eta === 'number' && eta >= 0 && eta < Infinity) return eta;
  throw unexpected(`schedule(${completed})${where}`, 'a finite number of at least 0', eta);
}
