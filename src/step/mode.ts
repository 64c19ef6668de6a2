// Train mode and eval mode, for algorithms that evaluate an average of their parameters (Schedule-Free).

import type { AnyAlgorithm, GroupOptions } from '../algorithms/algorithm.js';
import type { Plan, TensorEntry } from '../backends/plan.js';
import type { Tensor } from '../backends/layout.js';
import { loadedFor, type Lazy } from '../backends/lazy.js';
import type { Update } from '../rules/rule.js';
import type * as rules from '../rules/table.js';
import type { Group } from './group.js';
import { awaitRead, type Modes, type OptimizerState } from './state.js';

/** The module of the rule `extrapolate`. */
interface Extrapolation {
  readonly extrapolate: Update<typeof rules.extrapolate>;
}

/**
 * Switches groups to train mode or to eval mode, or records that. Does nothing for groups that are in that mode already.
 */
function switchTo(
  state: OptimizerState,
  groups: readonly Group[],
  isTraining: boolean,
  encoder: GPUCommandEncoder | undefined,
): void {
  const changing = groups.filter((group) => group.isTraining !== isTraining);
  if (changing.length === 0) return;
  state.changes += 1;
  const plans = changing.map((group) => prepare(state, group, !isTraining));
  state.backend.run(plans, encoder);
  if (encoder !== undefined) state.backend.countRecorded!();
  for (const group of changing) group.isTraining = isTraining;
}

/** Finds the runs of tensors that have stepped, and writes their scalars. Returns the plan that switches the group. */
function prepare({ algorithm }: OptimizerState, group: Group, toAverage: boolean): Plan {
  const { rule } = algorithm.average!;
  const scalars = averageScalars(algorithm, group.spec.options, toAverage);
  for (const section of group.sections) {
    section.find(hasStepped, group.shareScalars);
    for (let k = 0; k < section.count; k++) {
      for (const [i, name] of rule.scalars.entries()) section.runs[k].scalars[i] = scalars[name];
    }
  }
  return { rule, sections: group.sections, corrections: undefined };
}

const hasStepped = ({ tensor }: TensorEntry): boolean => tensor.step > 0;

/** Returns the scalars, by name, of the kernel that moves parameters to the average or back. */
export function averageScalars(
  { average }: AnyAlgorithm,
  options: Readonly<GroupOptions>,
  toAverage: boolean,
): Record<string, number> {
  const scalars = {};
  average!.prepare(scalars, options, toAverage);
  return scalars;
}

/** In eval mode, and before its first step, a parameter is the average. */
const isAverage = (group: Group, tensor: Tensor): boolean => !group.isTraining || tensor.step === 0;

/** Records averages into the caller's buffers, in either mode. */
function encodeAverages(
  { algorithm, backend, groups }: OptimizerState,
  destinations: ReadonlyMap<TensorEntry, unknown>,
  encoder: GPUCommandEncoder,
): void {
  const { rule } = algorithm.average!;
  const scalars = groups.map(({ spec }) => {
    const byName = averageScalars(algorithm, spec.options, true);
    return Float32Array.from(rule.scalars, (name) => byName[name]);
  });
  const averages = Array.from(destinations, ([{ group, section, tensor }, destination]) => {
    return { section, tensor, destination, scalars: isAverage(groups[group], tensor) ? undefined : scalars[group] };
  });
  backend.encodeAverages!(rule, averages, encoder);
}

/** Resolves to the average of a parameter, in either mode. */
async function readAverage(
  state: OptimizerState,
  { group: index, section, tensor }: TensorEntry,
  code: Lazy<Extrapolation>,
): ReturnType<Modes['readAverage']> {
  const { algorithm, backend } = state;
  const { rule } = algorithm.average!;
  const group = state.groups[index];
  const isRead = isAverage(group, tensor);
  const names = isRead ? ['param'] : ['param', ...rule.slots];
  const { weight } = averageScalars(algorithm, group.spec.options, true);
  const [param, z] = await awaitRead(state, backend.read(names.map((array) => ({ section, tensor, array }))));
  if (!isRead) {
    const { extrapolate } = await loadedFor('read', code);
    extrapolate(0, param.length, { param, z, grad: param }, { weight: Math.fround(weight) });
  }
  return param;
}

/**
 * Returns what is passed to `creator` for the algorithms that have these modes. `code` computes an average on the CPU, and
 * may be loaded late.
 */
export const modesBy = (code: Lazy<Extrapolation>): Modes => ({
  switchTo,
  readAverage: (state, entry) => readAverage(state, entry, code),
  encodeAverages,
});
