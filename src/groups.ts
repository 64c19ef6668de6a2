// From what the caller hands to `adamw(params, options)` to groups of tensors, checked before anything is made.

import type { Algorithm, CommonOptions } from './algorithms/algorithm.js';
import { FLOAT, type Tensor } from './layout.js';
import { checkSeparate, isFloat32Array, locate, type Stretch } from './memory.js';
import { resolve } from './options.js';
import type { Rule } from './rules/rule.js';
import { expect, isRecord, list, show } from './sentences.js';

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
  /** All rules that run over its arrays: `rule`, and that of a change of mode. */
  readonly rules: readonly Rule[];
  /** Names in the caller's order. */
  readonly names: readonly string[];
  /** Those that decay first: tensors that share their scalars lie side by side. */
  readonly tensors: readonly Tensor[];
  /** Where errors about this group say that they are: "" or " of group 1". */
  readonly where: string;
}

/** Where each tensor comes from, an array or GPU memory: only needed while the optimizer is made, and not kept. */
export type Sources = ReadonlyMap<Tensor, Float32Array | Stretch>;

export function readGroups<Options extends CommonOptions>(
  algorithm: Algorithm<Options>,
  params: unknown,
  common: Record<string, unknown>,
): { groups: Group<Options>[]; sources: Sources; memory: Stretch['kind'] } {
  const isList = Array.isArray(params);
  const given: unknown[] = isList ? Array.from(params) : [{ params }];
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
      if (stretches.has(name)) throw new TypeError(`Parameter ${show(name)}${where} is in another group, too.`);
      stretches.set(name, locate(record[name], 'parameter', name));
    }
    return { options, names, record, where, ownMask: own.decayMask !== undefined };
  });
  if (stretches.size === 0) throw new TypeError(`Expected at least one parameter, got ${show(params)}.`);
  checkSeparate(stretches);

  const sources = new Map<Tensor, Float32Array | Stretch>();
  const sorted = groups.map(({ options, names, record, where, ownMask }) => {
    const decays = readMask(options.decayMask, names, ownMask ? names : [...stretches.keys()], where);
    const tensors = names.map((name, i) => ({
      name,
      index: sources.size + i,
      length: stretches.get(name)!.bytes / FLOAT,
      decays: decays[i],
      step: 0,
      arena: 0,
      offset: 0,
    }));
    for (const tensor of tensors) {
      const source = record[tensor.name];
      sources.set(tensor, isFloat32Array(source) ? source : stretches.get(tensor.name)!);
    }
    tensors.sort((a, b) => Number(b.decays) - Number(a.decays));
    const rule = algorithm.rule(options);
    const rules = algorithm.average === undefined ? [rule] : [rule, algorithm.average.rule];
    return { options, rule, rules, names, tensors, where };
  });
  return { groups: sorted, sources, memory: stretches.values().next().value!.kind };
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
