// Computes the scalars of each step from a group's options and the step count, in f64. Each is rounded to f32 once.

import type { AnyAlgorithm, Betas, GroupOptions, GroupState, Progress } from '../algorithms/algorithm.js';
import { Powers } from '../math/power.js';
import { valueAt } from '../inputs/options.js';
import type { Rule } from '../rules/rule.js';
import { scalarsOf, type Scalars } from '../rules/scalars.js';
import { unexpected } from '../errors.js';

const zeroBetas: Betas = [0, 0];

/** The scalars of a group, step by step. The constructor allocates all that a step needs. */
export class Coefficients {
  readonly rule: Rule;
  /** The state of the group. Empty if steps are counted per tensor. */
  readonly state: GroupState;
  /** lr times the schedule's multiplier at the latest step. 0 before the first step and after loading a state. */
  scheduledLr = 0;

  readonly #algorithm: AnyAlgorithm;
  readonly #options: Readonly<GroupOptions>;
  /** The group, for error messages: "" or " of group 1". */
  readonly #where: string;
  readonly #scalars: Scalars;
  /** The value of `state` after the current step. */
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
    this.#progress = { ...numbers, isFirst: true, betas: zeroBetas, group: this.#next, powers: new Powers() };
  }

  /** Whether steps are counted per group instead of per tensor. */
  get countsByGroup(): boolean {
    return this.#algorithm.group !== undefined;
  }

  /**
   * Begins a step: evaluates the options that are functions, and computes the group's next state. `completed` is the
   * number of steps before this one; `gradFactor` multiplies the gradients. Throws if one of the caller's functions
   * throws or returns a bad value.
   */
  begin(completed: number, gradFactor: number): void {
    const algorithm = this.#algorithm;
    const { group } = algorithm;
    const options = this.#options;
    const where = this.#where;
    const progress = this.#progress;
    const { schedule, weightDecay = 0, betas = zeroBetas, decay = 0 } = options;
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

  /**
   * Writes the scalars of the current step for a tensor. `completed` is the number of steps before this one, of the
   * tensor or of its group. Throws if a scalar overflows.
   */
  write(scalars: Float32Array, completed: number, isFirst: boolean, decays: boolean): void {
    const progress = this.#progress;
    progress.step = completed + 1;
    progress.isFirst = isFirst;
    progress.decay = decays ? this.#weightDecay : 0;
    this.#algorithm.prepare(this.#scalars.by, this.#options, progress);
    // Options are finite, but products of them may overflow. A sum of finite f32 values is always finite in f64.
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

  /** Updates `scheduledLr` after tensors have stepped. */
  recordLr(): void {
    this.scheduledLr = (this.#options.lr ?? 0) * this.#progress.eta;
  }

  /** Updates the group's state after the group has completed the step. */
  commit(): void {
    this.#algorithm.group?.copy(this.state, this.#next);
  }

  /** Loads the group's state from a state dict. */
  load(saved: Readonly<GroupState>): void {
    Object.assign(this.state, saved);
    this.scheduledLr = 0;
  }
}
