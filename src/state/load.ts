// Taking over a state dict, wholly or not at all.

import type { GroupOptions } from '../algorithms/algorithm.js';
import { checkWhole, type Parts } from '../parts.js';
import { parse, parseParams, type Loaded } from './parse.js';

export function load<Options extends GroupOptions>(parts: Parts<Options>, dict: unknown, params: unknown): void {
  const { algorithm, steppers, backend, outcomes } = parts;
  checkWhole(parts);
  const loaded = parse(algorithm, steppers, dict);
  const values = params === undefined ? [] : parseParams(steppers, params);
  for (const [source] of values) backend.checkWrite(source);
  // Values in the optimizer's own memory could be overwritten before they are read: those are copied.
  const own = new Set(Object.values(backend.params as Record<string, { buffer: unknown }>).map(({ buffer }) => buffer));
  // Memory first: a lost device throws there, with nothing taken over yet.
  const taken = values.map(([source, array]) => [source, own.has(array.buffer) ? array.slice() : array] as const);
  for (const [source, array] of taken) backend.write(source, array);
  for (const [group, { tensors }] of loaded.entries()) {
    for (const { member, slots } of tensors) {
      const { section, tensor } = member;
      for (const array of steppers[group].rule.slots) {
        backend.write({ section, tensor, array }, slots?.[array] ?? new Float32Array(tensor.length));
      }
    }
  }
  parts.changes += 1;
  takeCounts(parts, loaded);
  parts.journal.clear();
  outcomes.replace();
  for (const [group, { options, state, isTraining, loadSchedule, tensors }] of loaded.entries()) {
    const stepper = steppers[group];
    stepper.liveOptions.take(options);
    stepper.coefficients.load(state);
    stepper.isTraining = isTraining;
    loadSchedule();
    for (const { member, step, isFrozen } of tensors) Object.assign(member.tensor, { step, isFrozen });
  }
  backend.copyParamTo(steppers.flatMap((stepper) => stepper.fromParam()));
}

/** How many steps are completed, and who took the latest of them. */
function takeCounts<Options extends GroupOptions>(parts: Parts<Options>, loaded: readonly Loaded[]): void {
  // Other systems' dicts have no completed_steps: then it is what groups count, or tensors.
  const counts = loaded.flatMap(
    ({ completed, state, tensors }) => completed ?? state.k ?? tensors.map(({ step }) => step),
  );
  const completed = counts.reduce((most, count) => Math.max(most, count), 0);
  const took = loaded.flatMap(({ leftOut, tensors }) =>
    tensors.filter(({ member }) => !leftOut.has(member.tensor.name)).map(({ member }) => member),
  );
  // Where none took the latest step, such as one by no gradients at all, it is still to be taken.
  parts.step = took.length > 0 ? Math.max(0, completed - 1) : completed;
  for (const member of parts.members.values()) member.latest = -1;
  if (completed > 0) for (const member of took) member.latest = parts.step;
}
