// The option `backend`.

import type { BackendName, Wanted } from './backend.js';
import { expect } from '../errors.js';

/**
 * Returns a function that checks the option `backend`. It is one of `modes`, one of `known`, or a list of the latter;
 * without a value, the first of them. The function returns a copy of a list, since the caller may change it while code
 * is loaded. `hint` ends an error message.
 */
export function wantedReader(modes: readonly string[], known: readonly BackendName[], hint = ''): ReadWanted {
  const names: readonly unknown[] = [...modes, ...known];
  return (wanted = names[0]) => {
    if (!Array.isArray(wanted)) {
      expect(names.includes(wanted), 'backend', `one of ${names.join(', ')}, or a list of backends${hint}`, wanted);
      return wanted as Wanted;
    }
    // Read once: the array may be a Proxy, whose length changes.
    const { length } = wanted;
    expect(length > 0, 'backend', 'a name, or a list of at least one', wanted);
    const list: BackendName[] = [];
    for (let i = 0; i < length; i++) {
      const name = wanted[i] as BackendName;
      expect(known.includes(name), `backend[${i}]`, `one of ${known.join(', ')}${hint}`, name);
      expect(!list.includes(name), `backend[${i}]`, 'another backend than those before it', name);
      list.push(name);
    }
    return list;
  };
}

export type ReadWanted = (wanted: unknown) => Wanted;
