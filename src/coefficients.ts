// From the options of a group and a count of steps to the scalars of a step: all in f64, and rounded to f32 once.

import type { Algorithm, Betas, GroupOptions, GroupState, Progress } from './algorithms/algorithm.js';
import { valueAt } from './options.js';
import type { Rule } from './rules/rule.js';
import { unexpected } from './sentences.js';

const none: Betas = [0, 0];

/** All that a step needs is allocated here, once. */
export class Coefficients<Options extends GroupOptions> {
  readonly rule: Rule;
  /** What the group remembers; empty where tensors count for themselves. */
  readonly state: GroupState;
  /** lr times the multiplier of the latest step. */
  scheduledLr = 0;

  readonly #algorithm: Algorithm<Options>;
  readonly #options: Readonly<Options>;
  readonly #where: string;
  readonly #by: Record<string, number>;
  /** `state` after the step that is being made. */
  readonly #next: GroupState;
  readonly #progress: { -readonly [key in keyof Progress]: Progress[key] };

  constructor(algorithm: Algorithm<Options>, options: Readonly<Options>, where: string) {
    this.#algorithm = algorithm;
    this.#options = options;
    this.#where = where;
    this.rule = algorithm.rule(options);
    this.state = { ...algorithm.group?.first };
    this.#next = { ...this.state };
    this.#by = Object.fromEntries(this.rule.scalars.map((name) => [name, 0]));
    const numbers = { step: 0, eta: 1, decay: 0, emaDecay: 0, batches: 1 };
    this.#progress = { ...numbers, isFirst: true, betas: none, group: this.#next };
  }

  /** Whether steps are counted by group, and not by tensor. */
  get countsByGroup(): boolean {
    return this.#algorithm.group !== undefined;
  }

  /** Begins a step by gradients that are the sums of so many batches. Throws what the schedule gives reason for. */
  begin(batches: number): void {
    const { group } = this.#algorithm;
    this.#progress.batches = batches;
    if (group === undefined) return;
    for (const name in this.state) this.#next[name] = this.state[name];
    this.#progress.eta = this.#multiplier(this.state.k);
    group.advance(this.#next, this.#options, this.#progress.eta);
  }

  /**
   * Writes the scalars of that step for a tensor after so many of its own, or of its group's. Throws what the caller's
   * functions give reason for.
   */
  write(scalars: Float32Array, completed: number, isFirst: boolean, decays: boolean): void {
    const options = this.#options;
    const where = this.#where;
    const progress = this.#progress;
    const { weightDecay = 0, betas = none, decay = 0 } = options;
    progress.step = completed + 1;
    progress.isFirst = isFirst;
    if (!this.countsByGroup) progress.eta = this.#multiplier(completed);
    progress.decay = decays ? valueAt(weightDecay, 'weightDecay', completed, where) : 0;
    progress.betas = valueAt(betas, 'betas', completed, where);
    progress.emaDecay = valueAt(decay, 'decay', completed, where);
    this.#algorithm.prepare(this.#by, options, progress);
    const names = this.rule.scalars;
    for (let k = 0; k < names.length; k++) {
      scalars[k] = this.#by[names[k]];
      // Each option is finite, and yet a product of them may not be.
      if (!Number.isFinite(scalars[k]))
        throw unexpected(`${names[k]}${where} at step ${progress.step}`, 'finite', scalars[k]);
    }
  }

  /** Tensors have taken the step. */
  stepped(): void {
    this.scheduledLr = (this.#options.lr ?? 0) * this.#progress.eta;
  }

  /** The group has taken the step. */
  commit(): void {
    for (const name in this.state) this.state[name] = this.#next[name];
  }

  /** The scalars that take the parameters to the average, or back. */
  average(toAverage: boolean): Record<string, number> {
    const by = {};
    this.#algorithm.average?.prepare(by, this.#options, toAverage);
    return by;
  }

  #multiplier(completed: number): number {
    const { schedule } = this.#options;
    return schedule === undefined ? 1 : valueAt<number>(schedule, 'schedule', completed, this.#where);
  }
}
