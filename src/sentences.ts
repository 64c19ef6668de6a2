// What error messages are made of. Every refusal is a sentence with the offending value in it.

/** Throws unless `ok`. In a step, where even a string costs, ask first and throw `unexpected` yourself. */
export function expect(ok: boolean, what: string, wanted: string, value: unknown): asserts ok {
  if (!ok) throw unexpected(what, wanted, value);
}

export const unexpected = (what: string, wanted: string, value: unknown): TypeError =>
  new TypeError(`Expected ${what} to be ${wanted}, got ${show(value)}.`);

/** A record: an object with named properties, as opposed to an array, a Map, a Promise or anything else of a class. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return Object.prototype.toString.call(value) === '[object Object]';
}

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

/** A value as a message shows it: short, and telling a string or a bigint from a number. */
export function show(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 80 ? `${value.slice(0, 80)}…` : value);
  if (typeof value === 'bigint') return `${value}n`;
  if (typeof value === 'function') return 'a function';
  if (typeof value !== 'object' || value === null) return String(value);
  const isShort = Array.isArray(value) && value.length <= 4 && value.every((item) => !Array.isArray(item));
  if (isShort) return `[${Array.from(value, show).join(', ')}]`;
  const tag = Object.prototype.toString.call(value).slice(8, -1);
  // A record's own `constructor` may be anything.
  const name = isRecord(value) && typeof value.constructor === 'function' ? value.constructor.name : tag;
  const length = Array.isArray(value) || ArrayBuffer.isView(value) ? (value as { length?: number }).length : undefined;
  return length !== undefined ? `${name}(${length})` : `${/^[AEIOU]/.test(name) ? 'an' : 'a'} ${name}`;
}

/** "a", "b" and 3 more. */
export function list(names: readonly string[], most = 8): string {
  const shown = names.slice(0, most).map(show);
  return shown.join(', ') + (names.length > most ? ` and ${names.length - most} more` : '');
}
