// Corrupts checkpoints in one or a few places.

import { joinFile, splitFile } from './checkpoints.js';

type Next = () => number;

const pick = <Item>(items: readonly Item[], next: Next): Item => items[Math.floor(next() * items.length)];

/** Mutates the bytes, the header's text, or the JSON of the header, state dict or metadata. */
export function mutant(original: Uint8Array, next: Next): Uint8Array {
  const kind = next();
  if (kind < 0.25) return mutateBytes(original, next);
  const { header, data } = splitFile(original);
  if (kind < 0.4) return joinFile(mutateText(header, next), next() < 0.9 ? data : data.subarray(4));
  if (kind < 0.7) return joinFile(mutateJson(header, next), data);
  const record = JSON.parse(header) as { __metadata__: Record<string, string> };
  const key = pick(['state', 'metadata'], next);
  const change = next() < 0.3 ? mutateText : mutateJson;
  record.__metadata__[key] = change(record.__metadata__[key], next);
  return joinFile(JSON.stringify(record), data);
}

function mutateBytes(original: Uint8Array, next: Next): Uint8Array {
  const bytes = [...original];
  const end = next() < 0.5 ? 12 : bytes.length;
  const at = Math.floor(next() * end);
  const change = next();
  if (change < 0.4) bytes[at] ^= 1 << Math.floor(next() * 8);
  else if (change < 0.6) bytes.splice(at, Math.ceil(next() * 20));
  else if (change < 0.8) bytes.splice(at, 0, ...Array.from({ length: Math.ceil(next() * 20) }, () => next() * 256));
  else bytes.length = at;
  return Uint8Array.from(bytes);
}

const scraps = [
  '"',
  '{',
  '}',
  '[',
  ']',
  ',',
  ':',
  '-',
  '0',
  '1e5',
  '1E400',
  '\\',
  '\\u0061',
  'null',
  '\0',
  '\ud800',
  '{"a":1},',
];

function mutateText(text: string, next: Next): string {
  const at = Math.floor(next() * text.length);
  const length = Math.floor(next() * 4);
  return text.slice(0, at) + (next() < 0.7 ? pick(scraps, next) : '') + text.slice(at + length);
}

/** JSON values to replace others with. */
const values = [
  ...'0 -0 1 -1 0.5 1.0 4e0 24 1e308 1e999 9007199254740993 18446744073709551616'.split(' '),
  ...'null true "" "F32" "F64" "w" "__proto__" [] {} [0,24] [24,24] [6] [3,2]'.split(' '),
  `"${'x'.repeat(5000)}"`,
  `${'['.repeat(300)}${']'.repeat(300)}`,
  `${'{"a":'.repeat(99)}1${'}'.repeat(99)}`,
];
const keys = [
  '__proto__',
  'constructor',
  'toString',
  '__metadata__',
  'dtype',
  'param/w',
  'param/v',
  'z/w',
  'step',
  '7',
];

/** Changes one node of a JSON text: replaces, duplicates, drops, renames, or swaps it. */
function mutateJson(text: string, next: Next): string {
  let [count, target] = [0, -1];
  const other = pick(values, next);
  const kind = next();
  const write = (value: unknown): string => {
    if (count++ === target && kind < 0.5) return other;
    if (Array.isArray(value)) {
      const items = value.map(write);
      if (count++ === target) items.splice(Math.floor(next() * items.length), Number(next() < 0.5), pick(values, next));
      if (count++ === target) items.reverse();
      return `[${items.join()}]`;
    }
    if (typeof value !== 'object' || value === null) return JSON.stringify(value);
    const entries = Object.entries(value).map(([key, each]) => [JSON.stringify(key), write(each)]);
    if (count++ === target && entries.length > 0) {
      const at = Math.floor(next() * entries.length);
      if (kind < 0.6) entries.splice(at, 1);
      else if (kind < 0.7) entries.push([entries[at][0], next() < 0.5 ? other : entries[at][1]]);
      else if (kind < 0.8) entries[at][0] = JSON.stringify(pick(keys, next));
      else if (kind < 0.9) entries.push([JSON.stringify(pick(keys, next)), next() < 0.5 ? other : entries[at][1]]);
      else [entries[at][1], entries[0][1]] = [entries[0][1], entries[at][1]];
    }
    return `{${entries.map((entry) => entry.join(':')).join()}}`;
  };
  const value: unknown = JSON.parse(text);
  write(value);
  [target, count] = [Math.floor(next() * count), 0];
  return write(value);
}
