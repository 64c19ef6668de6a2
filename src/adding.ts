// Groups and tensors that come to an optimizer while it runs. The others keep their memory, and what is remembered.

import type { GroupOptions } from './algorithms/algorithm.js';
import { Unavailable } from './backends/backend.js';
import { readGroups, readTensors, type Existing, type Intake } from './groups.js';
import { register, stepperOf, takeGroup, type Parts } from './parts.js';
import { show } from './sentences.js';
import { Stepper } from './stepper.js';

/** Adds a group, as soon as there is memory for it. */
export async function addGroup<Options extends GroupOptions>(parts: Parts<Options>, group: unknown): Promise<void> {
  const { algorithm, common, steppers, backend } = parts;
  const { groups, intake } = readGroups(algorithm, [group], common, existing(parts));
  await extend(parts, intake, () => {
    const stepper = new Stepper(algorithm, groups[0], steppers.length, backend);
    // As a rule all groups are in one mode, and no step can be taken before they are.
    stepper.isTraining = steppers.every(({ isTraining }) => isTraining);
    takeGroup(parts, stepper);
  });
}

/** Adds tensors to a group, as `addGroup` does. */
export async function addTensors<Options extends GroupOptions>(
  parts: Parts<Options>,
  index: number,
  record: unknown,
): Promise<void> {
  const stepper = stepperOf(parts, index);
  const { options } = stepper.group;
  const where = ` of group ${index}`;
  const intake = readTensors(parts.algorithm, [{ options, record, where }], existing(parts));
  if (intake.sources.size === 0) throw new TypeError(`Expected at least one parameter, got ${show(record)}.`);
  await extend(parts, intake, () => {
    register(parts, stepper.add(intake.sections[0], parts.backend));
  });
}

/** Makes memory for what is new, and then has `take` take it in, all at once. */
async function extend<Options extends GroupOptions>(
  parts: Parts<Options>,
  intake: Intake,
  take: () => void,
): Promise<void> {
  if (parts.isAdding) throw new Error('Parameters are being added already: await that first.');
  parts.isAdding = true;
  try {
    const extension = await parts.backend.extend(intake);
    try {
      parts.outcomes.check();
    } catch (error) {
      extension.drop();
      throw error;
    }
    extension.take();
    take();
    parts.changes += 1;
  } catch (error) {
    if (!(error instanceof Unavailable)) throw error;
    throw new Error(`The optimizer cannot take more parameters: ${error.message}.`, { cause: error });
  } finally {
    parts.isAdding = false;
  }
}

function existing<Options extends GroupOptions>(parts: Parts<Options>): Existing {
  const { steppers, members, inOrder, memory, backend } = parts;
  return {
    groups: steppers.length,
    sections: parts.sections,
    tensors: inOrder.length,
    one: [inOrder[0].tensor.name, memory],
    has: (name) => members.has(name),
    at: (stretch) => backend.paramAt?.(stretch),
  };
}
