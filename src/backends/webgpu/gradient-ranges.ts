// Tracks where a step's gradients lie in the caller's buffers, and checks that no two overlap.

import { FLOAT, type Tensor } from '../layout.js';
import type { ByteRange } from '../memory.js';
import type { TensorEntry } from '../plan.js';
import { show } from '../../errors.js';

/** Where a gradient lies. Buffers are numbered, not referenced, so that they can be collected. */
interface Place {
  readonly buffer: number;
  readonly offset: number;
  readonly bytes: number;
}

/** The gradients of one step. */
export class GradientRanges {
  readonly #numbers = new WeakMap<object, number>();
  #count = 0;
  /** Where the latest gradient of each tensor lies; undefined unless it is in a buffer of the caller. */
  readonly #latest = new WeakMap<Tensor, Place | undefined>();
  /** The last set of gradients that passed the check: most steps use the same buffers again. */
  #checked: ReadonlyMap<Tensor, Place> = new Map();

  note(tensor: Tensor, range: ByteRange | undefined): void {
    this.#latest.set(tensor, range?.kind === 'GPU' ? this.#placeOf(range) : undefined);
  }

  /**
   * Throws if gradients of this step overlap. Two tensors may share exactly the same range (tied weights), unless it is
   * longer than the tensors: then the caller probably forgot the offsets.
   */
  check(entries: ReadonlyMap<string, TensorEntry>): void {
    let isKnown = true;
    for (const { tensor, grad } of entries.values()) {
      const place = grad === undefined ? undefined : this.#latest.get(tensor);
      if (place !== undefined) isKnown &&= isSame(place, this.#checked.get(tensor));
    }
    if (isKnown) return;
    const given = new Map<Tensor, Place>();
    for (const { tensor, grad } of entries.values()) {
      const place = grad === undefined ? undefined : this.#latest.get(tensor);
      if (place !== undefined) given.set(tensor, place);
    }
    const lasts = new Map<number, Range>();
    const ranges = Array.from(given, ([{ name, length }, { buffer, offset, bytes }]): Range => {
      return { name, buffer, offset, end: offset + length * FLOAT, isLonger: bytes > length * FLOAT };
    });
    for (const range of ranges.toSorted((a, b) => a.offset - b.offset)) {
      if (range.offset === range.end) continue;
      const last = lasts.get(range.buffer);
      const isApart = last === undefined || range.offset >= last.end;
      const isTied = range.offset === last?.offset && range.end === last.end && !range.isLonger && !last.isLonger;
      if (!isApart && !isTied) throw overlapping(last, range);
      lasts.set(range.buffer, range);
    }
    this.#checked = given;
  }

  #placeOf({ buffer, offset, bytes }: ByteRange): Place {
    let number = this.#numbers.get(buffer);
    if (number === undefined) this.#numbers.set(buffer, (number = this.#count++));
    return { buffer: number, offset, bytes };
  }
}

/** The bytes that a tensor's gradient uses, and whether the range passed in was longer. */
interface Range {
  readonly name: string;
  readonly buffer: number;
  readonly offset: number;
  readonly end: number;
  readonly isLonger: boolean;
}

function overlapping(a: Range, b: Range): TypeError {
  const bytes = `bytes ${a.offset} to ${a.end} and ${b.offset} to ${b.end} of one GPUBuffer`;
  const how = 'give each a part, { buffer, offset, size }';
  return new TypeError(`The gradients of ${show(a.name)} and ${show(b.name)} overlap, got ${bytes}: ${how}.`);
}

const isSame = (a: Place, b: Place | undefined): boolean =>
  b !== undefined && a.buffer === b.buffer && a.offset === b.offset && a.bytes === b.bytes;
