// What an optimizer is made of, and the gradients on their way through it.

import type { Algorithm, CommonOptions } from './algorithms/algorithm.js';
import type { Backend } from './backends/backend.js';
import type { Stretch } from './memory.js';
import type { Rule } from './rules/rule.js';
import { expect, isRecord, list, show } from './sentences.js';
import type { Member } from './runs.js';
import type { Stepper } from './stepper.js';

/** All that an optimizer holds until it is disposed of. */
export interface Parts<Options extends CommonOptions> {
  readonly algorithm: Algorithm<Options>;
  /** The options that groups have unless they have their own. */
  readonly common: Record<string, unknown>;
  /** Where the parameters were that it was made from. */
  readonly memory: Stretch['kind'];
  /** Whether there is memory for all gradients. */
  readonly keepGrads: boolean;
  readonly steppers: Stepper<Options>[];
  readonly members: Map<string, Member>;
  readonly backend: Backend;
}

/** Has members be found by name. */
export function register<Options extends CommonOptions>(parts: Parts<Options>, members: readonly Member[]): void {
  for (const member of members) parts.members.set(member.tensor.name, member);
}

/** Gives every tensor the gradient that it takes this step with. Those that are frozen take none. */
export function collect<Options extends CommonOptions>(parts: Parts<Options>, grads: unknown, encoded: boolean): void {
  expect(isRecord(grads), 'gradients', 'a record by name', grads);
  release(parts);
  for (const name in grads) {
    const grad = grads[name];
    if (grad === null || grad === undefined) continue;
    const member = memberOf(parts, name);
    parts.backend.check(member.tensor, grad, encoded);
    if (member.isDone) throw new Error(`The gradient of ${show(name)} came a second time within one step.`);
    if (!member.tensor.isFrozen) member.grad = grad;
  }
}

/**
 * Runs what the steppers have prepared: their gradients are taken, all of them before the first update, and then each
 * run goes by `rule`, or its group's own.
 */
export function makeStep<Options extends CommonOptions>(
  backend: Backend,
  steppers: readonly Stepper<Options>[],
  encoder: GPUCommandEncoder | undefined,
  rule?: Rule,
): Promise<Error | undefined> | undefined {
  backend.begin(encoder);
  try {
    for (const { members } of steppers) {
      for (const { section, tensor, grad } of members) {
        if (grad !== undefined) backend.accept(section, tensor, grad);
      }
    }
    for (const { sections, rule: own } of steppers) {
      for (const { section, runs, count } of sections) {
        for (let k = 0; k < count; k++) backend.update(section.index, rule ?? own, runs[k]);
      }
    }
  } catch (error) {
    backend.cancel();
    throw error;
  }
  return backend.end();
}

/** Forgets the gradients, so that none of the caller's arrays is kept alive. */
export function release<Options extends CommonOptions>({ steppers }: Parts<Options>): void {
  for (const { members } of steppers) {
    for (const member of members) member.grad = undefined;
  }
}

export function memberOf<Options extends CommonOptions>({ members }: Parts<Options>, name: string): Member {
  const member = members.get(name);
  if (member !== undefined) return member;
  throw new RangeError(`There is no parameter ${show(name)}; there are ${list([...members.keys()])}.`);
}

export function stepperOf<Options extends CommonOptions>(
  { steppers }: Parts<Options>,
  group: unknown,
): Stepper<Options> {
  const isOne = Number.isInteger(group) && steppers[group as number] !== undefined;
  expect(isOne, 'the group', `an index below ${steppers.length}`, group);
  return steppers[group as number];
}
