// Saves the state of an optimizer: as a whole, or array by array.

import type { Floats } from '../platform.js';
import type { ArrayOf } from '../backends/backend.js';
import { awaitRead, checkBetweenSteps, checkUsable, type OptimizerState } from '../step/state.js';
import { show } from '../errors.js';
import { describe, type StateDict, type TensorState, type UnreadArray } from './dict.js';
import { readOutcomes, skippedOf } from '../step/outcomes.js';
import type { Tensor } from '../backends/layout.js';

/** A parameter that has not been read yet. */
export interface LazyParam {
  /** The name of the tensor. */
  readonly name: string;
  /** The number of its values. */
  readonly length: number;
  /**
   * Reads the array, on the GPU from its buffer.
   *
   * @returns A promise of a copy, flat.
   * @throws Error if the optimizer has stepped or changed otherwise since. The promise rejects with it.
   * @example
   * for (const { name, read } of optimizer.lazyStateDict().params) console.log(name, await read());
   */
  read(): Promise<Floats>;
}

/**
 * An array of a state dict that has not been read yet. It belongs into `state`, that of the tensor `name`, as `slot`.
 */
export interface LazyArray extends LazyParam {
  /** Its slot, such as `exp_avg`. */
  readonly slot: string;
  /** The state of its tensor in the dict. */
  readonly state: TensorState;
}

export async function save(state: OptimizerState): Promise<StateDict> {
  checkBetweenSteps(state);
  const { dict, arrays } = describe(state);
  // Both are of this moment: nothing is awaited between them.
  const deciding = state.isDeferred ? readOutcomes(state) : undefined;
  const sources = arrays.map(({ source }) => source);
  const reading = awaitRead(state, state.backend.read(sources, true));
  const [values, outcomes] = await Promise.all([reading, deciding]);
  for (const [i, { state: ofTensor, slot }] of arrays.entries()) ofTensor[slot] = values[i];
  if (outcomes !== undefined) subtractSkipped(dict, arrays, (tensor) => outcomes.ofTensor(tensor));
  return dict;
}

/** Subtracts skipped steps. Drops the state of tensors that have skipped all. */
function subtractSkipped(
  { state }: StateDict,
  arrays: readonly UnreadArray[],
  skipped: (tensor: Tensor) => number,
): void {
  const tensorOf = new Map(arrays.map(({ state: ofTensor, source }) => [ofTensor, source.tensor]));
  for (const [index, ofTensor] of Object.entries(state)) {
    const step = (ofTensor.step as number) - skipped(tensorOf.get(ofTensor)!);
    ofTensor.step = step;
    if (step === 0) delete state[Number(index)];
  }
}

/** Returns the dict without its arrays, and functions that read these and the parameters. */
export function saveLazily(state: OptimizerState): { dict: StateDict; params: LazyParam[]; arrays: LazyArray[] } {
  checkBetweenSteps(state);
  const { dict, arrays: all } = describe(state);
  if (state.isDeferred) subtractSkipped(dict, all, (tensor) => skippedOf(state, tensor));
  const arrays = all.filter(({ state: { step } }) => step !== 0);
  const { changes } = state;
  const checkUnchanged = (name: string): void => {
    checkUsable(state);
    if (changes === state.changes) return;
    throw new Error(`The optimizer changed before ${show(name)} of its lazy state dict was read.`);
  };
  const read = async (source: ArrayOf): Promise<Floats> => {
    checkUnchanged(source.tensor.name);
    const [values] = await awaitRead(state, state.backend.read([source], true));
    checkUnchanged(source.tensor.name);
    return values;
  };
  const lazy = arrays.map(({ source, state: ofTensor, slot }) => {
    const { name, length } = source.tensor;
    return { name, slot, length, state: ofTensor, read: () => read(source) };
  });
  const params = state.groups
    .flatMap(({ names }) => names)
    .map((name) => {
      const { section, tensor } = state.entries.get(name)!;
      return { name, length: tensor.length, read: () => read({ section, tensor, array: 'param' }) };
    });
  return { dict, params, arrays: lazy };
}
