// Taking over a state dict, wholly or not at all.

import type { GroupOptions } from '../algorithms/algorithm.js';
import { checkWhole, type Parts } from '../parts.js';
import type { ScheduleMemory } from '../schedules/schedule.js';
import { readHow, type IncompatibleNames } from './how.js';
import { parse, parseParams, type Loaded, type Parsed } from './parse.js';

export function load<Options extends GroupOptions>(
  parts: Parts<Options>,
  dict: unknown,
  given: unknown,
): IncompatibleNames {
  const { algorithm, steppers, backend, outcomes } = parts;
  checkWhole(parts);
  const { params, ...how } = readHow(given, 'loadStateDict', ['params']);
  const parsed = parse(algorithm, steppers, dict, how);
  const { values, ...others } =
    params === undefined ? { values: [], missing: [], unexpected: [] } : parseParams(steppers, params, how.strict);
  for (const [source] of values) backend.checkWrite(source);
  loadSchedules(parsed.groups, () => {
    // Memory first: a lost device throws there, with nothing taken over yet.
    for (const [source, array] of values) backend.write(source, array);
    for (const { stepper, tensors } of parsed.groups) {
      for (const { member, slots } of tensors) {
        const { section, tensor } = member;
        for (const array of stepper.rule.slots) {
          backend.write({ section, tensor, array }, slots?.[array] ?? new Float32Array(tensor.length));
        }
      }
    }
  });
  parts.changes += 1;
  takeCounts(parts, parsed);
  parts.journal.clear();
  outcomes.replace();
  for (const { stepper, options, state, isTraining, tensors } of parsed.groups) {
    stepper.liveOptions.take(options);
    stepper.coefficients.load(state);
    stepper.isTraining = isTraining;
    for (const { member, step, isFrozen } of tensors) Object.assign(member.tensor, { step, isFrozen });
  }
  backend.copyParamTo(steppers.flatMap((stepper) => stepper.fromParam()));
  const union = (key: keyof IncompatibleNames): string[] => [...new Set([...parsed[key], ...others[key]])];
  return { missing: union('missing'), unexpected: union('unexpected') };
}

/** Loads the memories of schedules, and then does `work`; if anything is refused they are as before. */
function loadSchedules<Options extends GroupOptions>(groups: readonly Loaded<Options>[], work: () => void): void {
  const undo: (() => void)[] = [];
  try {
    for (const { stepper, where, memory } of groups) {
      if (memory === undefined) continue;
      const schedule = stepper.group.options.schedule as unknown as ScheduleMemory;
      try {
        const before = schedule.stateDict();
        undo.unshift(() => schedule.loadStateDict(before));
        schedule.loadStateDict(memory);
      } catch (error) {
        throw new TypeError(`The schedule${where} is refused: ${(error as Error).message}`, { cause: error });
      }
    }
    work();
  } catch (error) {
    for (const each of undo) each();
    throw error;
  }
}

/** How many steps are completed, and who took the latest of them. */
function takeCounts<Options extends GroupOptions>(parts: Parts<Options>, loaded: Parsed<Options>): void {
  const { completed, leftOut, groups } = loaded;
  if (completed === undefined) return;
  const members = groups.flatMap(({ tensors }) => tensors.map(({ member }) => member));
  const took = members.filter(({ tensor }) => !leftOut.has(tensor.name));
  // Where none took the latest step, such as one by no gradients at all, it is still to be taken.
  parts.step = took.length > 0 ? Math.max(0, completed - 1) : completed;
  for (const member of parts.members.values()) member.latest = -1;
  if (completed > 0) for (const member of took) member.latest = parts.step;
}
