// The numbers of a gradient scaler, in PyTorch's names: what they may be, as options and in a state dict.

import { expect, expectKeys, isCount, isRecord, ownOf } from '../errors.js';

/** What `stateDict()` of a scaler resolves to, in PyTorch's names: `torch.amp.GradScaler.load_state_dict` takes it. */
export interface ScalerStateDict {
  /** The scale, an f32. */
  scale: number;
  /** `growthFactor`. */
  growth_factor: number;
  /** `backoffFactor`. */
  backoff_factor: number;
  /** `growthInterval`. */
  growth_interval: number;
  /** The updates without an overflow since the scale changed last. */
  _growth_tracker: number;
}

/** The limits of the scale: it and its reciprocal are normal f32 numbers, which no GPU flushes to zero. */
export const LEAST_SCALE = 2 ** -126;
export const MOST_SCALE = 2 ** 126;

const MOST_U32 = 2 ** 32 - 1;

const wanted: Readonly<Record<keyof ScalerStateDict, readonly [isGood: (value: number) => boolean, what: string]>> = {
  scale: [(value) => value >= LEAST_SCALE && value <= MOST_SCALE, 'a number from 2^-126 to 2^126'],
  growth_factor: [(value) => value > 1 && value < Infinity, 'a finite number greater than 1'],
  backoff_factor: [(value) => value > 0 && value < 1, 'a number greater than 0 and less than 1'],
  growth_interval: [(value) => isCount(value, 1) && value <= MOST_U32, `a whole number from 1 to ${MOST_U32}`],
  _growth_tracker: [(value) => isCount(value) && value <= MOST_U32, `a whole number from 0 to ${MOST_U32}`],
};

/** Throws unless `value` can be the number `key` of a scaler. The message calls it `what`. */
export function checkScalerNumber(key: keyof ScalerStateDict, what: string, value: unknown): asserts value is number {
  const [isGood, range] = wanted[key];
  expect(typeof value === 'number' && isGood(value), what, range, value);
}

/** Returns a copy of the state dict of a scaler, its scale rounded to f32. Throws unless it is one. */
export function readScalerDict(dict: unknown): ScalerStateDict {
  const what = 'the state dict of a scaler';
  const keys = Object.keys(wanted) as (keyof ScalerStateDict)[];
  expect(isRecord(dict), what, 'a record', dict);
  expectKeys(dict, what, keys);
  const own = ownOf(dict);
  for (const key of keys) checkScalerNumber(key, `${key} of ${what}`, own[key]);
  return { ...(own as unknown as ScalerStateDict), scale: Math.fround(own.scale as number) };
}
