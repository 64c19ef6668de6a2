// A group on its way through training: which of its tensors step, by what scalars, and what it remembers.

import type { Algorithm, Betas, CommonOptions, GroupState, Progress } from './algorithms/algorithm.js';
import type { ArrayOf, Backend, Run } from './backends/backend.js';
import type { Group } from './groups.js';
import type { Tensor } from './layout.js';
import { camelCase, live, pair } from './options.js';
import { unexpected } from './sentences.js';

/** The live options of a group, and what can be read of it. */
export type LiveGroup<Options> = Options & {
  /** The names of its tensors. */
  readonly params: readonly string[];
  /** lr times all multipliers, as the latest step took it; 0 before the first. */
  readonly scheduledLr: number;
  /** Schedule-Free's: whether the parameters are y and not the average, completed steps, the sum of the weights of its average, the largest lr so far (-1 at first). */
  readonly trainMode?: boolean;
  readonly k?: number;
  readonly weightSum?: number;
  readonly lrMax?: number;
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
  readonly index: number;
  readonly members: readonly Member[];
  readonly runs: readonly Run[];
  /** How many of `runs` this step has. */
  count = 0;
  /** False while the parameters are the average. */
  isTraining = true;
  /** What the group remembers; empty where tensors count for themselves. */
  readonly state: GroupState;

  readonly #algorithm: Algorithm<Options>;
  readonly #by: Record<string, number>;
  /** `state` after the step that is being made. */
  readonly #next: GroupState;
  #scheduledLr = 0;
  readonly #progress: { -readonly [key in keyof Progress]: Progress[key] };

  constructor(algorithm: Algorithm<Options>, group: Group<Options>, index: number, backend: Backend) {
    this.#algorithm = algorithm;
    this.group = group;
    this.index = index;
    this.members = group.tensors.map((tensor) => ({ group: index, tensor, grad: undefined }));
    this.runs = group.tensors.map((_, k) => ({ first: 0, last: 0, scalars: backend.scalars(index, k) }));
    this.state = { ...algorithm.group?.first };
    this.#next = { ...this.state };
    this.#by = Object.fromEntries(group.rule.scalars.map((name) => [name, 0]));
    this.#progress = { step: 0, isFirst: true, eta: 1, decay: 0, betas: none, group: this.#next };
  }

  /** What `optimizer.groups` shows of it. */
  live(): LiveGroup<Options> {
    const { options, names, where } = this.group;
    const readOnly: Record<string, PropertyDescriptor> = {
      params: { value: Object.freeze([...names]), enumerable: true },
      scheduledLr: { get: () => this.#scheduledLr, enumerable: true },
    };
    if (this.#algorithm.average !== undefined) readOnly.trainMode = { get: () => this.isTraining, enumerable: true };
    for (const name of Object.keys(this.state)) {
      readOnly[camelCase(name)] = { get: () => this.state[name], enumerable: true };
    }
    return live(this.#algorithm, options, readOnly, where) as LiveGroup<Options>;
  }

  /** Arrays that are to be the parameter, since their tensor has not begun. */
  fromParam(): ArrayOf[] {
    const begins = this.members.filter(({ tensor }) => tensor.step === 0 && tensor.length > 0);
    const { fromParam = [] } = this.group.rule;
    return begins.flatMap(({ tensor }) => fromParam.map((array) => ({ group: this.index, tensor, array })));
  }

  /** Completed steps of a tensor: its own, or where groups count, those of its group. */
  stepOf(tensor: Tensor): number {
    return this.#algorithm.group === undefined ? tensor.step : this.state.k;
  }

  /** Finds the runs of this step and writes the scalars of each. Throws what the caller's functions give reason for. */
  prepare(): void {
    const { group } = this.#algorithm;
    if (group !== undefined) {
      const { options } = this.group;
      for (const name in this.state) this.#next[name] = this.state[name];
      this.#progress.eta = this.#multiplier(this.state.k);
      group.advance(this.#next, options, this.#progress.eta);
    }
    this.#findRuns((member) => member.grad !== undefined);
    for (let k = 0; k < this.count; k++) {
      const { first, scalars } = this.runs[k];
      this.#writeScalars(this.members[first].tensor, scalars);
    }
  }

  /** The step is made: it counts. */
  commit(): void {
    for (const { tensor, grad } of this.members) if (grad !== undefined) tensor.step += 1;
    for (const name in this.state) this.state[name] = this.#next[name];
    if (this.count > 0) this.#scheduledLr = this.group.options.lr * this.#progress.eta;
  }

  /** A function that takes back what the next `commit` counts, whatever steps came after it. */
  undo(): () => void {
    const { members, state } = this;
    const stepped = members.filter(({ grad }) => grad !== undefined).map(({ tensor }) => tensor);
    const [before, after, scheduledLr] = [{ ...state }, { ...this.#next }, this.#scheduledLr];
    const { sums = [] } = this.#algorithm.group ?? {};
    return () => {
      for (const tensor of stepped) tensor.step -= 1;
      this.#scheduledLr = scheduledLr;
      for (const name in state) {
        if (state[name] === after[name]) state[name] = before[name];
        else if (sums.includes(name)) state[name] -= after[name] - before[name];
      }
    };
  }

  /** The scalars that take the parameters to the average, or back. */
  averageScalars(toAverage: boolean): Record<string, number> {
    const by = {};
    this.#algorithm.average?.prepare(by, this.group.options, toAverage);
    return by;
  }

  /** Finds the runs of tensors that have begun, for a change of mode. */
  prepareSwitch(toAverage: boolean): void {
    const by = this.averageScalars(toAverage);
    this.#findRuns(({ tensor }) => tensor.step > 0);
    for (let k = 0; k < this.count; k++) {
      for (const [i, name] of this.#algorithm.average!.rule.scalars.entries()) this.runs[k].scalars[i] = by[name];
    }
  }

  /** Runs of neighbours that share their scalars, among the members that take part. */
  #findRuns(takesPart: (member: Member) => boolean): void {
    const { members, runs } = this;
    this.count = 0;
    for (let i = 0; i < members.length; i++) {
      if (!takesPart(members[i])) continue;
      if (i > 0 && takesPart(members[i - 1]) && this.#shareScalars(members[i - 1].tensor, members[i].tensor)) {
        runs[this.count - 1].last = i;
      } else {
        const run = runs[this.count++];
        run.first = run.last = i;
      }
    }
  }

  #shareScalars(a: Tensor, b: Tensor): boolean {
    const alike = this.#algorithm.group === undefined ? a.step === b.step : a.step > 0 === b.step > 0;
    return alike && a.decays === b.decays;
  }

  #writeScalars(tensor: Tensor, scalars: Float32Array): void {
    const { options, rule, where } = this.group;
    const completed = this.stepOf(tensor);
    const progress = this.#progress;
    progress.step = completed + 1;
    progress.isFirst = tensor.step === 0;
    if (this.#algorithm.group === undefined) progress.eta = this.#multiplier(completed);
    progress.decay = tensor.decays ? this.#weightDecay(completed) : 0;
    progress.betas = this.#betas(completed);
    this.#algorithm.prepare(this.#by, options, progress);
    for (let k = 0; k < rule.scalars.length; k++) {
      const name = rule.scalars[k];
      scalars[k] = this.#by[name];
      // Each option is finite, and yet a product of them may not be.
      if (!Number.isFinite(scalars[k]))
        throw unexpected(`${name}${where} at step ${progress.step}`, 'finite', scalars[k]);
    }
  }

  #multiplier(completed: number): number {
    const { schedule } = this.group.options;
    return schedule === undefined ? 1 : answer(schedule, 'schedule', completed, this.group.where);
  }

  #weightDecay(completed: number): number {
    const { weightDecay } = this.group.options;
    return typeof weightDecay === 'number'
      ? weightDecay
      : answer(weightDecay, 'weightDecay', completed, this.group.where);
  }

  #betas(completed: number): Betas {
    const { betas = none } = this.group.options as { betas?: Betas | ((completed: number) => Betas) };
    if (typeof betas !== 'function') return betas;
    const value = betas(completed);
    if (pair.accepts(value as never)) return value;
    throw unexpected(`betas(${completed})${this.group.where}`, pair.wanted, value);
  }
}

const none: Betas = [0, 0];

/** What an option that is the caller's code says, checked. */
function answer(option: (completed: number) => unknown, name: string, completed: number, where: string): number {
  const value = option(completed);
  if (typeof value === 'number' && value >= 0 && value < Infinity) return value;
  throw unexpected(`${name}(${completed})${where}`, 'a finite number of at least 0', value);
}
