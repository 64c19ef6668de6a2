// Computes the scalars of each step from a group's options and the step count, in f64. Each is rounded to f32 once.

import type { AnyAlgorithm, Betas, GroupOptions, GroupState, StepInputs } from '../algorithms/algorithm.js';
import { Powers } from '../math/power.js';
import { LARGEST } from '../backends/sums.js';
import { valueAt } from '../inputs/options.js';
import type { Corrections, Rule } from '../rules/rule.js';
import { scalarsOf, type Scalars } from '../rules/scalars.js';
import { unexpected } from '../errors.js';

const zeroBetas: Betas = [0, 0];

/** The scalars of a group, step by step. The constructor allocates all that a step needs. */
export class StepArithmetic {
  /** The state of the group. Empty if steps are counted per tensor. */
  readonly state: GroupState;
  /** The number of skipped steps. The schedule counts them, too. */
  skipped = 0;

  readonly #algorithm: AnyAlgorithm;
  readonly #rule: Rule;
  readonly #options: Readonly<GroupOptions>;
  /** The group, for error messages: "", " of group 1" or ' of group "head"'. */
  readonly #where: string;
  readonly #scalars: Scalars;
  /** The value of `state` after the current step. */
  readonly #next: GroupState;
  readonly #powers: Powers;
  #weightDecay = 0;
  #latestLr = 0;
  readonly #inputs: { -readonly [key in keyof StepInputs]: StepInputs[key] };

  constructor(algorithm: AnyAlgorithm, rule: Rule, options: Readonly<GroupOptions>, where: string) {
    this.#algorithm = algorithm;
    this.#rule = rule;
    this.#options = options;
    this.#where = where;
    this.state = { ...algorithm.group?.first };
    this.#next = { ...this.state };
    this.#scalars = scalarsOf(rule);
    const numbers = { step: 0, eta: 1, decay: 0, emaDecay: 0, gradFactor: 1, maxValue: 0 };
    this.#powers = new Powers();
    this.#inputs = { ...numbers, isFirst: true, betas: zeroBetas, group: this.#next, powers: this.#powers };
  }

  /**
   * lr times all multipliers at the latest step. Part of the state for Schedule-Free; for others, 0 before the first
   * step and after loading a state.
   */
  get scheduledLr(): number {
    return this.state.scheduled_lr ?? this.#latestLr;
  }

  /** Whether steps are counted per group instead of per tensor. */
  get countsByGroup(): boolean {
    return this.#algorithm.group !== undefined;
  }

  /**
   * Begins a step: evaluates the options that are functions, and computes the group's next state. `completed` is the
   * number of steps before this one. Throws if one of the caller's functions throws or returns a bad value.
   */
  begin(completed: number): void {
    const algorithm = this.#algorithm;
    const { group } = algorithm;
    const options = this.#options;
    const where = this.#where;
    const inputs = this.#inputs;
    const { schedule, weightDecay = 0, betas = zeroBetas, decay = 0 } = options;
    const count = group === undefined ? completed : this.state.k + this.skipped;
    inputs.eta = schedule === undefined ? 1 : valueAt(algorithm, 'schedule', schedule, count, where);
    inputs.betas = valueAt(algorithm, 'betas', betas, count, where);
    inputs.emaDecay = valueAt(algorithm, 'decay', decay, count, where);
    this.#weightDecay = valueAt(algorithm, 'weightDecay', weightDecay, count, where);
    if (group === undefined) return;
    group.copy(this.#next, this.state);
    group.advance(this.#next, options, inputs.eta, inputs.powers);
  }

  /** The factor of the group's gradients, without `gradFactor`. */
  get gradScale(): number {
    return this.#options.gradScale ?? 1;
  }

  /**
   * Sets the factor of the next tensor's gradients, and the largest magnitude of the products, 0 for any. `isDeferred`:
   * leaves out the bias corrections, which the GPU computes.
   */
  scaleGradients(factor: number, maxValue: number, isDeferred: boolean): void {
    const inputs = this.#inputs;
    inputs.gradFactor = factor;
    // A limit that underflows to 0 would mean none, and scalars are finite.
    inputs.maxValue = maxValue === 0 ? 0 : Math.min(Math.max(maxValue, 2 ** -126), LARGEST);
    inputs.powers = isDeferred ? withoutCorrections : this.#powers;
  }

  /** The corrections that the scalars of a deferred step lack. */
  get corrections(): Corrections {
    const byName = this.#algorithm.corrections!(this.#options);
    return { ofScalars: this.#rule.scalars.map((name) => byName[name] ?? 'none'), betas: this.#inputs.betas };
  }

  /**
   * Writes the scalars of the current step for a tensor. `completed` is the number of steps before this one, of the
   * tensor or of its group. Throws if a scalar overflows.
   */
  write(scalars: Float32Array, completed: number, isFirst: boolean, decays: boolean): void {
    const inputs = this.#inputs;
    inputs.step = completed + 1;
    inputs.isFirst = isFirst;
    inputs.decay = decays ? this.#weightDecay : 0;
    this.#algorithm.prepare(this.#scalars.byName, this.#options, inputs);
    // Options are finite, but products of them may overflow. A sum of finite f32 values is always finite in f64.
    const { values } = this.#scalars;
    let sum = 0;
    for (let k = 0; k < values.length; k++) {
      scalars[k] = values[k];
      sum += scalars[k];
    }
    if (Number.isFinite(sum)) return;
    const k = scalars.findIndex((scalar) => !Number.isFinite(scalar));
    throw unexpected(`${this.#rule.scalars[k]}${this.#where} at step ${inputs.step}`, 'finite', scalars[k]);
  }

  /** Updates `scheduledLr` after tensors have stepped. */
  recordLr(): void {
    this.#latestLr = (this.#options.lr ?? 0) * this.#inputs.eta;
  }

  /** Updates the group's state after the group has completed the step, or has skipped it. */
  commit(isTaken: boolean): void {
    if (isTaken) this.#algorithm.group?.copy(this.state, this.#next);
    else this.skipped += 1;
  }

  /** Loads the group's state from a state dict. */
  load(saved: Readonly<GroupState>, skipped: number): void {
    Object.assign(this.state, saved);
    this.skipped = skipped;
    this.#latestLr = 0;
  }
}

/** Gives scalars without bias corrections. */
class WithoutCorrections extends Powers {
  override complement(): number {
    return 1;
  }
}

const withoutCorrections = /* @__PURE__ */ new WithoutCorrections();
