// Copies what callers pass and may change while code is loaded.

import { isFloat32Array } from '../backends/memory.js';
import { isRecord } from '../errors.js';

/** Maximum nesting: of a state dict, including the state of a schedule. */
const MOST_LEVELS = 8;

/**
 * Copies records, arrays, and with `ofValues` Float32Arrays, since the caller may change them while code is loaded.
 */
export function snapshot(value: unknown, ofValues = true, levels = MOST_LEVELS): unknown {
  try {
    if (isFloat32Array(value)) return ofValues ? new Float32Array(value) : value;
    if (levels === 0) return value;
    if (Array.isArray(value)) {
      const copy: unknown[] = [];
      for (let i = 0; i < value.length; i++) {
        // Stops at a hole, since a sparse array may be long. The array is refused later.
        if (!(i in value)) return value;
        copy.push(snapshot(value[i], ofValues, levels - 1));
      }
      return copy;
    }
    if (!isRecord(value)) return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, snapshot(item, ofValues, levels - 1)]));
  } catch {
    // What cannot be read is refused later.
    return value;
  }
}
