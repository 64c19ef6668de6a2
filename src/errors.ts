// Builds error messages: each is a sentence that contains the offending value.

/**
 * Throws unless `ok`. A step must not allocate: where `what` or `wanted` is built, test first and throw `unexpected`.
 */
export function expect(ok: boolean, what: string, wanted: string, value: unknown): asserts ok {
  if (!ok) throw unexpected(what, wanted, value);
}

/** Returns the TypeError for a bad value. */
export const unexpected = (what: string, wanted: string, value: unknown): TypeError =>
  new TypeError(`Expected ${what} to be ${wanted}, got ${show(value)}.`);

/** Returns whether `value` is an object with named properties: not an array, a Map, a Promise or another built-in. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  try {
    // Compare the whole string: a slice would allocate a string in each step.
    return Object.prototype.toString.call(value) === '[object Object]';
  } catch {
    // A revoked Proxy, or a tag that throws.
    return false;
  }
}

/** Returns 'Map' for a Map. */
export const tagOf = (value: unknown): string => Object.prototype.toString.call(value).slice(8, -1);

/** Throws unless `options` is a record that has only these names. `what` is the function that takes it. */
export function expectOptions(
  options: unknown,
  what: string,
  names: readonly string[],
): asserts options is Record<string, unknown> {
  expect(isRecord(options), `the options of ${what}`, 'a record', options);
  expectKeys(options, what, names, 'option');
}

/** Throws unless all own keys of a record are among `names`. The message calls a key a `kind`. */
export function expectKeys(record: object, what: string, names: readonly string[], kind = 'key'): void {
  const unknown = Object.keys(record).filter((name) => !names.includes(name));
  if (unknown.length === 0) return;
  throw new TypeError(`Unknown ${kind} ${list(unknown)}; ${what} has ${list(names)}.${suggest(unknown[0], names)}`);
}

/** Returns the message for names that no parameter has. */
export const noParameter = (unknown: readonly string[], where: string, known: readonly string[]): string =>
  `There is no parameter ${list(unknown)}${where}; there are ${list(known)}.${suggest(unknown[0], known)}`;

/** Throws for more than `most` arguments: an option that is not in the options record would have no effect. */
export function expectArguments(given: number, most: number, what: string): void {
  if (given > most) throw tooMany(given, most, what);
}

const tooMany = (given: number, most: number, what: string): TypeError =>
  unexpected(`the number of arguments of ${what}`, `at most ${most}`, given);

/** An empty prototype. Engines read an object whose prototype is null more slowly. */
const emptyPrototype = /* @__PURE__ */ Object.create(null) as object;

/** Returns a copy of a record without inherited properties: a page may have added some to `Object.prototype`. */
export const ownOf = <Values extends object>(record: Values): Values =>
  Object.assign(Object.create(emptyPrototype) as object, record) as Values;

/** What other libraries call our options, in lower case. */
const synonyms: Readonly<Record<string, string>> = {
  learningrate: 'lr',
  alpha: 'lr',
  beta1: 'betas',
  beta2: 'betas',
  b1: 'betas',
  b2: 'betas',
  epsilon: 'eps',
  wd: 'weightDecay',
  gradscaler: 'scaler',
  clipnorm: 'maxNorm',
  maxgradnorm: 'maxNorm',
  clipvalue: 'maxValue',
};

/**
 * Returns " Did you mean lr?" if one of `names` is a synonym of `name`, differs by a few edits, or contains it or is
 * contained in it; else "". The longer word has at least 3 letters for one edit, and at least 5 for two.
 */
export function suggest(name: string, names: readonly string[]): string {
  if (names.includes(name)) return '';
  const word = normalize(name);
  const matches = [
    (each: string) => Object.hasOwn(synonyms, word) && synonyms[word] === each,
    ...[0, 1, 2].map((edits) => (each: string) => {
      return edits * 5 <= 2 * Math.max(word.length, normalize(each).length) && isNear(word, normalize(each), edits);
    }),
    (each: string) => [normalize(each), word].every((part) => part.length > 3) && isWithin(normalize(each), word),
  ];
  for (const match of matches) {
    const near = names.find(match);
    if (near !== undefined) return ` Did you mean ${near}?`;
  }
  return '';
}

const normalize = (word: string): string =>
  word
    .slice(0, 80)
    .toLowerCase()
    .replace(/[^a-z0-9]/g, '');

const isWithin = (a: string, b: string): boolean => a.includes(b) || b.includes(a);

/** Returns whether at most `edits` edits turn `a` into `b`: to change, remove, add, or swap letters. */
function isNear(a: string, b: string, edits: number): boolean {
  let same = 0;
  while (same < a.length && a[same] === b[same]) same++;
  const [x, y] = [a.slice(same), b.slice(same)];
  if (x === y || edits === 0) return x === y;
  const isSwapped = x[0] === y[1] && x[1] === y[0];
  return [[1, 1], [1, 0], [0, 1], ...(isSwapped ? [[2, 2]] : [])].some(([i, j]) =>
    isNear(x.slice(i), y.slice(j), edits - 1),
  );
}

/** Returns whether `value` is a whole number of at least `least` that f64 represents exactly. */
export function isCount(value: unknown, least = 0): value is number {
  return Number.isSafeInteger(value) && (value as number) >= least;
}

/** Returns whether `value` is a count of at least `least` that can still be incremented. */
export const canCount = (value: unknown, least = 0): value is number =>
  isCount(value, least) && value < Number.MAX_SAFE_INTEGER && !Object.is(value, -0);

/** Describes what `canCount` accepts. */
export const countFrom = (least: number): string => `a whole number of at least ${least}, less than 2^53 - 1`;

/** Returns a short text for a value in a message. Distinguishes strings and bigints from numbers. Never throws. */
export function show(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(truncate(value));
  // Converting a bigint to decimals takes time quadratic in its length.
  if (typeof value === 'bigint') return BigInt.asIntN(128, value) === value ? `${value}n` : 'a bigint of over 128 bits';
  if (typeof value === 'function') return 'a function';
  if (Object.is(value, -0)) return '-0';
  if (typeof value !== 'object' || value === null) return truncate(String(value));
  try {
    return truncate(showObject(value));
  } catch {
    return 'an object that throws when it is read';
  }
}

const truncate = (text: string): string => (text.length > 80 ? `${text.slice(0, 80)}…` : text);

function showObject(value: object): string {
  if (Array.isArray(value) && value.length <= 8) {
    // By index: the caller's array may have its own iterator.
    const items = Array.from({ length: value.length }, (_, i): unknown => value[i]);
    if (!items.some(Array.isArray)) return `[${items.map(show).join(', ')}]`;
  }
  // A record may have a property `constructor` of any type.
  const isNamed = isRecord(value) && typeof value.constructor === 'function';
  const name = truncate(String(isNamed ? value.constructor.name : tagOf(value)));
  const length = Array.isArray(value) || ArrayBuffer.isView(value) ? (value as { length?: number }).length : undefined;
  return length !== undefined ? `${name}(${length})` : `${/^[AEIOU]/.test(name) ? 'an' : 'a'} ${name}`;
}

/** Returns `"a", "b" and 3 more`. */
export function list(names: readonly string[], most = 8): string {
  const shown = names.slice(0, most).map(show);
  return shown.join(', ') + (names.length > most ? ` and ${names.length - most} more` : '');
}
