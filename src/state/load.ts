// Taking over a state dict, wholly or not at all.

import type { GroupOptions } from '../algorithms/algorithm.js';
import { checkFinished, type Parts } from '../parts.js';
import { parse, parseParams } from './parse.js';

export function load<Options extends GroupOptions>(parts: Parts<Options>, dict: unknown, params: unknown): void {
  const { algorithm, steppers, backend, outcomes } = parts;
  checkFinished(parts);
  const loaded = parse(algorithm, steppers, dict);
  const values = params === undefined ? [] : parseParams(steppers, params);
  for (const [source] of values) backend.checkWrite(source);
  // Memory first: a lost device throws there, with nothing taken over yet.
  for (const [source, array] of values) backend.write(source, array);
  for (const [group, { tensors }] of loaded.entries()) {
    for (const { member, slots } of tensors) {
      const { section, tensor } = member;
      for (const array of steppers[group].rule.slots) {
        backend.write({ section, tensor, array }, slots?.[array] ?? new Float32Array(tensor.length));
      }
    }
  }
  parts.changes += 1;
  outcomes.replace();
  for (const [group, { options, state, isTraining, loadSchedule, tensors }] of loaded.entries()) {
    const stepper = steppers[group];
    Object.assign(stepper.group.options, options);
    Object.assign(stepper.state, state);
    stepper.isTraining = isTraining;
    loadSchedule();
    for (const { member, step, isFrozen } of tensors) Object.assign(member.tensor, { step, isFrozen });
  }
  backend.writeParam(steppers.flatMap((stepper) => stepper.fromParam()));
}
