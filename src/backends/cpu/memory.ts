// The buffers of a CPU backend, and the sections in them.

import type { Extension } from '../backend.js';
import { begin, elements, end, layout, type Block, type Tensor } from '../layout.js';
import { checkUnchanged } from '../memory.js';
import type { NewTensors, Section } from '../section.js';
import type { Rule } from '../../rules/rule.js';
import type { Machine, Opened, RunKernel, Squares } from './machine.js';

/** A section and its memory, which never moves, so that views stay valid. */
export interface Placed extends Block {
  readonly section: Section;
  readonly buffer: ArrayBufferLike;
  readonly kernels: ReadonlyMap<Rule, RunKernel>;
  readonly squares: Squares;
  readonly scalarViews: readonly Float32Array[];
  /** Memory for one gradient at a time, as long as the longest. Used only if gradients are not kept. */
  readonly staging: Float32Array;
}

/** A buffer with free memory from byte `free` to byte `length`. */
interface Room extends Opened {
  readonly length: number;
  free: number;
}

/** The least size of a buffer for sections added later: small ones share it. */
const MIN_ROOM = 2 ** 20;

export class Buffers {
  readonly #machine: Machine;
  readonly #keepGrads: boolean;
  /** All buffers, and the sections in each. */
  readonly #sections = new Map<ArrayBufferLike, Placed[]>();
  /** A view of each buffer, in an array: loops over it allocate no iterator. */
  #views: Uint8Array[] = [];
  /** The newest buffer. */
  #room: Room | undefined;

  constructor(machine: Machine, keepGrads: boolean) {
    this.#machine = machine;
    this.#keepGrads = keepGrads;
  }

  /** Places new sections into the newest buffer, or into another one, and copies the parameters there. */
  place({ sections, sources }: NewTensors): Extension & { readonly placed: readonly Placed[] } {
    let room = this.#room;
    let { blocks, bytes } = layout(sections, this.#keepGrads, room?.free);
    if (room === undefined || bytes > room.length) {
      ({ blocks, bytes } = layout(sections, this.#keepGrads));
      const length = room === undefined ? bytes : Math.max(bytes, MIN_ROOM);
      room = { ...this.#machine.open(length), length, free: 0 };
    }
    const { buffer } = room;
    const drop = (): void => {
      if (room !== this.#room) this.#machine.drop?.(buffer);
    };
    let placed: Placed[];
    try {
      placed = fill(sections, sources, blocks, room);
    } catch (error) {
      drop();
      throw error;
    }
    const take = (): void => {
      this.#room = room;
      room.free = bytes;
      const neighbours = this.#sections.get(buffer);
      if (neighbours === undefined) {
        this.#sections.set(buffer, [...placed]);
        this.#views.push(new Uint8Array(buffer));
      } else for (const each of placed) neighbours.push(each);
    };
    return { placed, take, drop };
  }

  /** Frees the buffers in which all sections are `gone`. */
  free(gone: ReadonlySet<Placed>): void {
    for (const [buffer, sections] of this.#sections) {
      const left = sections.filter((each) => !gone.has(each));
      this.#sections.set(buffer, left);
      if (left.length > 0) continue;
      this.#sections.delete(buffer);
      this.#machine.drop?.(buffer);
      if (this.#room?.buffer === buffer) this.#room = undefined;
    }
    this.#views = this.#views.filter(({ buffer }) => this.#sections.has(buffer));
  }

  /** Returns whether a buffer was transferred. */
  areGone(): boolean {
    for (let i = 0; i < this.#views.length; i++) {
      // Engines inline the length of a view, but not of a buffer.
      if (this.#views[i].length === 0) return true;
    }
    return false;
  }

  /** Returns whether a step may change the array before it reads it as a gradient. */
  mayChange(array: Float32Array): boolean {
    const placed = this.#sections.get(array.buffer);
    // If gradients are kept, a step copies them before it changes parameters and slots.
    return placed !== undefined && (!this.#keepGrads || isGradient(placed, array));
  }
}

/** Makes the views and kernels of sections in a buffer, and copies the parameters there. */
function fill(
  sections: readonly Section[],
  sources: NewTensors['sources'],
  blocks: readonly Block[],
  { buffer, kernel, squares }: Opened,
): Placed[] {
  const placed = sections.map((section, i): Placed => {
    const { rule, rules, tensors } = section;
    const kernels = new Map(rules.map((each) => [each, kernel(each, blocks[i])]));
    const scalarViews = blocks[i].scalars.map((at) => new Float32Array(buffer, at, rule.scalars.length));
    const longest = tensors.reduce((most, tensor) => Math.max(most, end(tensor) - begin(tensor)), 0);
    const staging = new Float32Array(buffer, blocks[i].arrays.grad, elements(longest));
    return { ...blocks[i], section, buffer, kernels, squares: squares(), scalarViews, staging };
  });
  // Check all arrays before writing any: free memory must stay zero.
  for (const [{ name, length }, source] of sources) checkUnchanged(source as Float32Array, name, length);
  for (const each of placed) {
    const { tensors, rule } = each.section;
    for (const tensor of tensors) {
      const source = sources.get(tensor) as Float32Array;
      if (tensor.length === 0) continue;
      for (const array of ['param', ...rule.fromParam]) view(each, tensor, array).set(source);
    }
  }
  return placed;
}

/** Returns whether an array starts in the gradients of a section. */
const isGradient = (placed: readonly Placed[], { byteOffset }: Float32Array): boolean =>
  placed.some(({ arrays: { grad }, bytes }) => byteOffset >= grad && byteOffset < grad + bytes);

/** Returns a view of an array. */
export const view = ({ buffer, arrays }: Placed, { offset, length }: Tensor, array: string): Float32Array =>
  new Float32Array(buffer, arrays[array] + offset, length);
