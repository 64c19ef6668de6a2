// Which step of the optimizer each tensor took last. Schedules count the optimizer's steps, so that a tensor that is
// left out or comes late keeps up. A step may be taken one tensor at a time: it ends when one gets a second gradient.

import type { GroupOptions } from '../algorithms/algorithm.js';
import type { Parts } from './state.js';
import type { TensorEntry } from '../backends/plan.js';

type TakesPart = (member: TensorEntry) => boolean;

const hasGrad: TakesPart = ({ grad }) => grad !== undefined;

/** What a step finds: with it the books can be put back to before the step. */
interface Found {
  step: number;
  isUnfinished: boolean;
  /** Of those that take the step. */
  latest: readonly number[];
  /** Those that were part of the step that it goes on with. */
  done: readonly TensorEntry[];
}

/** A step that may turn out not to have been done. */
interface Entry extends Found {
  readonly stepped: readonly TensorEntry[];
  readonly more: boolean;
  isSettled: boolean;
  isRefused: boolean;
}

/** Steps that are not certain yet, in their order: one that is, and all before it, is forgotten. */
export class Journal {
  readonly #entries = new Set<Entry>();

  /** Enters the step that is about to be counted, and gives the function that says how it turned out. */
  enter<Options extends GroupOptions>(parts: Parts<Options>, more: boolean): (isRefused: boolean) => void {
    const stepped: TensorEntry[] = [];
    for (const { members } of parts.steppers) for (const member of members) if (hasGrad(member)) stepped.push(member);
    const entry: Entry = { stepped, more, isSettled: false, isRefused: false, ...find(parts, stepped) };
    this.#entries.add(entry);
    return (isRefused) => {
      if (!this.#entries.has(entry)) return;
      entry.isSettled = true;
      entry.isRefused ||= isRefused;
      if (isRefused) this.#keepAnew(parts);
      for (const each of this.#entries) {
        if (!each.isSettled) break;
        this.#entries.delete(each);
      }
    };
  }

  /** Forgets what was entered: the books are what they are now. */
  clear(): void {
    this.#entries.clear();
  }

  /** Keeps the books as if what was refused had never been asked for. */
  #keepAnew<Options extends GroupOptions>(parts: Parts<Options>): void {
    const entries = [...this.#entries];
    for (const { stepped, step, isUnfinished, latest, done } of entries.toReversed()) {
      parts.step = step;
      parts.isUnfinished = isUnfinished;
      for (const [i, member] of stepped.entries()) member.latest = latest[i];
      for (const member of parts.members.values()) member.isDone = done.includes(member);
    }
    for (const entry of entries) {
      const { more } = entry;
      const stepped = new Set(entry.stepped);
      const takesPart: TakesPart = (member) => stepped.has(member);
      Object.assign(entry, find(parts, entry.stepped));
      if (!entry.isRefused) keepBooks(parts, stepToTake(parts, more, takesPart), more, takesPart);
    }
  }
}

function find<Options extends GroupOptions>(
  { step, isUnfinished, steppers }: Parts<Options>,
  stepped: readonly TensorEntry[],
): Found {
  const done = isUnfinished ? steppers.flatMap(({ members }) => members.filter(({ isDone }) => isDone)) : [];
  return { step, isUnfinished, latest: stepped.map(({ latest }) => latest), done };
}

/** The number of the step, from 0, that is to be taken by the tensors that have a gradient. */
export function stepToTake<Options extends GroupOptions>(
  { steppers, step, isUnfinished }: Parts<Options>,
  more: boolean,
  takesPart = hasGrad,
): number {
  if (isUnfinished) return step;
  for (let g = 0; g < steppers.length; g++) {
    const { members } = steppers[g];
    // Where parts are announced the first of them begins a step, whichever tensor it is of.
    for (let i = 0; i < members.length; i++) {
      if (members[i].latest === step && (more || takesPart(members[i]))) return step + 1;
    }
  }
  return step;
}

/** Counts the step that is made, of the number that `stepToTake` gave, by the tensors that have a gradient. */
export function keepBooks<Options extends GroupOptions>(
  parts: Parts<Options>,
  step: number,
  more: boolean,
  takesPart = hasGrad,
): void {
  for (let g = 0; g < parts.steppers.length; g++) {
    const { members } = parts.steppers[g];
    for (let i = 0; i < members.length; i++) {
      const member = members[i];
      const isTaken = takesPart(member);
      if (isTaken) member.latest = step;
      member.isDone = more && (member.isDone || isTaken);
    }
  }
  parts.step = step;
  parts.isUnfinished = more;
}
