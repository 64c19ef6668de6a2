// Copies of parameters.

import { arraysOf } from '../backends/layout.js';
import { entryOf, type OptimizerState } from '../step/state.js';
import type { Arrays } from '../rules/rule.js';
import { loaded, reference } from '../backends/lazy.js';
import { show } from '../errors.js';

/** A copy of a parameter as it is now; with `average` of the average, in either mode. */
export async function readParam(state: OptimizerState, name: string, average: boolean): Promise<Float32Array> {
  const { algorithm, groups, backend, failure } = state;
  const { group: index, section, tensor } = entryOf(state, name);
  const averaging = algorithm.average;
  if (average && averaging === undefined) throw new TypeError(`${algorithm.name} keeps no average of ${show(name)}.`);
  const read = (arrays: string[]): Promise<Float32Array[]> =>
    failure.settle(backend.read(arrays.map((array) => ({ section, tensor, array }))));
  // In eval mode, and before its first step, the parameter is the average.
  const group = groups[index];
  const isAway = average && group.isTraining && tensor.step > 0;
  if (averaging === undefined || !isAway) return (await read(['param']))[0];
  const { rule } = averaging;
  const names = arraysOf(rule);
  const by = group.coefficients.average(true);
  const values = await read(names);
  const { apply } = await loaded(reference);
  apply(rule, Object.fromEntries(names.map((array, i) => [array, values[i]])) as Arrays, by);
  return values[0];
}
