// JSON taken strictly: nothing is lost or changed on the way out, nothing hidden on the way in.

import { expect, isRecord, show, unexpected } from '../sentences.js';

/** How deep arrays and records may lie in each other: thousands would overflow the stack of some engines' parsers. */
const MOST_LEVELS = 100;

/** A value as JSON that gives just this value again. Throws an Error for what JSON would drop or change: NaN, a Date. */
export function writeJson(value: unknown, what: string, levels = MOST_LEVELS): string {
  if (value === null || typeof value === 'boolean') return String(value);
  if (typeof value === 'string') return JSON.stringify(value);
  if (typeof value === 'number') {
    expect(Number.isFinite(value), what, 'a finite number, as JSON has no other', value);
    // JSON.stringify makes it "0", although JSON has "-0".
    return Object.is(value, -0) ? '-0' : String(value);
  }
  expect(levels > 0, what, `at most ${MOST_LEVELS} levels deep`, value);
  if (Array.isArray(value)) {
    return `[${Array.from(value, (item, i) => writeJson(item, `${what}[${i}]`, levels - 1)).join()}]`;
  }
  expect(isPlain(value), what, 'null, true, false, a number, a string, or an array or plain record of these', value);
  const entries = Object.entries(value).map(
    ([key, item]) => `${JSON.stringify(key)}:${writeJson(item, `${what}.${key}`, levels - 1)}`,
  );
  return `{${entries.join()}}`;
}

/** A record that is nothing but its keys: an object of a class would come back as something else. */
function isPlain(value: unknown): value is Record<string, unknown> {
  if (!isRecord(value) || Object.getOwnPropertySymbols(value).length > 0) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

/** What `text` says. Throws an Error for what is not JSON, and for what JSON.parse passes over in silence. */
export function readJson(text: string, what: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw unexpected(what, 'JSON', text);
  }
  checkTokens(text, what);
  return value;
}

const NUMBER = /[-+.\deE]+/y;

const [QUOTE, BACKSLASH, COMMA, MINUS, ZERO, NINE] = Array.from('"\\,-09', (each) => each.charCodeAt(0));
const [BRACE, BRACE_END, BRACKET, BRACKET_END] = Array.from('{}[]', (each) => each.charCodeAt(0));

/**
 * Walks the tokens of what is known to be JSON, for keys that stand twice in a record, of which JSON.parse keeps the
 * last, and for numbers beyond f64, of which it makes Infinity. It takes one pass, and no recursion.
 */
function checkTokens(text: string, what: string): void {
  /** The keys so far of each record that is open, a Set from the first one on; for an array nothing. */
  const open: (Set<string> | null | undefined)[] = [];
  let isKey = false;
  for (let i = 0; i < text.length; i++) {
    const token = text.charCodeAt(i);
    if (token === BRACE || token === BRACKET) {
      isKey = token === BRACE;
      open.push(isKey ? null : undefined);
      expect(open.length <= MOST_LEVELS, what, `at most ${MOST_LEVELS} levels deep`, text);
    } else if (token === BRACE_END || token === BRACKET_END) {
      open.pop();
      isKey = false;
    } else if (token === COMMA) {
      isKey = open[open.length - 1] !== undefined;
    } else if (token === QUOTE) {
      const begin = i + 1;
      let isEscaped = false;
      for (i++; ; i++) {
        const each = text.charCodeAt(i);
        if (each === QUOTE) break;
        if (each !== BACKSLASH) continue;
        isEscaped = true;
        i++;
      }
      if (!isKey) continue;
      isKey = false;
      // Two spellings of one key are one key.
      const key = isEscaped ? (JSON.parse(text.slice(begin - 1, i + 1)) as string) : text.slice(begin, i);
      const keys = (open[open.length - 1] ??= new Set());
      const before = keys.size;
      if (keys.add(key).size === before) throw new TypeError(`The key ${show(key)} stands twice in ${what}.`);
    } else if (token === MINUS || (token >= ZERO && token <= NINE)) {
      NUMBER.lastIndex = i;
      const [number] = NUMBER.exec(text)!;
      expect(Number.isFinite(Number(number)), `a number in ${what}`, 'within the range of f64', number);
      i += number.length - 1;
    }
  }
}
