// Checks the gradients of a step: each alone, and that no two of them overlap.

import { FLOAT, type Tensor } from '../layout.js';
import { isFloat32Array, type ByteRange } from '../memory.js';
import type { TensorEntry } from '../plan.js';
import { show, unexpected } from '../../errors.js';
import { placeOf } from './section-memory.js';
import { checkBindable } from './buffers.js';
import { bufferOf, locate } from './locate.js';
import type { ParamRanges } from './param-ranges.js';

/** Where a gradient lies. Buffers are numbered, not referenced, so that they can be collected. */
interface Place {
  readonly buffer: number;
  readonly offset: number;
  readonly bytes: number;
}

export class GradientChecks {
  readonly #params: ParamRanges;
  readonly #own: WeakSet<object>;
  readonly #shown: ReadonlyMap<Tensor, GPUBufferBinding>;
  readonly #numbers = new WeakMap<object, number>();
  #count = 0;
  /** Where the latest gradient of each tensor lies; undefined unless it is in a buffer of the caller. */
  readonly #latest = new WeakMap<Tensor, Place | undefined>();
  /** The last set of gradients that passed the check: most steps use the same buffers again. */
  #checked: ReadonlyMap<Tensor, Place> = new Map();

  /** `own`: the optimizer's own buffers. `shown`: the bindings that `grads` has returned. */
  constructor(params: ParamRanges, own: WeakSet<object>, shown: ReadonlyMap<Tensor, GPUBufferBinding>) {
    this.#params = params;
    this.#own = own;
    this.#shown = shown;
  }

  /** Throws an Error unless `grad` can be the gradient of `tensor`. `encoded`: for a step with an encoder. */
  check(tensor: Tensor, grad: unknown, encoded: boolean): void {
    const { name, length } = tensor;
    this.#latest.set(tensor, undefined);
    if (grad === this.#shown.get(tensor)) return;
    const range = locate(grad, 'gradient', name);
    const { kind, buffer, offset, bytes } = range;
    if (kind === 'GPU') checkBindable(buffer as GPUBuffer, 'gradient', name);
    if (kind === 'CPU' ? bytes !== length * FLOAT : bytes < length * FLOAT) {
      throw new RangeError(`Expected ${length} gradient values for ${show(name)}, got ${bytes / FLOAT}.`);
    }
    if (kind === 'CPU' && encoded) {
      throw new TypeError(`encode() cannot upload: the gradient of ${show(name)} is a Float32Array, not a GPUBuffer.`);
    }
    const under = this.#params.at(buffer, offset, length * FLOAT);
    if (under !== undefined) {
      // The order in which tensors are updated is not defined.
      const whose = under === name ? 'itself' : show(under);
      throw new TypeError(`The gradient of ${show(name)} overlaps the parameter ${whose}.`);
    }
    if (!this.isOwn(tensor, grad) && this.#own.has(buffer)) {
      throw new TypeError(`The gradient of ${show(name)} lies in the memory of another tensor or slot.`);
    }
    if (kind === 'GPU') this.#latest.set(tensor, this.#placeOf(range));
  }

  /** Throws unless the value is a buffer of one f32, and not the one `ofScaler`, which the step changes. */
  checkScale(value: object, ofScaler: GPUBuffer | undefined): void {
    const wanted = 'a number, or a buffer of one f32 with STORAGE usage';
    const buffer = bufferOf(value);
    if (buffer === undefined) throw unexpected('gradScale', wanted, value);
    const { offset, bytes } = locate(value, 'option', 'gradScale');
    checkBindable(buffer, 'option', 'gradScale');
    if (bytes < FLOAT) throw unexpected('gradScale', wanted, `${bytes} bytes at ${offset}`);
    if (this.#own.has(buffer)) throw unexpected('gradScale', 'in a buffer of yours', value);
    if (buffer === ofScaler) throw unexpected('gradScale', 'in another buffer than the scaler of the step', value);
  }

  /** Returns whether a gradient that passed `check` is the optimizer's own memory for it. */
  isOwn(tensor: Tensor, grad: unknown): boolean {
    const shown = this.#shown.get(tensor);
    if (shown === undefined || isFloat32Array(grad)) return false;
    const { buffer, offset } = placeOf(grad);
    return buffer === shown.buffer && offset === shown.offset;
  }

  /**
   * Throws if gradients of this step overlap. Two tensors may share exactly the same range (tied weights), unless it is
   * longer than the tensors: then the caller probably forgot the offsets.
   */
  checkTogether(entries: ReadonlyMap<string, TensorEntry>): void {
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
    ranges.sort((a, b) => a.offset - b.offset);
    for (const range of ranges) {
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
