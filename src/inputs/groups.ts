// Reads and checks the groups and tensors that a caller passes, before anything is allocated.

import type { AnyAlgorithm, CommonOptions, GroupOptions } from '../algorithms/algorithm.js';
import { FLOAT, type Tensor } from '../backends/layout.js';
import { codeFor, type Lazy } from '../backends/lazy.js';
import { checkSeparate, isFloat32Array, type ByteRange, type Locate, type Located } from '../backends/memory.js';
import type { NewTensors, Section } from '../backends/section.js';
import { resolveOptions } from './options.js';
import { snapshot } from './snapshot.js';
import type { GivenShapes, Shape } from './shapes.js';
import { expect, isRecord, list, ownOf, show } from '../errors.js';

/** What a group is made with. Checked. */
export interface GroupSpec {
  /** The values that steps read; assignments to `optimizer.groups[i]` change them (`showOptions`). */
  readonly options: GroupOptions;
  readonly name: string | undefined;
  /** Names the group in error messages: its name in quotes, or its index. */
  readonly label: string;
  /** The same with "of", or "" for the only group. */
  readonly where: string;
  /** Its first tensors. */
  readonly section: Section;
}

/**
 * What an optimizer has when groups or tensors are added. Queries instead of lists, so that the cost depends only on
 * what is added.
 */
export interface Existing extends Located {
  /** The number of groups, and of sections and tensors that were ever added. */
  readonly groups: number;
  readonly sections: number;
  readonly tensors: number;
  /** Whether there is a group of this name. */
  hasGroup(name: string): boolean;
  /** Whether there is a tensor of this name. */
  has(name: string): boolean;
  /** Whether there is, or was, a tensor of this name. */
  knows(name: string): boolean;
}

/** What a new optimizer has. */
export const nothing: Existing = {
  one: undefined,
  groups: 0,
  sections: 0,
  tensors: 0,
  hasGroup: () => false,
  has: () => false,
  knows: () => false,
  at: () => undefined,
  owns: () => false,
};

/** Reads shapes. `describe` needs its code if there are any. */
export const lateShapes: Lazy<typeof import('./shapes.js')> = { code: undefined, load: undefined };

/** Tensors that were read, each once, and are still to be located. */
export interface ReadTensors {
  /** Whether all of them are arrays, so that `locateArray` suffices. */
  readonly hasOnlyArrays: boolean;
  readonly hasShapes: boolean;
  readonly count: number;
  /**
   * Describes a section for each group. Throws for a tensor that is not one, for overlapping memory, and for a bad
   * shape or decay mask.
   */
  describe(locate: Locate): NewTensors;
}

/**
 * Reads the arguments of `adamw(params, { shapes, ...common })`. To add groups to those that exist, pass an array.
 * Throws for anything malformed.
 */
export function readGroups(
  algorithm: AnyAlgorithm,
  params: unknown,
  common: Record<string, unknown>,
  existing: Existing,
  shapes?: unknown,
): Omit<ReadTensors, 'count' | 'describe'> & { describe(locate: Locate): { specs: GroupSpec[]; added: NewTensors } } {
  const isList = Array.isArray(params);
  const given: unknown[] = isList ? Array.from(params) : [{ params }];
  const firstIndex = new Map<unknown, number>();
  for (const [i, group] of given.entries()) if (!firstIndex.has(group)) firstIndex.set(group, i);
  const names = new Set<string>();
  const groups = given.map((group, i) => {
    const number = existing.groups + i;
    expect(isRecord(group), `group ${number}`, 'a record with params', group);
    const first = firstIndex.get(group)!;
    if (first < i) throw new TypeError(`Group ${i} is the same object as group ${first}.`);
    const { params: record, shapes: own, name, ...ofGroup } = ownOf(group);
    if (name !== undefined) {
      expect(isGroupName(name), `the name of group ${number}`, 'a non-empty string of well-formed Unicode', name);
      const isTaken = existing.hasGroup(name) || names.has(name);
      if (isTaken) throw new TypeError(`The name ${show(name)} of group ${number} is the name of another group.`);
      names.add(name);
    }
    const label = name === undefined ? String(number) : show(name);
    const where = isList ? ` of group ${label}` : '';
    const options = resolveOptions(algorithm, ofGroup, common, where);
    return { options, record, shapes: own, name, label, where, hasOwnMask: ofGroup.decayMask !== undefined };
  });
  const { count, describe, ...has } = readTensors(algorithm, groups, existing, shapes);
  if (count === 0) {
    const empty = groups.length === 1 ? groups[0].record : params;
    throw new TypeError(`Expected at least one parameter, got ${show(empty)}.`);
  }
  return {
    ...has,
    describe(locate) {
      const added = describe(locate);
      const specs = groups.map(({ options, name, label, where }, i) => {
        return { options, name, label, where, section: added.sections[i] };
      });
      return { specs, added };
    },
  };
}

const isWellFormed = (name: string): boolean => !/\p{Surrogate}/u.test(name);

const isGroupName = (name: unknown): name is string => typeof name === 'string' && name !== '' && isWellFormed(name);

/** A group whose tensors are to be read. */
interface GivenGroup {
  readonly options: GroupOptions;
  readonly record: unknown;
  readonly shapes: unknown;
  readonly where: string;
  readonly hasOwnMask?: boolean;
}

/** Reads the tensors in `record` of each group. Their shapes are those of the group, else of `shapes`. */
export function readTensors(
  algorithm: AnyAlgorithm,
  groups: readonly GivenGroup[],
  existing: Existing,
  shapes?: unknown,
): ReadTensors {
  const tensors = new Map<string, unknown>();
  // Copies, since the caller may change records before `describe`.
  const read = groups.map((group): ReadGroup => {
    const { record, where, options } = group;
    expect(isRecord(record), `params${where}`, 'a record of tensors by name', record);
    const entries = Object.entries(ownOf(record));
    for (const [name, tensor] of entries) {
      expect(isWellFormed(name), `the name of a parameter${where}`, 'well-formed Unicode', name);
      if (existing.has(name) || tensors.has(name)) {
        throw new TypeError(`The parameter name ${show(name)}${where} is already in use.`);
      }
      const isBinding = isRecord(tensor) && Object.hasOwn(tensor, 'buffer');
      tensors.set(name, isBinding ? ownOf(tensor) : tensor);
    }
    const names = entries.map(([name]) => name);
    return { ...group, names, shapes: snapshot(group.shapes), mask: snapshot(options.decayMask) as Mask };
  });
  const all = { shapes: snapshot(shapes), names: [...tensors.keys()], where: '' };
  return {
    count: tensors.size,
    hasOnlyArrays: [...tensors.values()].every(isFloat32Array),
    hasShapes: hasShapes([all, ...read]),
    describe: (locate) => describeSections(algorithm, all, read, tensors, existing, locate),
  };
}

const hasShapes = (given: readonly GivenShapes[]): boolean => given.some(({ shapes }) => shapes !== undefined);

type Mask = CommonOptions['decayMask'];

/** A group with the names of its tensors. */
interface ReadGroup extends GivenGroup, GivenShapes {
  readonly mask: Mask;
}

/** Locates tensors, and describes a section for those of each group. */
function describeSections(
  algorithm: AnyAlgorithm,
  all: GivenShapes,
  groups: readonly ReadGroup[],
  given: ReadonlyMap<string, unknown>,
  existing: Existing,
  locate: Locate,
): NewTensors {
  const ranges = new Map(Array.from(given, ([name, tensor]) => [name, locate(tensor, 'parameter', name)] as const));
  checkSeparate(ranges, existing);
  const lengthOf = (name: string): number => ranges.get(name)!.bytes / FLOAT;
  const allShapes = [all, ...groups];
  const shapeOf = hasShapes(allShapes)
    ? codeFor(algorithm.name, lateShapes).readShapes(allShapes, lengthOf)
    : undefined;
  const isKnown = (name: string): boolean => existing.knows(name) || given.has(name);
  const sources = new Map<Tensor, Float32Array | ByteRange>();
  const sections = groups.map(({ options, names, mask, hasOwnMask, where }, i): Section => {
    const own = new Set(names);
    const decaysOf = maskOf(mask, names, hasOwnMask === true ? (name) => own.has(name) : isKnown, where);
    const tensors = names.map((name, n) => {
      const shape = shapeOf?.get(name);
      return {
        name,
        index: existing.tensors + sources.size + n,
        length: lengthOf(name),
        shape,
        decays: decaysOf(name, shape),
        isFrozen: false,
        step: 0,
        history: 0,
        arena: 0,
        offset: 0,
      };
    });
    for (const tensor of tensors) {
      const source = given.get(tensor.name);
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

/**
 * Returns a function that tells whether a tensor decays. A mask that is a record must list all of `names`, and only
 * known ones.
 */
function maskOf(
  mask: Mask,
  names: readonly string[],
  isKnown: (name: string) => boolean,
  where: string,
): (name: string, shape: Shape | undefined) => boolean {
  if (mask === undefined) return () => true;
  const isPredicate = typeof mask === 'function';
  if (!isPredicate) {
    const unknown = Object.keys(mask).filter((name) => !isKnown(name));
    const missing = names.filter((name) => !Object.hasOwn(mask, name));
    if (unknown.length > 0) throw new TypeError(`decayMask${where} has unknown names: ${list(unknown)}.`);
    if (missing.length > 0) throw new TypeError(`decayMask${where} lacks ${list(missing)}.`);
  }
  return (name, shape) => {
    const decays: unknown = isPredicate ? mask(name, shape) : mask[name];
    const what = isPredicate ? `decayMask(${show(name)})` : `decayMask[${show(name)}]`;
    expect(typeof decays === 'boolean', what + where, 'true or false', decays);
    return decays;
  };
}
