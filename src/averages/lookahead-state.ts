// The state of Lookahead: state dicts of its optimizer and slow weights in one, and removing slow weights.

import { bufferOf } from '../backends/webgpu/locate.js';
import { checkUsage } from '../backends/webgpu/buffers.js';
import { copyValues } from '../state/capture.js';
import type { StateDict, TensorState } from '../state/dict.js';
import { load, writeTogether } from '../state/load.js';
import { readDict } from '../state/match.js';
import { saveLazily } from '../state/save.js';
import { checkIdle, whileBusy, type OptimizerState } from '../step/state.js';
import { canCount, countFrom, expect, ownOf, show } from '../errors.js';
import type { Memory } from './ema.js';
import type { IncompatibleNames } from '../state/load-options.js';

export { removeTensors } from '../state/grow.js';

/** The slot of the slow weights in a state dict. */
export const SLOT = 'slow_param';

/**
 * Loads a state dict of Lookahead into both, or, with an error, into neither. Then calls `onLoaded` with the steps
 * since Lookahead was created, or with undefined for older dicts, which do not have them.
 */
export async function loadBoth(
  optimizer: OptimizerState,
  slow: OptimizerState,
  dict: unknown,
  options: unknown,
  onLoaded: (steps: number | undefined) => void,
): Promise<IncompatibleNames> {
  const { own, slow: slowOf, steps } = split(dict);
  const { dict: counts, params } = saveLazily(slow);
  const given = params.filter(({ name }) => slowOf.has(name));
  const values = given.map(({ name, length }): [string, Float32Array] => {
    return [name, copyValues(slowOf.get(name), length, `${SLOT} of ${show(name)}`)];
  });
  checkIdle(optimizer, 'loadStateDict');
  const loading = whileBusy(optimizer, () => load(optimizer, own, options));
  // The own state of the slow weights has only counters, no arrays.
  const slowLoading = load(slow, counts, { params: Object.fromEntries(values), strict: false });
  await writeTogether([loading, slowLoading], () => onLoaded(steps));
  return loading.names;
}

/** Throws for a GPU buffer that lacks COPY_SRC or COPY_DST usage. */
export function checkUsages(name: string, param: Memory): void {
  const buffer = bufferOf(param);
  if (buffer === undefined) return;
  checkUsage(buffer, 'COPY_SRC', `Lookahead of ${show(name)}`);
  checkUsage(buffer, 'COPY_DST', `Lookahead of ${show(name)}`);
}

/**
 * Adds the steps since Lookahead was created. Returns the state of each tensor by name. Tensors without one get one.
 */
export function join({ state, param_groups: groups }: StateDict, steps: number): Map<string, TensorState> {
  for (const group of groups) group.lookahead_step = steps;
  return new Map(
    groups.flatMap(({ params, param_names: names }) => params.map((index, i) => [names[i], (state[index] ??= {})])),
  );
}

/** Splits what `join` joined: returns the optimizer's own state dict, the slow weights by name, and the steps. */
function split(dict: unknown): { own: StateDict; slow: Map<string, unknown>; steps: number | undefined } {
  const { state, groups, byName } = readDict(dict);
  const slow = new Map<string, unknown>();
  for (const [name, { index, state: each = {} }] of byName) {
    const { [SLOT]: values, ...rest } = ownOf(each);
    slow.set(name, values);
    if (Object.keys(rest).length > 0) state[index] = rest;
    else delete state[index];
  }
  let steps: number | undefined;
  for (const { own: group, where } of groups) {
    const { lookahead_step: step } = group;
    expect(step === undefined || canCount(step), `lookahead_step${where}`, countFrom(0), step);
    steps ??= step;
  }
  const ownGroups = groups.map(({ own: group, indices, names }) => ({ ...group, params: indices, param_names: names }));
  return { own: { state, param_groups: ownGroups } as unknown as StateDict, slow, steps };
}
