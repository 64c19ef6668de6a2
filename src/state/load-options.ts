// The options of loading a state dict.

import { expect, expectOptions } from '../errors.js';
import { ownProperties } from './capture.js';

/** The options of `loadStateDict` and `loadCheckpoint`. */
export interface LoadOptions {
  /**
   * 'saved' (the default) loads the options of the state dict, as PyTorch does. 'current' keeps the options that the
   * groups have now, and also their schedules, decay masks and frozen tensors.
   */
  options?: 'saved' | 'current' | undefined;
  /**
   * Whether the state dict must have the same tensors in the same groups. Default true. With false, tensors are matched
   * by name, in any group; those that only one side has stay as they are. A tensor of another length still throws.
   */
  strict?: boolean | undefined;
}

/** The tensors that only one side has, as PyTorch's `load_state_dict` returns them; none with `strict`. */
export interface IncompatibleNames {
  /** Tensors of the optimizer that the state dict or `params` lacks. Their state or their values stay as they are. */
  missing: string[];
  /** Tensors of the state dict or of `params` that the optimizer lacks. */
  unexpected: string[];
}

/** Added to errors about options that differ. */
export const TO_KEEP_OPTIONS = " To keep the optimizer's options, load with options: 'current'.";

/** Added to errors about tensors that only one side has. */
export const TO_LOAD_COMMON = ' To load only the tensors that both have, load with strict: false.';

/** Reads the options of `what`, each once. `others`: names of options besides those of LoadOptions. */
export function readLoadOptions<Other extends string = never>(
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
