// The byte ranges of the parameters in each buffer, to check that no gradient overlaps them.

import { countAtMost } from '../../math/search.js';

interface Taken {
  readonly name: string;
  readonly begin: number;
  readonly end: number;
}

/** Assumes that parameters do not overlap each other. */
export class ParamRanges {
  /** Sorted by offset. */
  readonly #byBuffer = new Map<object, Taken[]>();

  add(params: readonly [string, GPUBufferBinding][]): void {
    for (const [name, { buffer, offset = 0, size = 0 }] of params) {
      if (size === 0) continue;
      let taken = this.#byBuffer.get(buffer);
      if (taken === undefined) this.#byBuffer.set(buffer, (taken = []));
      taken.splice(firstAfter(taken, offset), 0, { name, begin: offset, end: offset + size });
    }
  }

  remove(names: ReadonlySet<string>): void {
    for (const [buffer, taken] of this.#byBuffer) {
      const left = taken.filter(({ name }) => !names.has(name));
      if (left.length > 0) this.#byBuffer.set(buffer, left);
      else this.#byBuffer.delete(buffer);
    }
  }

  /** Returns the first parameter that overlaps these bytes. */
  at(buffer: object, begin: number, bytes: number): string | undefined {
    const taken = this.#byBuffer.get(buffer);
    if (taken === undefined || bytes === 0) return undefined;
    const i = firstAfter(taken, begin);
    return i < taken.length && taken[i].begin < begin + bytes ? taken[i].name : undefined;
  }
}

/** Returns the index of the first range that ends after byte `begin`. */
const firstAfter = (taken: readonly Taken[], begin: number): number => countAtMost(taken, begin, endOf);
const endOf = ({ end }: Taken): number => end;
