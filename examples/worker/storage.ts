// Where models live: Workers KV, for each user one checkpoint with weights, moments and step counters. An isolate may
// be gone before the next request comes, so that nothing is kept anywhere else.
//
// KV has no transactions, and the last write wins: two requests of one user at once begin at the same state, and one of
// the two updates is lost. A place far away may read what was there a minute ago, and a key takes one write a second.
// For hints of what to show that will do. Where every click counts, give each user a Durable Object: all requests of the
// user meet in it, `ctx.blockConcurrencyWhile` takes them one after another, and `ctx.storage` holds what KV holds here.

import { loadCheckpoint, saveCheckpoint } from 'twinstep/checkpoint';
import { newModel, type Model } from './model.js';
import { Refusal, show } from './refusal.js';

/** What is used here of the class of this name in @cloudflare/workers-types. */
export interface KVNamespace {
  getWithMetadata(key: string, type: 'arrayBuffer'): Promise<{ value: ArrayBuffer | null; metadata: unknown }>;
  put(key: string, value: Uint8Array<ArrayBuffer>, options: { metadata: unknown }): Promise<void>;
  delete(key: string): Promise<void>;
}

/** The user's model, and how many bytes it was stored in: 0 for a new one, of a user not seen before. */
export async function loadModel(kv: KVNamespace, user: string): Promise<{ model: Model; bytes: number }> {
  const { value, metadata } = await reached(kv.getWithMetadata(keyOf(user), 'arrayBuffer'));
  if (value === null) return { model: await newModel(), bytes: 0 };
  const refuse = (what: string): never => {
    const advice = `DELETE /users/${user} forgets it.`;
    throw new Refusal(500, `The stored model of ${show(user)}, of ${value.byteLength} bytes, ${what} ${advice}`);
  };
  // A checkpoint tells by itself that its header is broken, but a weight that has changed only its sum can tell.
  const expected = (metadata as { sha256?: unknown } | null)?.sha256;
  const sum = await sha256(value);
  if (sum !== expected) refuse(`is damaged: its SHA-256 was ${show(expected)}, and is ${show(sum)}.`);
  const model = await newModel();
  // Its options come back, too: a new lr in newModel() is for new users, unless it is assigned to the group here.
  await loadCheckpoint(model, value).catch((error: Error) => refuse(`is none of this Worker's: ${error.message}`));
  return { model, bytes: value.byteLength };
}

export async function saveModel(kv: KVNamespace, user: string, model: Model): Promise<void> {
  const bytes = await saveCheckpoint(model);
  await reached(kv.put(keyOf(user), bytes, { metadata: { sha256: await sha256(bytes) } }));
}

export const deleteModel = (kv: KVNamespace, user: string): Promise<void> => reached(kv.delete(keyOf(user)));

/** Change the number with the features or the model: what the old ones have learned says nothing about new ones. */
const keyOf = (user: string): string => `clicks-1/${user}`;

/** Whether a write that failed was made after all, KV does not say. */
const reached = <Result>(operation: Promise<Result>): Promise<Result> =>
  operation.catch((error: Error) => {
    throw new Refusal(503, `The store of models gave an error: ${error.message}`, { 'retry-after': '1' });
  });

async function sha256(bytes: ArrayBuffer | Uint8Array<ArrayBuffer>): Promise<string> {
  const sum = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return Array.from(sum, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
