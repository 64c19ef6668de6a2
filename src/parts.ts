// What an optimizer is made of, and the gradients on their way through it.

import type { CommonOptions } from './algorithms/algorithm.js';
import type { Backend } from './backends/backend.js';
import type { Rule } from './rules/rule.js';
import { expect, isRecord, list, show } from './sentences.js';
import type { Member, Stepper } from './stepper.js';

/** All that an optimizer holds until it is disposed of. */
export interface Parts<Options extends CommonOptions> {
  readonly steppers: readonly Stepper<Options>[];
  readonly members: ReadonlyMap<string, Member>;
  readonly backend: Backend;
}

/** Gives every tensor the gradient that it takes this step with. */
export function collect<Options extends CommonOptions>(parts: Parts<Options>, grads: unknown, encoded: boolean): void {
  expect(isRecord(grads), 'gradients', 'a record by name', grads);
  release(parts);
  for (const name in grads) {
    const grad = grads[name];
    if (grad === null || grad === undefined) continue;
    const member = memberOf(parts, name);
    parts.backend.check(member.tensor, grad, encoded);
    member.grad = grad;
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
      for (const { group, tensor, grad } of members) {
        if (grad !== undefined) backend.accept(group, tensor, grad);
      }
    }
    for (const { index, group, runs, count } of steppers) {
      for (let k = 0; k < count; k++) backend.update(index, rule ?? group.rule, runs[k]);
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
