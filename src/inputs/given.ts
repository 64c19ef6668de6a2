// The types of what callers pass: tensors, groups and options; and what TypeScript infers from them.

import type { Betas } from '../algorithms/algorithm.js';
import type { GpuMemory } from '../backends/memory.js';
import type { Shapes } from './shapes.js';

/** Tensors by name, in the order in which they are listed. */
export type Tensors<Memory, Names extends string = string> = { readonly [Name in Names]: Memory };

/** Options as callers pass them. Undefined means the default. Two betas may be in an array of any length. */
export type GivenOptions<Options> = {
  [Name in keyof Options]?:
    (Betas extends Options[Name] ? Options[Name] | readonly number[] : Options[Name]) | undefined;
};

/** A parameter group: tensors, and options that override those of the optimizer. */
export type ParamGroup<Memory, Options, Names extends string = string> = GivenOptions<Options> & {
  // TypeScript adds `?: undefined` for the names of the other groups of an array.
  /** Its tensors, flat, by name. */
  readonly params: { readonly [Name in Names]?: Memory | undefined };
  /** A name for `optimizer.group(name)` and error messages. No other group of the optimizer has it. */
  readonly name?: string | undefined;
  /** The sizes of the dimensions of its tensors, rows first. They override those of the optimizer. */
  readonly shapes?: Shapes<NoInfer<Names>> | undefined;
};

/** The parameters of an optimizer: one record of tensors, or an array of groups. */
export type Params<Memory, Options> = Tensors<Memory> | readonly ParamGroup<Memory, Options>[];

/**
 * The parameters of a creation. `Record` is inferred from a record of tensors or an interface, `Groups` and `Names`
 * from an array of groups. A plain union of both would not tell where an option of a group is misspelt.
 */
export type GivenParams<Record, Groups, Names extends string, Options, Memory> =
  | (Record & { readonly [Name in keyof Record]: Memory })
  | (readonly ParamGroup<Memory, Options, Names>[] & Inferred<Groups>);

/** The constraint of a record of tensors. From an array of groups, TypeScript infers this type itself. */
export type NotIterable = object & { readonly [Symbol.iterator]?: never };

/** Lets TypeScript infer `Type` from an argument, and accepts every argument. */
type Inferred<Type> = Type extends object ? unknown : Type;

/** The names in a record of tensors, or in groups: the other is `never`. */
export type GivenNames<Record, Names extends string> = (keyof Record & string) | Names;

/** The type of the tensors in a record, or in groups. */
export type GivenMemory<Record, Groups> = Exclude<Record[keyof Record], undefined> | MemoryOf<Groups>;

type MemoryOf<Groups> = Groups extends readonly { readonly params: infer Each }[]
  ? Each extends object
    ? Exclude<Each[keyof Each], undefined>
    : never
  : never;

/** The type of what `optimizer.params` shows for tensors of the type `Memory`. `Backend`: the option. */
export type MemoryOn<Backend, Memory> = [Memory] extends [Float32Array]
  ? ArraysOn<Backend extends readonly (infer Each)[] ? Each : Backend>
  : [Memory] extends [GpuMemory]
    ? GPUBufferBinding
    : Float32Array | GPUBufferBinding;

/** The type of what `optimizer.params` shows for Float32Arrays. */
type ArraysOn<Backend> = Backend extends 'webgpu'
  ? GPUBufferBinding
  : Backend extends 'fastest'
    ? Float32Array | GPUBufferBinding
    : Float32Array;
