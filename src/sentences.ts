// What error messages are made of. Every refusal is a sentence with the offending value in it.

/** Throws unless `ok`. In a step, where even a string costs, ask first and throw `unexpected` yourself. */
export function expect(ok: boolean, what: string, wanted: string, value: unknown): asserts ok {
  if (!ok) throw unexpected(what, wanted, value);
}

export const unexpected = (what: string, wanted: string, value: unknown): TypeError =>
  new TypeError(`Expected ${what} to be ${wanted}, got ${show(value)}.`);

/** The class of a value, also of one from another realm, where instanceof fails: "Float32Array", "GPUBuffer", ... */
export function classOf(value: unknown): string {
  return Object.prototype.toString.call(value).slice(8, -1);
}

/** A value as a message shows it: short, and telling a string from a number. */
export function show(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value);
  if (typeof value === 'function') return 'a function';
  if (Array.isArray(value) && value.length <= 4) return `[${value.map(show).join(', ')}]`;
  if (typeof value !== 'object' || value === null) return String(value);
  const { length } = value as { length?: unknown };
  const name = classOf(value) === 'Object' ? (value.constructor?.name ?? 'Object') : classOf(value);
  return typeof length === 'number' ? `${name}(${length})` : `${/^[AEIOU]/.test(name) ? 'an' : 'a'} ${name}`;
}

/** "a", "b" and 3 more. */
export function list(names: readonly string[], most = 8): string {
  const shown = names.slice(0, most).map((name) => JSON.stringify(name));
  return shown.join(', ') + (names.length > most ? ` and ${names.length - most} more` : '');
}
