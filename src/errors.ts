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
    // Whole, since a part of it would be a new string, and a step asks this.
    return Object.prototype.toString.call(value) === '[object Object]';
  } catch {
    // A revoked Proxy, or a tag that throws.
    return false;
  }
}

/** 'Map' for a Map. */
export const tagOf = (value: unknown): string => Object.prototype.toString.call(value).slice(8, -1);

/** Throws unless the options of `what` are a record, of these names alone. */
export function expectOptions(
  options: unknown,
  what: string,
  names: readonly string[],
): asserts options is Record<string, unknown> {
  expect(isRecord(options), `the options of ${what}`, 'a record', options);
  expectKeys(options, what, names, 'option');
}

/** Throws unless a record has own keys of these names alone; `kind` is what it calls them. */
export function expectKeys(record: object, what: string, names: readonly string[], kind = 'key'): void {
  const unknown = Object.keys(record).filter((name) => !names.includes(name));
  if (unknown.length === 0) return;
  throw new TypeError(`Unknown ${kind} ${list(unknown)}; ${what} has ${list(names)}.${suggest(unknown[0], names)}`);
}

/** What to say of names that no parameter has. */
export const noParameter = (unknown: readonly string[], where: string, known: readonly string[]): string =>
  `There is no parameter ${list(unknown)}${where}; there are ${list(known)}.${suggest(unknown[0], known)}`;

/** Throws for more arguments than `what` takes: an option outside of the record of options would act on nothing. */
export function expectArguments(given: number, most: number, what: string): void {
  if (given > most) throw tooMany(given, most, what);
}

const tooMany = (given: number, most: number, what: string): TypeError =>
  unexpected(`the number of arguments of ${what}`, `at most ${most}`, given);

/** Not null as a prototype, since engines read an object without any more slowly. */
const bare = /* @__PURE__ */ Object.create(null) as object;

/** A copy of a record's own properties, which has no others: pages may have given `Object.prototype` some. */
export const ownOf = <Values extends object>(record: Values): Values =>
  Object.assign(Object.create(bare) as object, record) as Values;

/** Names of our options in other libraries, in lower case. */
const synonyms: Readonly<Record<string, string>> = {
  learningrate: 'lr',
  alpha: 'lr',
  beta1: 'betas',
  beta2: 'betas',
  b1: 'betas',
  b2: 'betas',
  epsilon: 'eps',
  wd: 'weightDecay',
};

/**
 * " Did you mean lr?", if `name` is another word for one of `names`, nearly one, or has one in it; else "". One edit is
 * near in 3 letters of the longer word, two are in 5.
 */
export function suggest(name: string, names: readonly string[]): string {
  if (names.includes(name)) return '';
  const word = plain(name);
  const ways = [
    (each: string) => Object.hasOwn(synonyms, word) && synonyms[word] === each,
    ...[0, 1, 2].map((edits) => (each: string) => {
      return edits * 5 <= 2 * Math.max(word.length, plain(each).length) && isNear(word, plain(each), edits);
    }),
    (each: string) => [plain(each), word].every((part) => part.length > 3) && isWithin(plain(each), word),
  ];
  for (const way of ways) {
    const near = names.find(way);
    if (near !== undefined) return ` Did you mean ${near}?`;
  }
  return '';
}

const plain = (word: string): string =>
  word
    .slice(0, 80)
    .toLowerCase()
    .replace(/[^a-z0-9]/g, '');

const isWithin = (a: string, b: string): boolean => a.includes(b) || b.includes(a);

/** Whether `a` becomes `b` when at most so many letters are changed, left out, added, or swapped with the next. */
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

/** A whole number, small enough to be exact, of at least `least`. */
export function isCount(value: unknown, least = 0): value is number {
  return Number.isSafeInteger(value) && (value as number) >= least;
}

/** A count of at least `least` to which the next step can add. */
export const canCount = (value: unknown, least = 0): value is number =>
  isCount(value, least) && value < Number.MAX_SAFE_INTEGER && !Object.is(value, -0);

/** What `canCount` accepts, in words. */
export const countFrom = (least: number): string => `a whole number of at least ${least}, less than 2^53 - 1`;

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
