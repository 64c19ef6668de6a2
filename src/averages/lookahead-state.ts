// What Lookahead does with the state of its optimizer and of the slow weights: loading a state dict into both, and removing
// slow weights.

import { bufferOf } from '../backends/webgpu/locate.js';
import { checkUsage } from '../backends/webgpu/buffers.js';
import { copyValues, ownProperties } from '../state/capture.js';
import type { StateDict, TensorState } from '../state/dict.js';
import { load, takeOver } from '../state/load.js';
import { saveLazily } from '../state/save.js';
import { readGroup } from '../state/saved-group.js';
import { busily, checkIdle, type OptimizerState } from '../step/state.js';
import { canCount, countFrom, expect, isRecord, show } from '../errors.js';
import type { Memory } from './ema.js';
import type { IncompatibleNames } from '../state/how.js';

export { removeTensors } from '../state/grow.js';

/** The slot of the slow weights in a state dict. */
export const SLOT = 'slow_param';

/**
 * Loads a state dict of Lookahead: into both, or with an error into neither. Calls `taken` with the steps since Lookahead
 * began, which older dicts do not have.
 */
export async function loadBoth(
  optimizer: OptimizerState,
  slow: OptimizerState,
  dict: unknown,
  options: unknown,
  taken: (steps: number | undefined) => void,
): Promise<IncompatibleNames> {
  const { own, slow: slowOf, steps } = part(dict);
  const { dict: counts, params } = saveLazily(slow);
  const given = params.filter(({ name }) => slowOf.has(name));
  const values = given.map(({ name, length }): [string, Float32Array] => {
    return [name, copyValues(slowOf.get(name), length, `${SLOT} of ${show(name)}`)];
  });
  checkIdle(optimizer, 'loadStateDict');
  const loading = busily(optimizer, () => load(optimizer, own, options));
  // The slow weights' own state is only counts.
  const slowLoading = load(slow, counts, { params: Object.fromEntries(values), strict: false });
  await takeOver([loading, slowLoading], () => taken(steps));
  return loading.names;
}

/** Throws for a GPU buffer that cannot be copied from and to. */
export function checkUsages(name: string, param: Memory): void {
  const buffer = bufferOf(param);
  if (buffer === undefined) return;
  checkUsage(buffer, 'COPY_SRC', `Lookahead of ${show(name)}`);
  checkUsage(buffer, 'COPY_DST', `Lookahead of ${show(name)}`);
}

/** Adds the steps since Lookahead began. Returns the state of each tensor by name, a new one for those without. */
export function join({ state, param_groups: groups }: StateDict, steps: number): Map<string, TensorState> {
  for (const group of groups) group.lookahead_step = steps;
  return new Map(
    groups.flatMap(({ params, param_names: names }) => params.map((index, i) => [names[i], (state[index] ??= {})])),
  );
}

/** Splits what `join` joined: the optimizer's own state dict, the slow weights by name, and the steps. */
function part(dict: unknown): { own: StateDict; slow: Map<string, unknown>; steps: number | undefined } {
  const wanted = 'a record with state and param_groups';
  const { state: given, param_groups: groups } = ownProperties(dict, 'the state dict', wanted);
  expect(isRecord(given) && Array.isArray(groups), 'the state dict', wanted, dict);
  const own = { state: ownProperties(given, 'state', 'a record') as StateDict['state'], param_groups: [] as unknown[] };
  const ofIndex = new Map<string, unknown>();
  for (const [index, each] of Object.entries(own.state)) {
    const { [SLOT]: values, ...rest } = ownProperties(each, `the state of ${index}`, 'a record');
    ofIndex.set(index, values);
    if (Object.keys(rest).length > 0) own.state[index as unknown as number] = rest as TensorState;
    else delete own.state[index as unknown as number];
  }
  const slow = new Map<string, unknown>();
  let steps: number | undefined;
  for (let g = 0, { length } = groups; g < length; g++) {
    const { own: group, names, indices } = readGroup(groups[g], g, undefined);
    own.param_groups.push({ ...group, params: indices, param_names: names });
    for (const [i, name] of names.entries()) slow.set(name, ofIndex.get(String(indices[i])));
    const { lookahead_step: step } = group;
    expect(step === undefined || canCount(step), `lookahead_step in param_groups[${g}]`, countFrom(0), step);
    steps ??= step;
  }
  return { own: own as unknown as StateDict, slow, steps };
}
