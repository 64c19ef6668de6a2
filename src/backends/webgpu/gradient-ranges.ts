// Where the gradients of a step lie in the caller's buffers, and that no two share bytes by mistake.

import { FLOAT, type Tensor } from '../layout.js';
import type { ByteRange } from '../memory.js';
import type { TensorEntry } from '../plan.js';
import { show } from '../../errors.js';

/** Where a gradient lies. The buffer has a number, so that it is not kept alive. */
interface Place {
  readonly buffer: number;
  readonly offset: number;
  readonly bytes: number;
}

/** The gradients of one step. */
export class GradientRanges {
  readonly #numbers = new WeakMap<object, number>();
  #count = 0;
  /** Of each tensor's latest gradient: undefined unless the caller gave a GPU buffer, or a part of one. */
  readonly #latest = new WeakMap<Tensor, Place | undefined>();
  /** The same of the last set of gradients that was checked: most steps have it again. */
  #checked: ReadonlyMap<Tensor, Place> = new Map();

  note(tensor: Tensor, range: ByteRange | undefined): void {
    this.#latest.set(tensor, range?.kind === 'GPU' ? this.#placeOf(range) : undefined);
  }

  /**
   * Throws if gradients of this step overlap. Two tensors may have exactly the same range (tied weights), unless it is
   * longer than the tensors: then parts of a whole buffer were probably meant.
   */
  check(members: ReadonlyMap<string, TensorEntry>): void {
    let isKnown = true;
    for (const { tensor, grad } of members.values()) {
      const place = grad === undefined ? undefined : this.#latest.get(tensor);
      if (place !== undefined) isKnown &&= isSame(place, this.#checked.get(tensor));
    }
    if (isKnown) return;
    const given = new Map<Tensor, Place>();
    for (const { tensor, grad } of members.values()) {
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

/** The bytes of a buffer that a tensor's gradient takes, and whether more was given. */
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
