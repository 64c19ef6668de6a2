// Strict JSON: refuses to write what JSON cannot hold, and to read what JSON.parse would silently drop or change.

import { expect, isRecord, show, unexpected } from '../errors.js';

/** Maximum nesting of arrays and records, as in the reference implementation of safetensors (serde_json). */
const MOST_LEVELS = 127;

/** Maximum number of keys, strings, arrays and records, since parsed JSON may take 30 times the memory of its text. */
const MOST_VALUES = 2 ** 22;

/** UTF-8 cannot encode lone surrogates, so other readers refuse or change them. */
const LONE_SURROGATE = /\p{Surrogate}/u;

/**
 * Writes JSON that is read as the same value. Throws an Error for what JSON would drop or change (NaN, a Date), and for
 * strings that UTF-8 cannot encode.
 */
export function writeJson(value: unknown, what: string, levels = MOST_LEVELS): string {
  if (value === null || typeof value === 'boolean') return String(value);
  if (typeof value === 'string') return writeString(value, what);
  if (typeof value === 'number') {
    expect(Number.isFinite(value), what, 'a finite number, since JSON has no other', value);
    // JSON.stringify writes "0", although JSON has "-0".
    return Object.is(value, -0) ? '-0' : String(value);
  }
  expect(levels > 0, what, `at most ${MOST_LEVELS} levels deep`, value);
  if (Array.isArray(value)) {
    return `[${Array.from(value, (item, i) => writeJson(item, `${what}[${i}]`, levels - 1)).join()}]`;
  }
  expect(isPlain(value), what, 'null, true, false, a number, a string, or an array or plain record of these', value);
  const entries = Object.entries(value).map(
    ([key, item]) => `${writeString(key, `a key in ${what}`)}:${writeJson(item, `${what}.${key}`, levels - 1)}`,
  );
  return `{${entries.join()}}`;
}

export function writeString(value: string, what: string): string {
  if (LONE_SURROGATE.test(value)) throw unexpected(what, 'well-formed Unicode', value);
  return JSON.stringify(value);
}

/** Whether a value is a plain record. An object of a class would not be read as one. */
function isPlain(value: unknown): value is Record<string, unknown> {
  if (!isRecord(value) || Object.getOwnPropertySymbols(value).length > 0) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

/**
 * Parses JSON. Throws an Error for what is not JSON, and for what JSON.parse accepts silently: 1e999, a duplicate key.
 */
export function readJson(text: string, what: string): unknown {
  const reader = new JsonReader(text, what);
  reader.value();
  reader.end();
  return JSON.parse(text);
}

const [QUOTE, BACKSLASH, COMMA, COLON] = Array.from('"\\,:', (each) => each.charCodeAt(0));
const [BRACE, BRACE_END, BRACKET, BRACKET_END] = Array.from('{}[]', (each) => each.charCodeAt(0));
const [SPACE, TAB, LINE_FEED, RETURN] = Array.from(' \t\n\r', (each) => each.charCodeAt(0));

const WORD = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?|true|false|null/y;

/**
 * Reads JSON one value at a time, in one pass, without building objects: JSON.parse makes gigabytes of arrays out of
 * 100 MB of brackets. Each method reads what its name says, and throws an Error for anything else.
 */
export class JsonReader {
  readonly #text: string;
  readonly #what: string;
  #at = 0;
  #levels = 0;
  #values = 0;

  constructor(text: string, what: string) {
    this.#text = text;
    this.#what = what;
  }

  /** Reads a record. Calls `read` to read the value of each key. */
  record(read: (key: string) => void): void {
    this.#items(BRACE, BRACE_END, () => {
      const key = this.string();
      this.#take(COLON);
      read(key);
    });
  }

  /** Reads an array. Calls `read` to read each item. */
  array(read: () => void): void {
    this.#items(BRACKET, BRACKET_END, read);
  }

  string(): string {
    this.#take(QUOTE);
    const text = this.#text;
    const begin = this.#at;
    let at = begin;
    let isEscaped = false;
    for (let each = text.charCodeAt(at); each !== QUOTE; each = text.charCodeAt(++at)) {
      // A control character, or NaN at the end of the text.
      if (!(each >= SPACE)) throw this.#fault(at);
      if (each !== BACKSLASH) continue;
      isEscaped = true;
      at += 1;
    }
    this.#at = at + 1;
    if (!isEscaped) return text.slice(begin, at);
    const value = this.#unescape(begin - 1);
    if (LONE_SURROGATE.test(value)) throw unexpected(`a string in ${this.#what}`, 'well-formed Unicode', value);
    return value;
  }

  /** Reads a number, true, false or null, and returns its text. */
  word(): string {
    const begin = this.#seek();
    WORD.lastIndex = begin;
    if (!WORD.test(this.#text)) throw this.#fault(begin);
    this.#at = WORD.lastIndex;
    const word = this.#text.slice(begin, this.#at);
    // The shortest number that is too large is 1e309.
    if (word.length > 4 && Math.abs(Number(word)) === Infinity)
      throw unexpected(`a number in ${this.#what}`, 'within the range of f64', word);
    return word;
  }

  /** Reads any value, and ignores it. */
  value(): void {
    if (this.nextIs('{')) {
      this.count();
      const keys = new Set<string>();
      this.record((key) => {
        this.count();
        this.checkNew(!keys.has(key), key);
        keys.add(key);
        this.value();
      });
    } else if (this.nextIs('[')) {
      this.count();
      this.array(() => this.value());
    } else if (this.nextIs('"')) {
      this.count();
      this.string();
    } else {
      this.word();
    }
  }

  /** Throws for a duplicate key in a record: JSON.parse would keep the last one. */
  checkNew(isNew: boolean, key: string): void {
    if (!isNew) throw new TypeError(`The key ${show(key)} is listed twice in ${this.#what}.`);
  }

  /** Counts a value that takes memory. Throws an Error for too many. */
  count(): void {
    this.#values += 1;
    if (this.#values <= MOST_VALUES) return;
    throw new RangeError(`Expected ${this.#what} to have at most ${MOST_VALUES} keys, strings, arrays and records.`);
  }

  /** Throws unless the whole text has been read. */
  end(): void {
    if (this.#seek() < this.#text.length) throw this.#fault(this.#at);
  }

  nextIs(character: '{' | '[' | '"' | 'n'): boolean {
    return this.#text[this.#seek()] === character;
  }

  /** Reads the next value, and returns it as errors show it. */
  shown(): string {
    if (this.nextIs('{')) return 'a record';
    if (this.nextIs('[')) return 'an array';
    return this.nextIs('"') ? show(this.string()) : this.word();
  }

  /** Returns an Error that shows the next value. */
  unexpected(what: string, wanted: string): TypeError {
    return new TypeError(`Expected ${what} to be ${wanted}, got ${this.shown()}.`);
  }

  #items(begin: number, end: number, read: () => void): void {
    this.#take(begin);
    this.#levels += 1;
    if (this.#levels > MOST_LEVELS)
      throw new TypeError(`Expected ${this.#what} to be at most ${MOST_LEVELS} levels deep.`);
    if (!this.#skip(end)) {
      do read();
      while (this.#skip(COMMA));
      this.#take(end);
    }
    this.#levels -= 1;
  }

  /** Skips white space. */
  #seek(): number {
    const text = this.#text;
    let each = text.charCodeAt(this.#at);
    while (each === SPACE || each === LINE_FEED || each === RETURN || each === TAB) each = text.charCodeAt(++this.#at);
    return this.#at;
  }

  #skip(code: number): boolean {
    const isNext = this.#text.charCodeAt(this.#seek()) === code;
    if (isNext) this.#at += 1;
    return isNext;
  }

  #take(code: number): void {
    if (!this.#skip(code)) throw this.#fault(this.#at);
  }

  /** Returns the string whose text is from `begin` to the current position. */
  #unescape(begin: number): string {
    try {
      return JSON.parse(this.#text.slice(begin, this.#at)) as string;
    } catch {
      throw this.#fault(begin);
    }
  }

  #fault(at: number): TypeError {
    const rest = this.#text.slice(at, at + 100);
    return new TypeError(`Expected ${this.#what} to be JSON, got ${rest ? show(rest) : 'its end'} at character ${at}.`);
  }
}
