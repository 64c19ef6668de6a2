// Reads and checks shapes: the sizes of a tensor's dimensions, rows first.

import { expect, isCount, isRecord, noParameter, ownOf, show, unexpected } from '../errors.js';

/** The sizes of a tensor's dimensions, rows first: their product is its length. A scalar has the shape []. */
export type Shape = readonly number[];

/** The shapes of tensors by name. Undefined means that the shape is not known. */
export type Shapes<Names extends string = string> = { readonly [Name in Names]?: Shape | undefined };

/** More than any real tensor has: NumPy's maximum is 64. */
export const MOST_DIMENSIONS = 256;

/** Describes what `isShape` accepts. */
export const COUNTS = `an array of at most ${MOST_DIMENSIONS} whole numbers of at least 0`;

/** Shapes of tensors with these names, from the optimizer's options or from a group's. */
export interface GivenShapes {
  /** Undefined if not given. */
  readonly shapes: unknown;
  readonly names: readonly string[];
  /** Names the group in error messages: "" or " of group 1". */
  readonly where: string;
}

/**
 * Reads shapes: a frozen copy of each, by name. Later ones override, except undefined. Throws for unknown names and
 * for bad shapes.
 */
export function readShapes(
  given: readonly GivenShapes[],
  lengthOf: (name: string) => number,
): ReadonlyMap<string, Shape> {
  const shapeOf = new Map<string, Shape>();
  for (const { shapes, names, where } of given) {
    if (shapes === undefined) continue;
    expect(isRecord(shapes), `shapes${where}`, 'a record of shapes by name', shapes);
    const known = new Set(names);
    const own = Object.entries(ownOf(shapes));
    const unknown = own.map(([name]) => name).filter((name) => !known.has(name));
    if (unknown.length > 0) throw new TypeError(noParameter(unknown, `, listed in shapes${where}`, names));
    for (const [name, shape] of own) {
      if (shape !== undefined) shapeOf.set(name, readShape(name, shape, lengthOf(name)));
    }
  }
  return shapeOf;
}

/** Returns a frozen copy of the shape of a tensor. Throws if it is not a shape of `length` elements. */
export function readShape(name: string, given: unknown, length: number): Shape {
  const shape = copyShape(given);
  if (isShape(shape) && count(shape) === length) return Object.freeze(shape);
  throw unexpected(`the shape of ${show(name)}`, `whole numbers whose product is ${length}`, shape);
}

/** Copies by index, since the caller's array may override methods. Copies at most one item more than is allowed. */
export const copyShape = (shape: unknown): unknown =>
  Array.isArray(shape)
    ? Array.from({ length: Math.min(shape.length, MOST_DIMENSIONS + 1) }, (_, i): unknown => shape[i])
    : shape;

/** Returns whether a value that `copyShape` returned is a shape. */
export const isShape = (value: unknown): value is number[] =>
  Array.isArray(value) &&
  value.length <= MOST_DIMENSIONS &&
  value.every((item) => isCount(item) && !Object.is(item, -0));

/**
 * Returns the number of elements. The reference implementation of safetensors multiplies in order, and refuses an
 * overflow before a 0.
 */
export const count = (shape: Shape): number =>
  shape.reduce((product, size) => (Number.isSafeInteger(product) ? product * size : product), 1);
