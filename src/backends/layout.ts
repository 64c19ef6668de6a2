// From the table to byte addresses: the only file that lays out the memory of tensors.
//
// The arrays of a rule (parameter, gradient, slots) are laid out alike: a tensor is at the same offset in each, so one
// kernel call can run over neighbouring tensors. Every array starts on 256 bytes, WebGPU's offset alignment and a
// multiple of what a kernel takes in one turn: padding replaces tails. It is zero, stays zero, and is never shown.

import type { Rule } from '../rules/rule.js';

export const FLOAT = 4;
export const ALIGNMENT = 256;

export const align = (bytes: number): number => Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
export const elements = (bytes: number): number => bytes / FLOAT;
export const alignDown = (bytes: number): number => Math.floor(bytes / ALIGNMENT) * ALIGNMENT;

/** A parameter tensor, flattened. */
export interface Tensor {
  readonly name: string;
  /** Its place among all tensors of the optimizer. */
  readonly index: number;
  /** Elements. */
  readonly length: number;
  readonly decays: boolean;
  /** Whether its gradients are passed over. */
  isFrozen: boolean;
  /** Completed steps; where groups count, since it began or was loaded. */
  step: number;
  /** Its arena, and where it starts there in every array, in bytes. Set by `pack`. */
  arena: number;
  offset: number;
}

/** Tensors whose arrays lie one behind the other; `bytes` is the length of one such array. */
export interface Arena {
  readonly tensors: Tensor[];
  bytes: number;
}

/** Places tensors, in order, into as few arenas as hold at most `capacity` bytes; a larger tensor has its own. */
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

/** Where tensors that stand side by side in one arena begin and end in each of its arrays, in bytes. */
export const begin = (first: Tensor): number => first.offset;
export const end = (last: Tensor): number => last.offset + align(last.length * FLOAT);

/** The names of a rule's arrays in their fixed order, which is the order of kernel arguments and of bindings. */
export const arraysOf = ({ slots, takesGrad = true }: Rule): string[] => [
  'param',
  ...(takesGrad ? ['grad'] : []),
  ...slots,
];

/** Where a section lies in its memory of a CPU backend, in bytes. */
export interface Block {
  /** Where the scalars of run k start: a section of n tensors has at most n runs. */
  readonly scalars: readonly number[];
  /** Where each array of the rule starts, by name. */
  readonly arrays: Readonly<Record<string, number>>;
  /** The length of each of these arrays. */
  readonly bytes: number;
}

/**
 * Lays out sections in one memory, from byte `from` on, to byte `bytes`. Byte 0 stays unused, so that no address
 * is null. Where gradients are not kept, all share one array, as long as the largest tensor.
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
