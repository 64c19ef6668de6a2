// The types of a rule: its description, in table.ts, and its update, in the file with its name.

/** The arrays of a rule: the parameter, its gradient, and one per slot. All have the same length. */
export type Arrays<Slot extends string = string> = Record<'param' | 'grad' | Slot, Float32Array>;

/** The description of a rule. Its files, its update and its kernels have the same name. */
export interface Rule<Scalar extends string = string, Slot extends string = string> {
  readonly name: string;
  /** The numbers that the kernel gets at each step: number i is the f32 at byte 4*i, in all three languages. */
  readonly scalars: readonly Scalar[];
  /** The arrays of state per parameter, with PyTorch's names. They start at zero, except those in `fromParam`. */
  readonly slots: readonly Slot[];
  /** Slots that hold averages of squares, which are never negative. */
  readonly squares: readonly Slot[];
  /** Slots that start as a copy of the parameter. */
  readonly fromParam: readonly Slot[];
  /** False for a rule that reads no gradient. */
  readonly takesGrad: boolean;
}

/**
 * A function of t, the number of a tensor's step, that the GPU multiplies a scalar by where only it knows t. c1 is
 * 1 - beta1^t, c2 is 1 - beta2^t, and `flush` is the limit below which moments are flushed.
 */
export type Correction = 'none' | 'sqrt(c2)/c1' | 'sqrt(c2)' | 'sqrt(c2)/next c1' | 'c2' | 'flush';

/** The corrections of a rule's scalars, in their order, and the decay rates of the moments. */
export interface Corrections {
  readonly ofScalars: readonly Correction[];
  readonly betas: readonly [number, number];
}

/** The update of a rule: changes the elements `from` to `to`, exclusive, of every array in place. Uses f32.ts only. */
export type Update<R> =
  R extends Rule<infer Scalar, infer Slot>
    ? (from: number, to: number, arrays: Arrays<Slot>, scalars: Readonly<Record<Scalar, number>>) => void
    : never;

/** The update of a rule that is known only at run time. */
export type AnyUpdate = (from: number, to: number, arrays: never, scalars: never) => void;

/** The scalars of a rule by name, which `prepare` sets. */
export type ScalarsOf<R> = R extends Rule<infer Scalar, infer _Slot> ? Record<Scalar, number> : never;

/** A description that leaves out what is empty or usual. */
type Entry<R extends Rule> = Pick<R, 'name' | 'scalars' | 'slots'> & Partial<R>;

/** Completes `entry`. TypeScript infers the names of scalars and slots from it. */
export function rule<const Scalar extends string, const Slot extends string>(
  entry: Entry<Rule<Scalar, Slot>>,
): Rule<Scalar, Slot> {
  return { squares: [], fromParam: [], takesGrad: true, ...entry };
}

/** Returns `names` and one more. Bundlers can drop a call marked pure, but not a rule with `...` in it. */
export const append = <const Name extends string, const More extends string>(
  names: readonly Name[],
  more: More,
): readonly (Name | More)[] => [...names, more];
