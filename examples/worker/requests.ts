// Reads and checks the bodies of requests. Throws a Refusal with the value for anything invalid.

import type { Features } from './features.js';
import type { Example } from './model.js';
import { isRecord, Refusal, show } from './refusal.js';

const MOST_BYTES = 2 ** 16;
const MOST_ITEMS = 100;
const MOST_FEATURES = 50;
/** Numbers should be scaled to about 1. With much larger ones, a float32 weight could overflow some day. */
const MOST_VALUE = 1000;

/** Reads { "features": { ... }, "clicked": true }, or a list of these: a whole page, in one step and one write. */
export async function readExamples(request: Request): Promise<Example | Example[]> {
  return oneOrMore(await readJson(request), 'the body', (value, what) => {
    const { features, clicked } = fields(value, what, ['features', 'clicked']);
    expect(typeof clicked === 'boolean', `clicked of ${what}`, 'true or false', clicked);
    return { features: readFeatures(features, `features of ${what}`), clicked };
  });
}

/** Reads { "features": { ... } }, or with a list of features, items to rank. */
export async function readItems(request: Request): Promise<Features | Features[]> {
  const { features } = fields(await readJson(request), 'the body', ['features']);
  return oneOrMore(features, 'features', readFeatures);
}

function readFeatures(value: unknown, what: string): Features {
  expect(isRecord(value), what, 'a record of strings and numbers', value);
  const entries = Object.entries(value);
  expect(entries.length <= MOST_FEATURES, what, `at most ${MOST_FEATURES} strings and numbers`, entries.length);
  for (const [name, each] of entries) {
    const isGood = typeof each === 'string' || (typeof each === 'number' && Math.abs(each) <= MOST_VALUE);
    expect(isGood, `${show(name)} in ${what}`, `a string, or a number from -${MOST_VALUE} to ${MOST_VALUE}`, each);
  }
  return value as Features;
}

function oneOrMore<Item>(value: unknown, what: string, read: (value: unknown, what: string) => Item): Item | Item[] {
  if (!Array.isArray(value)) return read(value, what);
  const isGood = value.length >= 1 && value.length <= MOST_ITEMS;
  expect(isGood, `the length of ${what}`, `1 to ${MOST_ITEMS}`, value.length);
  return value.map((each, i) => read(each, `item ${i} of ${what}`));
}

/** Checks that a record has exactly these fields, so that a misspelt one is reported, not ignored. */
function fields(value: unknown, what: string, names: readonly string[]): Record<string, unknown> {
  const given = isRecord(value) ? Object.keys(value) : undefined;
  const isGood = given?.length === names.length && names.every((name) => given.includes(name));
  expect(isGood, what, `a record with exactly ${names.join(' and ')}`, given ?? value);
  return value as Record<string, unknown>;
}

async function readJson(request: Request): Promise<unknown> {
  const text = await readText(request);
  try {
    return JSON.parse(text);
  } catch {
    throw new Refusal(400, `Expected the body to be JSON, got ${show(text)}.`);
  }
}

/** Reads the body in chunks and stops at the limit: it may have no declared length. */
async function readText(request: Request): Promise<string> {
  const refuse = (length: string | number): never => {
    throw new Refusal(413, `Expected a body of at most ${MOST_BYTES} bytes, got ${length}.`);
  };
  const declared = Number(request.headers.get('content-length'));
  if (declared > MOST_BYTES) refuse(declared);
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  let size = 0;
  try {
    for await (const chunk of request.body ?? []) {
      size += chunk.length;
      if (size > MOST_BYTES) break;
      chunks.push(chunk);
    }
  } catch {
    // The client disconnected: not an error of the Worker.
    throw new Refusal(400, `Expected a whole body, got only ${size} bytes.`);
  }
  if (size > MOST_BYTES) refuse('more');
  const bytes = await new Blob(chunks).arrayBuffer();
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: false }).decode(bytes);
  } catch {
    throw new Refusal(400, `Expected the body to be UTF-8, got ${size} bytes that are not.`);
  }
}

function expect(ok: boolean, what: string, wanted: string, value: unknown): asserts ok {
  if (!ok) throw new Refusal(400, `Expected ${what} to be ${wanted}, got ${show(value)}.`);
}
