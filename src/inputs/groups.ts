// From what the caller hands to `adamw(params, options)` to groups of tensors, checked before anything is made.

import type { AnyAlgorithm, CommonOptions, GroupOptions } from '../algorithms/algorithm.js';
import { FLOAT, type Tensor } from '../backends/layout.js';
import { checkSeparate, isFloat32Array, type ByteRange, type Locate, type Located } from '../backends/memory.js';
import type { NewTensors, Section } from '../backends/section.js';
import { resolve } from './options.js';
import { expect, isRecord, list, ownOf, show } from '../errors.js';

/** Tensors by name, in the order in which they are listed. */
export type Tensors<Memory> = Readonly<Record<string, Memory>>;

/** A parameter group: tensors, and the options in which they differ from the others. */
export type ParamGroup<Memory, Options> = Partial<Options> & { readonly params: Tensors<Memory> };

/** What an optimizer is created over: one record of tensors, or an array of groups. */
export type Params<Memory, Options> = Tensors<Memory> | readonly ParamGroup<Memory, Options>[];

/** A checked description of a group to be made. */
export interface GroupSpec {
  readonly options: GroupOptions;
  /** Where errors about this group say that they are: "" or " of group 1". */
  readonly where: string;
  /** The tensors that it began with. */
  readonly section: Section;
}

/** What an optimizer has when more is added: queries are about what is added, so that adding costs only that. */
export interface Existing extends Located {
  readonly groups: number;
  readonly sections: number;
  readonly tensors: number;
  has(name: string): boolean;
  /** Whether it has, or had, a tensor of that name. */
  knows(name: string): boolean;
  readonly locate: Locate;
}

/** For an optimizer that is being made. */
export const nothing: Omit<Existing, 'locate'> = {
  groups: 0,
  sections: 0,
  tensors: 0,
  has: () => false,
  knows: () => false,
  at: () => undefined,
};

/** Whether all tensors are arrays. False also for what is malformed, which `readGroups` refuses. */
export function hasOnlyArrays(params: unknown): boolean {
  const records: unknown[] = Array.isArray(params)
    ? params.map((group?: { params?: unknown }) => group?.params)
    : [params];
  return records.every((record) => isRecord(record) && Object.values(record).every(isFloat32Array));
}

/** Reads what `adamw(params, common)` was given, or, as a list, groups that are added to `existing` ones. */
export function readGroups(
  algorithm: AnyAlgorithm,
  params: unknown,
  common: Record<string, unknown>,
  existing: Existing,
): { specs: GroupSpec[]; added: NewTensors } {
  const isList = Array.isArray(params);
  const given: unknown[] = isList ? Array.from(params) : [{ params }];
  // The first index of each object.
  const first = new Map(given.map((group, i): [unknown, number] => [group, i]).toReversed());
  const entries = given.map((group, i) => {
    const number = existing.groups + i;
    expect(isRecord(group), `group ${number}`, 'a record with params', group);
    if (first.get(group)! < i) throw new TypeError(`Group ${i} is the same object as group ${first.get(group)}.`);
    const { params: record, ...ofGroup } = ownOf(group);
    const where = isList ? ` of group ${number}` : '';
    const options = resolve(algorithm, ofGroup, common, where);
    return { options, record, where, ownMask: ofGroup.decayMask !== undefined };
  });
  const added = readTensors(algorithm, entries, existing);
  if (added.sources.size === 0)
    throw new TypeError(
      `Expected at least one parameter, got ${show(given.length === 1 ? entries[0].record : params)}.`,
    );
  const specs = entries.map(({ options, where }, i) => ({ options, where, section: added.sections[i] }));
  return { specs, added };
}

/** Reads a section for each entry: the tensors of `record`, by the options of a group. */
export function readTensors(
  algorithm: AnyAlgorithm,
  entries: readonly { options: GroupOptions; record: unknown; where: string; ownMask?: boolean }[],
  existing: Existing,
): NewTensors {
  const ranges = new Map<string, ByteRange>();
  const named = entries.map(({ record, where }) => {
    expect(isRecord(record), `params${where}`, 'a record of tensors by name', record);
    const tensors = ownOf(record);
    const names = Object.keys(tensors);
    for (const name of names) {
      expect(!/\p{Surrogate}/u.test(name), `the name of a parameter${where}`, 'well-formed Unicode', name);
      if (existing.has(name) || ranges.has(name))
        throw new TypeError(`There is a parameter ${show(name)} already, another one${where}.`);
      ranges.set(name, existing.locate(tensors[name], 'parameter', name));
    }
    return { names, record: tensors };
  });
  checkSeparate(ranges, existing);
  const isKnown = (name: string): boolean => existing.knows(name) || ranges.has(name);

  const sources = new Map<Tensor, Float32Array | ByteRange>();
  const sections = entries.map(({ options, where, ownMask = false }, i): Section => {
    const { names, record } = named[i];
    const own = new Set(names);
    const decays = readMask(options.decayMask, names, ownMask ? (name) => own.has(name) : isKnown, where);
    const tensors = names.map((name, n) => ({
      name,
      index: existing.tensors + sources.size + n,
      length: ranges.get(name)!.bytes / FLOAT,
      decays: decays[n],
      isFrozen: false,
      step: 0,
      arena: 0,
      offset: 0,
    }));
    for (const tensor of tensors) {
      const source = record[tensor.name];
      sources.set(tensor, isFloat32Array(source) ? source : ranges.get(tensor.name)!);
    }
    tensors.sort((a, b) => Number(b.decays) - Number(a.decays));
    const rule = algorithm.rule(options);
    const rules = algorithm.average === undefined ? [rule] : [rule, algorithm.average.rule];
    return { index: existing.sections + i, rule, rules, names, tensors };
  });
  const [, kind] = existing.one ?? [];
  return { sections, sources, memory: kind ?? ranges.values().next().value?.kind ?? 'CPU' };
}

/** Whether each of `names` decays. A record must name them all, and nothing that is not known. */
function readMask(
  mask: CommonOptions['decayMask'],
  names: string[],
  isKnown: (name: string) => boolean,
  where: string,
): boolean[] {
  if (mask === undefined) return names.map(() => true);
  const isPredicate = typeof mask === 'function';
  if (!isPredicate) {
    const unknown = Object.keys(mask).filter((name) => !isKnown(name));
    const missing = names.filter((name) => !Object.hasOwn(mask, name));
    if (unknown.length > 0) throw new TypeError(`decayMask${where} names ${list(unknown)}, which is no parameter.`);
    if (missing.length > 0) throw new TypeError(`decayMask${where} does not say whether ${list(missing)} decays.`);
  }
  return names.map((name) => {
    const decays: unknown = isPredicate ? mask(name) : mask[name];
    const what = isPredicate ? `decayMask(${show(name)})` : `decayMask[${show(name)}]`;
    expect(typeof decays === 'boolean', what + where, 'true or false', decays);
    return decays;
  });
}
