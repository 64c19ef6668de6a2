// From the options of a group and a count of steps to the scalars of a step: all in f64, and rounded to f32 once.

import type { AnyAlgorithm, Betas, GroupOptions, GroupState, Progress } from '../algorithms/algorithm.js';
import { Powers } from '../math/power.js';
import { valueAt } from '../inputs/options.js';
import type { Rule } from '../rules/rule.js';
import { scalarsOf, type Scalars } from '../rules/scalars.js';
import { unexpected } from '../errors.js';

const none: Betas = [0, 0];

/** All that a step needs is allocated here, once. */
export class Coefficients {
  readonly rule: Rule;
  /** What the group remembers; empty where tensors count for themselves. */
  readonly state: GroupState;
  /** lr times the multiplier of the latest step; 0 before the first, and once a state was loaded. */
  scheduledLr = 0;

  readonly #algorithm: AnyAlgorithm;
  readonly #options: Readonly<GroupOptions>;
  readonly #where: string;
  readonly #scalars: Scalars;
  /** `state` after the step that is being made. */
  readonly #next: GroupState;
  #weightDecay = 0;
  readonly #progress: { -readonly [key in keyof Progress]: Progress[key] };

  constructor(algorithm: AnyAlgorithm, options: Readonly<GroupOptions>, where: string) {
    this.#algorithm = algorithm;
    this.#options = options;
    this.#where = where;
    this.rule = algorithm.rule(options);
    this.state = { ...algorithm.group?.first };
    this.#next = { ...this.state };
    this.#scalars = scalarsOf(this.rule);
    const numbers = { step: 0, eta: 1, decay: 0, emaDecay: 0, gradFactor: 1 };
    this.#progress = { ...numbers, isFirst: true, betas: none, group: this.#next, powers: new Powers() };
  }

  /** Whether steps are counted by group, and not by tensor. */
  get countsByGroup(): boolean {
    return this.#algorithm.group !== undefined;
  }

  /**
   * Begins a step of the optimizer after `completed` ones, by gradients that are multiplied by `gradFactor`. Throws if
   * one of the caller's functions throws or gives a bad value.
   */
  begin(completed: number, gradFactor: number): void {
    const algorithm = this.#algorithm;
    const { group } = algorithm;
    const options = this.#options;
    const where = this.#where;
    const progress = this.#progress;
    const { schedule, weightDecay = 0, betas = none, decay = 0 } = options;
    const count = group === undefined ? completed : this.state.k;
    progress.gradFactor = gradFactor;
    progress.eta = schedule === undefined ? 1 : valueAt(algorithm, 'schedule', schedule, count, where);
    progress.betas = valueAt(algorithm, 'betas', betas, count, where);
    progress.emaDecay = valueAt(algorithm, 'decay', decay, count, where);
    this.#weightDecay = valueAt(algorithm, 'weightDecay', weightDecay, count, where);
    if (group === undefined) return;
    group.copy(this.#next, this.state);
    group.advance(this.#next, options, progress.eta, progress.powers);
  }

  /** Writes the scalars of that step for a tensor after so many of its own, or of its group's. Throws if one overflows. */
  write(scalars: Float32Array, completed: number, isFirst: boolean, decays: boolean): void {
    const progress = this.#progress;
    progress.step = completed + 1;
    progress.isFirst = isFirst;
    progress.decay = decays ? this.#weightDecay : 0;
    this.#algorithm.prepare(this.#scalars.by, this.#options, progress);
    // Each option is finite, and yet a product of them may not be; a sum of f32 is, in f64.
    const { values } = this.#scalars;
    let sum = 0;
    for (let k = 0; k < values.length; k++) {
      scalars[k] = values[k];
      sum += scalars[k];
    }
    if (Number.isFinite(sum)) return;
    const k = scalars.findIndex((scalar) => !Number.isFinite(scalar));
    throw unexpected(`${this.rule.scalars[k]}${this.#where} at step ${progress.step}`, 'finite', scalars[k]);
  }

  /** Tensors have taken the step. */
  stepped(): void {
    this.scheduledLr = (this.#options.lr ?? 0) * this.#progress.eta;
  }

  /** The group has taken the step. */
  commit(): void {
    this.#algorithm.group?.copy(this.state, this.#next);
  }

  /** Goes on from what a state dict has. */
  load(remembered: Readonly<GroupState>): void {
    Object.assign(this.state, remembered);
    this.scheduledLr = 0;
  }
}
