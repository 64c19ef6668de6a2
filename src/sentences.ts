// What error messages are made of. Every refusal is a sentence with the offending value in it.

/** Throws unless `ok`. In a step, where even a string costs, ask first and throw `unexpected` yourself. */
export function expect(ok: boolean, what: string, wanted: string, value: unknown): asserts ok {
  if (!ok) throw unexpected(what, wanted, value);
}

export const unexpected = (what: string, wanted: string, value: unknown): TypeError =>
  new TypeError(`Expected ${what} to be ${wanted}, got ${show(value)}.`);

/** A record: an object with named properties, as opposed to an array, a Map, a Promise or anything else of a class. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  try {
    return tagOf(value) === 'Object';
  } catch {
    // A revoked Proxy, or a tag that throws.
    return false;
  }
}

/** 'Map' for a Map. */
const tagOf = (value: unknown): string => Object.prototype.toString.call(value).slice(8, -1);

/** Throws unless the options of `what` are a record, of these names alone. */
export function expectOptions(
  options: unknown,
  what: string,
  names: readonly string[],
): asserts options is Record<string, unknown> {
  expect(isRecord(options), `the options of ${what}`, 'a record', options);
  const strangers = Object.keys(options).filter((name) => !names.includes(name));
  if (strangers.length > 0) throw new TypeError(`Unknown option ${list(strangers)}; ${what} has ${list(names)}.`);
}

/** A whole number, small enough to be exact, of at least `least`. */
export function isCount(value: unknown, least = 0): value is number {
  return Number.isSafeInteger(value) && (value as number) >= least;
}

/** A value as a message shows it: short, and telling a string or a bigint from a number. Never throws. */
export function show(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(cut(value));
  // Writing a long bigint in decimals takes the square of its length.
  if (typeof value === 'bigint') return BigInt.asIntN(128, value) === value ? `${value}n` : 'a bigint of over 128 bits';
  if (typeof value === 'function') return 'a function';
  if (typeof value !== 'object' || value === null) return cut(String(value));
  try {
    return cut(showObject(value));
  } catch {
    return 'an object that throws when it is read';
  }
}

const cut = (text: string): string => (text.length > 80 ? `${text.slice(0, 80)}…` : text);

function showObject(value: object): string {
  if (Array.isArray(value) && value.length <= 4) {
    // By index: an array of the caller's may have another iterator.
    const items = Array.from({ length: value.length }, (_, i): unknown => value[i]);
    if (!items.some(Array.isArray)) return `[${items.map(show).join(', ')}]`;
  }
  // A record's own `constructor` may be anything.
  const isNamed = isRecord(value) && typeof value.constructor === 'function';
  const name = cut(String(isNamed ? value.constructor.name : tagOf(value)));
  const length = Array.isArray(value) || ArrayBuffer.isView(value) ? (value as { length?: number }).length : undefined;
  return length !== undefined ? `${name}(${length})` : `${/^[AEIOU]/.test(name) ? 'an' : 'a'} ${name}`;
}

/** "a", "b" and 3 more. */
export function list(names: readonly string[], most = 8): string {
  const shown = names.slice(0, most).map(show);
  return shown.join(', ') + (names.length > most ? ` and ${names.length - most} more` : '');
}
