// The options of loading a state dict.

import { expect, expectOptions } from '../errors.js';
import { ownProperties } from './capture.js';

/** The options of `loadStateDict` and `loadCheckpoint`. */
export interface LoadOptions {
  /**
   * Which options the groups have afterwards: 'saved', the default, those of the state dict, as in PyTorch; 'current',
   * those that they have now. With 'current', schedules, decay masks and frozen tensors stay as they are, too.
   */
  options?: 'saved' | 'current';
  /**
   * Whether the state dict must have the same tensors in the same groups. With false, tensors are found by name, in any
   * group, and those that only one side has are left alone; one of another length is still refused.
   * Default true.
   */
  strict?: boolean;
}

/** The tensors that only one side has, as PyTorch's `load_state_dict` returns them; none with `strict`. */
export interface IncompatibleNames {
  /** Tensors of the optimizer that the state dict or `params` lacks: what is lacking stays as it is. */
  missing: string[];
  /** Tensors of the state dict or of `params` that the optimizer lacks. */
  unexpected: string[];
}

/** What to do about options that differ. */
export const TO_KEEP_OPTIONS = " To keep the optimizer's options, load with options: 'current'.";

/** What to do about tensors that only one side has. */
export const TO_LOAD_COMMON = ' To load only the tensors that both have, load with strict: false.';

/** Reads the options of `what`, each once; it may have `others`. */
export function readHow<Other extends string = never>(
  given: unknown,
  what: string,
  others: readonly Other[] = [],
): Required<LoadOptions> & Partial<Record<Other, unknown>> {
  expectOptions(given, what, [...others, 'options', 'strict']);
  const own = ownProperties(given, `the options of ${what}`, 'a record');
  const { options = 'saved', strict = true } = own;
  expect(options === 'saved' || options === 'current', 'options', '"saved" or "current"', options);
  expect(typeof strict === 'boolean', 'strict', 'true or false', strict);
  const how: Required<LoadOptions> = { options, strict };
  return Object.assign(own as Partial<Record<Other, unknown>>, how);
}
