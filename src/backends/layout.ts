// Computes the byte addresses of tensors: the only file that lays out their memory.
//
// All arrays of a rule (parameter, gradient, slots) have the same layout: a tensor has the same offset in each, so one
// kernel call can run over neighbouring tensors. Each tensor starts at a multiple of 256 bytes, as WebGPU's bindings
// must. Kernels need no loop for a tail: each iteration handles a divisor of 256 bytes. Padding is zero and stays zero.

import type { Rule } from '../rules/rule.js';

export const FLOAT = 4;
export const ALIGNMENT = 256;

export const align = (bytes: number): number => Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
export const elements = (bytes: number): number => bytes / FLOAT;
export const alignDown = (bytes: number): number => Math.floor(bytes / ALIGNMENT) * ALIGNMENT;

/** A flattened parameter tensor. */
export interface Tensor {
  readonly name: string;
  /** Its index among all tensors of the optimizer. */
  readonly index: number;
  /** The number of elements. */
  readonly length: number;
  /** The sizes of its dimensions, rows first. Undefined if not given. */
  readonly shape: readonly number[] | undefined;
  readonly decays: boolean;
  /** Whether its gradients are ignored. */
  isFrozen: boolean;
  /** The number of completed steps; if the group counts steps, of those since it was added or loaded. */
  step: number;
  /** Equal for two tensors that took part in the same steps among those that the GPU may have skipped. */
  history: number;
  /** Its arena, and its byte offset in each array of the arena. Set by `pack`. */
  arena: number;
  offset: number;
}

/** Consecutive tensors in arrays of `bytes` bytes each. */
export interface Arena {
  readonly tensors: Tensor[];
  bytes: number;
}

/** Packs tensors, in order, into arenas of at most `capacity` bytes. A larger tensor gets an arena of its own. */
export function pack(tensors: readonly Tensor[], capacity = Infinity): Arena[] {
  const arenas: Arena[] = [];
  for (const tensor of tensors) {
    const bytes = align(tensor.length * FLOAT);
    const last = arenas.at(-1);
    const arena = last !== undefined && last.bytes + bytes <= capacity ? last : { tensors: [], bytes: 0 };
    if (arena !== last) arenas.push(arena);
    tensor.arena = arenas.length - 1;
    tensor.offset = arena.bytes;
    arena.tensors.push(tensor);
    arena.bytes += bytes;
  }
  return arenas;
}

/** The byte range of neighbouring tensors in each array of their arena. */
export const begin = (first: Tensor): number => first.offset;
export const end = (last: Tensor): number => last.offset + align(last.length * FLOAT);

/** Returns the names of a rule's arrays, in the order of the bindings and of a kernel's arguments. */
export const arraysOf = ({ slots, takesGrad }: Rule): string[] => ['param', ...(takesGrad ? ['grad'] : []), ...slots];

/** The byte addresses of a section in the memory of a CPU backend. */
export interface Block {
  /** The address of the scalars of each run. A section of n tensors has at most n runs. */
  readonly scalars: readonly number[];
  /** The address of each array of the rule, by name. */
  readonly arrays: Readonly<Record<string, number>>;
  /** The length of each array. */
  readonly bytes: number;
}

/**
 * Lays out sections in one memory, from byte `from` to byte `bytes`. Byte 0 stays unused, so that no address is null.
 * If gradients are not kept, all share one array, as long as the largest tensor.
 */
export function layout(
  sections: readonly { rule: Rule; tensors: readonly Tensor[] }[],
  keepGrads: boolean,
  from = ALIGNMENT,
): { blocks: Block[]; bytes: number } {
  let bytes = from;
  const take = (size: number): number => (bytes += size) - size;
  const lengths = sections.flatMap(({ tensors }) => tensors).map(({ length }) => length);
  const longest = lengths.reduce((most, length) => Math.max(most, length), 0);
  const shared = keepGrads ? undefined : take(align(longest * FLOAT));
  const blocks = sections.map(({ rule, tensors }) => {
    const [arena = { bytes: 0 }] = pack(tensors);
    const place = (name: string): number => (name === 'grad' ? shared : undefined) ?? take(arena.bytes);
    return {
      scalars: tensors.map(() => take(align(rule.scalars.length * FLOAT))),
      arrays: Object.fromEntries(arraysOf(rule).map((name) => [name, place(name)])),
      bytes: arena.bytes,
    };
  });
  return { blocks, bytes };
}
