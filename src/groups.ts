// From what the caller hands to `adamw(params, options)` to groups of tensors, checked before anything is made.

import type { Algorithm, CommonOptions } from './algorithms/algorithm.js';
import { FLOAT, type Tensor } from './layout.js';
import { checkSeparate, locate, type Stretch } from './memory.js';
import { isRecord, resolve } from './options.js';
import type { Rule } from './rules/rule.js';
import { expect, list, show } from './sentences.js';

/** Tensors by name, in the order in which they are listed. */
export type Tensors<Memory> = Readonly<Record<string, Memory>>;

/** A parameter group: tensors, and the options in which they differ from the others. */
export type ParamGroup<Memory, Options> = Partial<Options> & { readonly params: Tensors<Memory> };

/** What an optimizer is created over: one record of tensors, or an array of groups. */
export type Params<Memory, Options> = Tensors<Memory> | readonly ParamGroup<Memory, Options>[];

/** A group as the optimizer and its backend see it. */
export interface Group<Options = object> {
  readonly options: Options;
  readonly rule: Rule;
  /** Names in the caller's order. */
  readonly names: readonly string[];
  /** Those that decay first: tensors that share their scalars lie side by side. */
  readonly tensors: readonly Tensor[];
  /** Where errors about this group say that they are: "" or " of group 1". */
  readonly where: string;
}

export function readGroups<Options extends CommonOptions>(
  algorithm: Algorithm<Options>,
  params: unknown,
  common: Record<string, unknown>,
): Group<Options>[] {
  const isList = Array.isArray(params);
  const given: unknown[] = isList ? params : [{ params }];
  given.forEach((group, i) => {
    expect(isRecord(group), `group ${i}`, 'a record with params', group);
    if (given.indexOf(group) < i)
      throw new TypeError(`Group ${i} is the same object as group ${given.indexOf(group)}.`);
  });

  const stretches = new Map<string, Stretch>();
  const groups = (given as Record<string, unknown>[]).map(({ params: record, ...own }, i) => {
    const where = isList ? ` of group ${i}` : '';
    expect(isRecord(record), `params${where}`, 'a record of tensors by name', record);
    const options = resolve(algorithm, own, common, where);
    const names = Object.keys(record);
    for (const name of names) {
      if (stretches.has(name))
        throw new TypeError(`Parameter ${show(name)} is in two groups${where && `, also${where}`}.`);
      stretches.set(name, locate(record[name], 'parameter', name));
    }
    return { options, names, record, where, ownMask: own.decayMask !== undefined };
  });
  if (stretches.size === 0) throw new TypeError(`Expected at least one parameter, got ${show(params)}.`);
  checkSeparate(stretches);

  return groups.map(({ options, names, record, where, ownMask }) => {
    const decays = readMask(options.decayMask, names, ownMask ? names : [...stretches.keys()], where);
    const tensors = names.map((name, i) => ({
      name,
      length: stretches.get(name)!.bytes / FLOAT,
      memory: record[name],
      decays: decays[i],
      step: 0,
      arena: 0,
      offset: 0,
    }));
    tensors.sort((a, b) => Number(b.decays) - Number(a.decays));
    return { options, rule: algorithm.rule(options), names, tensors, where };
  });
}

/** A record of something for each tensor, in the order in which the caller listed them. */
export function byName<Value>(
  groups: readonly Group[],
  make: (group: number, tensor: Tensor) => Value,
): Record<string, Value> {
  return Object.fromEntries(
    groups.flatMap(({ names, tensors }, g) => {
      const made = new Map(tensors.map((tensor) => [tensor.name, make(g, tensor)]));
      return names.map((name) => [name, made.get(name)!]);
    }),
  );
}

/** Whether each of `names` decays. A record must name them all, and nothing outside of `known`. */
function readMask(mask: CommonOptions['decayMask'], names: string[], known: string[], where: string): boolean[] {
  if (mask === undefined) return names.map(() => true);
  const isPredicate = typeof mask === 'function';
  if (!isPredicate) {
    const parameters = new Set(known);
    const strangers = Object.keys(mask).filter((name) => !parameters.has(name));
    const missing = names.filter((name) => !Object.hasOwn(mask, name));
    if (strangers.length > 0) throw new TypeError(`decayMask${where} names ${list(strangers)}, which is no parameter.`);
    if (missing.length > 0) throw new TypeError(`decayMask${where} does not say whether ${list(missing)} decays.`);
  }
  return names.map((name) => {
    const decays: unknown = isPredicate ? mask(name) : mask[name];
    const what = isPredicate ? `decayMask(${show(name)})` : `decayMask[${show(name)}]`;
    expect(typeof decays === 'boolean', what + where, 'true or false', decays);
    return decays;
  });
}
