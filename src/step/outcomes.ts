// What the GPU decided: how many steps it skipped. The host counts calls, and subtracts.

import type { Outcomes } from '../backends/backend.js';
import { needsNorm } from '../backends/gradient-options.js';
import type { Tensor } from '../backends/layout.js';
import { show } from '../errors.js';
import { awaitRead, beginHistory, type OptimizerState } from './state.js';

/** Resolves to what the GPU decided up to this call. */
export const readOutcomes = (state: OptimizerState): Promise<Outcomes> => awaitRead(state, state.backend.outcomes!());

/** Resolves to the number of skipped steps, and keeps those of each tensor until the next step. */
export async function readSkipped(state: OptimizerState): Promise<number> {
  const { changes } = state;
  const outcomes = await readOutcomes(state);
  outcomes.checkSubmitted();
  if (changes === state.changes) state.outcomes = outcomes;
  return outcomes.skipped;
}

/** Returns the number of steps that a tensor has skipped. Throws if it was not read from the GPU since the last step. */
export function skippedOf({ isDeferred, outcomes }: OptimizerState, tensor: Tensor): number {
  if (!isDeferred) return 0;
  if (outcomes !== undefined) return outcomes.ofTensor(tensor);
  const why = 'may have skipped some';
  throw new Error(`Only the GPU knows the steps of ${show(tensor.name)}, since it ${why}: await skippedSteps() first.`);
}

/** Records a step that may have been skipped. On the GPU, only that knows then which tensors have stepped. */
export function recordSkippable(state: OptimizerState, isTaken: boolean): void {
  const { request, backend } = state;
  if (!isTaken) state.skipped += 1;
  if (needsNorm(request)) {
    state.hasNorm = true;
    // Not before: the step could still throw.
    state.norm[0] = state.norm[1];
  }
  request.scaler?.commit(state, backend.device, !isTaken);
  if (backend.measure === undefined) deferSteps(state);
}

/** Gives the tensors of the current step other histories than the tensors that it leaves out. */
function deferSteps(state: OptimizerState): void {
  state.isDeferred = true;
  const taking = state.entriesInOrder.filter(({ grad }) => grad !== undefined);
  if (taking.length === state.entriesInOrder.length) return;
  for (const history of new Set(taking.map(({ tensor }) => tensor.history))) {
    beginHistory(
      state,
      taking.filter(({ tensor }) => tensor.history === history),
    );
  }
}
