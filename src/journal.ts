// Which step of the optimizer a tensor took last: what schedules count, and what a step in parts takes once. Schedules
// count for all tensors alike, so that one which is left out or comes late keeps up; and a step may be taken one tensor at
// a time, so that it ends where a tensor has its second gradient.

import type { GroupOptions } from './algorithms/algorithm.js';
import type { Parts } from './parts.js';
import type { Member } from './runs.js';

type TakesPart = (member: Member) => boolean;

const hasGrad: TakesPart = ({ grad }) => grad !== undefined;

/** What is counted. */
interface Books {
  readonly step: number;
  readonly isUnfinished: boolean;
  readonly members: ReadonlyMap<Member, Pick<Member, 'latest' | 'isDone'>>;
}

/** A step that may turn out not to have been done. */
interface Entry {
  readonly stepped: ReadonlySet<Member>;
  readonly more: boolean;
  isSettled: boolean;
  isRefused: boolean;
}

/** Steps that are not certain yet, and the books before the first of them. */
export class Journal {
  #before: Books | undefined;
  #entries: Entry[] = [];

  /** Enters the step that is being made, and gives the functions that say how it turned out. */
  enter<Options extends GroupOptions>(parts: Parts<Options>, more: boolean): (isRefused: boolean) => void {
    const members = [...parts.members.values()];
    this.#before ??= {
      step: parts.step,
      isUnfinished: parts.isUnfinished,
      members: new Map(members.map((member) => [member, { latest: member.latest, isDone: member.isDone }])),
    };
    const entry = { stepped: new Set(members.filter(hasGrad)), more, isSettled: false, isRefused: false };
    this.#entries.push(entry);
    return (isRefused) => {
      if (!this.#entries.includes(entry)) return;
      entry.isSettled = true;
      entry.isRefused = isRefused;
      if (isRefused) this.#keepAnew(parts);
      if (this.#entries.every(({ isSettled }) => isSettled)) this.clear();
    };
  }

  /** Forgets what was entered: the books are what they are now. */
  clear(): void {
    this.#before = undefined;
    this.#entries = [];
  }

  /** Keeps the books as if what was refused had never been asked for. */
  #keepAnew<Options extends GroupOptions>(parts: Parts<Options>): void {
    const { step, isUnfinished, members } = this.#before!;
    parts.step = step;
    parts.isUnfinished = isUnfinished;
    for (const member of parts.members.values()) {
      Object.assign(member, members.get(member) ?? { latest: -1, isDone: false });
    }
    for (const { stepped, more, isRefused } of this.#entries) {
      if (!isRefused) keepBooks(parts, more, (member) => stepped.has(member));
    }
  }
}

/** The number of the step, from 0, that is to be taken by the tensors that have a gradient. */
export function stepToTake<Options extends GroupOptions>(
  { steppers, step, isUnfinished }: Parts<Options>,
  more: boolean,
  takesPart = hasGrad,
): number {
  if (isUnfinished) return step;
  for (const { members } of steppers) {
    // Where parts are announced the first of them begins a step, whichever tensor it is of.
    for (const member of members) if (member.latest === step && (more || takesPart(member))) return step + 1;
  }
  return step;
}

/** Counts the step that is made, by the tensors that have a gradient. */
export function keepBooks<Options extends GroupOptions>(
  parts: Parts<Options>,
  more: boolean,
  takesPart = hasGrad,
): void {
  const step = stepToTake(parts, more, takesPart);
  for (const { members } of parts.steppers) {
    for (const member of members) {
      const isTaken = takesPart(member);
      if (isTaken) member.latest = step;
      member.isDone = more && (member.isDone || isTaken);
    }
  }
  parts.step = step;
  parts.isUnfinished = more;
}
