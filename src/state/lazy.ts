// Loads state/late.ts when it is asked for: stepping does without it. The entries of the package (src/entries/) provide it.

import { isFloat32Array } from '../backends/memory.js';
import { isRecord } from '../errors.js';

/** What is loaded late. */
export type StateCode = typeof import('./late.js');

let loadCode = (): Promise<StateCode> => Promise.reject(new Error('this build of twinstep has none'));
let loaded: StateCode | undefined;

/** Sets how the code is loaded; an entry that has it at once gives the code itself. */
export function provideState(code: StateCode | typeof loadCode): void {
  if (typeof code === 'function') loadCode = code;
  else loaded = code;
}

/** The code, if it was loaded before: then a call needs not wait. */
export const stateCode = (): StateCode | undefined => loaded;

/** Rejects with an Error if the code cannot be loaded. */
export async function loadStateCode(method: string): Promise<StateCode> {
  try {
    return (loaded = await loadCode());
  } catch (error) {
    throw new Error(`${method}() needs code that cannot be loaded here (${error}).`, { cause: error });
  }
}

/** How deep state dicts are nested at most, with the memory of a schedule. */
const MOST_LEVELS = 8;

/** A copy of records, arrays and Float32Arrays, since the caller may change them while code is loaded. */
export function snapshot(value: unknown, levels = MOST_LEVELS): unknown {
  try {
    if (isFloat32Array(value)) return new Float32Array(value);
    if (levels === 0) return value;
    if (Array.isArray(value)) {
      const copy: unknown[] = [];
      for (let i = 0; i < value.length; i++) {
        // A long sparse array costs nothing: it will be refused.
        if (!(i in value)) return value;
        copy.push(snapshot(value[i], levels - 1));
      }
      return copy;
    }
    if (!isRecord(value)) return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, snapshot(item, levels - 1)]));
  } catch {
    // What cannot be read will be refused.
    return value;
  }
}
