// Reads, changes and compares records of tensors.

import { expect } from 'vitest';
import type { Tensor } from '../../src/backends/layout.js';
import { difference } from './numbers.js';

export type Tensors = Record<string, Float32Array>;

interface Readable {
  read(name: string, options?: { average?: boolean }): Promise<Float32Array>;
}

/** Reads the parameters named like the keys of `like`, or their averages. */
export async function readAll(optimizer: Readable, like: object, average = false): Promise<Tensors> {
  const entries = Object.keys(like).map(async (name) => [name, await optimizer.read(name, { average })] as const);
  return Object.fromEntries(await Promise.all(entries));
}

export const map = (values: Tensors, change: (x: number) => number): Tensors =>
  Object.fromEntries(Object.entries(values).map(([name, each]) => [name, each.map(change)]));

/** Expects the same names and the same bits. */
export function same(actual: Tensors, expected: Tensors): void {
  expect(Object.keys(actual).toSorted()).toEqual(Object.keys(expected).toSorted());
  for (const name in expected) expect(difference(actual[name], expected[name]), name).toBeUndefined();
}

/** Returns a tensor that has not stepped, and has no place in memory yet. */
export const unplaced = (name: string, index: number, length: number): Tensor => ({
  name,
  index,
  length,
  shape: undefined,
  decays: true,
  isFrozen: false,
  step: 0,
  history: 0,
  arena: 0,
  offset: 0,
});
