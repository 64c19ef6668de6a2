// What a rule is: its description, which table.ts lists, and its update, which is stated in the file of its name.

/** The arrays that a rule works on: the parameter, its gradient, and one per slot. All have the same length. */
export type Arrays<Slot extends string = string> = Record<'param' | 'grad' | Slot, Float32Array>;

/** The description of a rule. `name` is also that of its update, and of its kernel in assembly/ and wgsl/. */
export interface Rule<Scalar extends string = string, Slot extends string = string> {
  readonly name: string;
  /** The name of its files, if it shares them with another rule. */
  readonly file?: string;
  /** What the kernel is told each step: number i is the f32 at byte 4*i, in all three languages. */
  readonly scalars: readonly Scalar[];
  /** What is remembered per parameter, in PyTorch's words: zero at first, except `fromParam`. */
  readonly slots: readonly Slot[];
  /** Slots that hold averages of squares, which are never negative. */
  readonly squares?: readonly Slot[];
  /** Slots that begin not at zero but at the parameter. */
  readonly fromParam?: readonly Slot[];
  /** False for a rule that reads no gradient. */
  readonly takesGrad?: boolean;
}

/** The law of a rule: updates the elements from `from` up to `to` of every array, in place, in the vocabulary of f32.ts. */
export type Update<R> =
  R extends Rule<infer Scalar, infer Slot>
    ? (from: number, to: number, arrays: Arrays<Slot>, by: Readonly<Record<Scalar, number>>) => void
    : never;

/** The scalars of a rule by name, as `prepare` fills them. */
export type ScalarsOf<R> = R extends Rule<infer Scalar, infer _Slot> ? Record<Scalar, number> : never;

/** The identity; it lets TypeScript read the names of scalars and slots from the entry itself. */
export function rule<const Scalar extends string, const Slot extends string>(
  entry: Rule<Scalar, Slot>,
): Rule<Scalar, Slot> {
  return entry;
}

/** `names`, and one more: a call marked as pure, since bundlers do not drop a rule that has `...` in it. */
export const append = <const Name extends string, const More extends string>(
  names: readonly Name[],
  more: More,
): readonly (Name | More)[] => [...names, more];
