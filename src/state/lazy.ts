// What is loaded when a state dict is loaded, or tensors are added or removed.

import { loaded, type Lazy } from '../backends/lazy.js';
import { isFloat32Array } from '../backends/memory.js';
import { isRecord } from '../errors.js';

/** Code that only loading and growing need. */
export const lateState: Lazy<typeof import('./late.js')> = {};

/** Rejects with an Error if the code cannot be loaded. */
export async function loadStateCode(method: string): Promise<typeof import('./late.js')> {
  try {
    return await loaded(lateState);
  } catch (error) {
    throw new Error(`${method}() cannot run: ${(error as Error).message}.`, { cause: error });
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
