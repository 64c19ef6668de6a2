// Where a model lives: in the storage of its Durable Object, as one checkpoint with weights, moments and step counters.
// The object may be gone before the next request comes, so that nothing is kept anywhere else.

import { loadCheckpoint, saveCheckpoint } from 'twinstep/checkpoint';
import { newModel, type Model } from './model.js';
import { Refusal, show } from './refusal.js';

/** What is used here of the class of this name in @cloudflare/workers-types. */
export interface DurableObjectStorage {
  get(key: string): Promise<unknown>;
  put(key: string, value: unknown): Promise<void>;
  setAlarm(time: number): Promise<void>;
  deleteAlarm(): Promise<void>;
  deleteAll(): Promise<void>;
}

/** A model is forgotten so long after its last click. */
const MOST_MILLISECONDS = 90 * 24 * 3600 * 1000;

/** Change the number with the features or the model: what the old ones have learned says nothing about new ones. */
const KEY = 'clicks-1';

interface Stored {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly sha256: string;
}

/** The user's model, and how many bytes it was stored in: 0 for a new one. */
export async function loadModel(storage: DurableObjectStorage, user: string): Promise<{ model: Model; bytes: number }> {
  const stored = (await reached(storage.get(KEY))) as Stored | undefined;
  if (stored === undefined) return { model: await newModel(), bytes: 0 };
  const { bytes, sha256: expected } = stored;
  const refuse = (what: string): never => {
    const advice = `DELETE /users/${user} forgets it.`;
    throw new Refusal(500, `The stored model of ${show(user)}, of ${bytes.length} bytes, ${what} ${advice}`);
  };
  // A checkpoint tells by itself that its header is broken, but a weight that has changed only its sum can tell.
  const sum = await sha256(bytes);
  if (sum !== expected) refuse(`is damaged: its SHA-256 was ${show(expected)}, and is ${show(sum)}.`);
  const model = await newModel();
  // Its options come back, too: a new lr in newModel() is for new users, unless it is assigned to the group here.
  await loadCheckpoint(model, bytes).catch((error: Error) => refuse(`is none of this Worker's: ${error.message}`));
  return { model, bytes: bytes.length };
}

/** Both writes are made, or none. */
export async function saveModel(storage: DurableObjectStorage, model: Model): Promise<void> {
  const bytes = await saveCheckpoint(model);
  const stored: Stored = { bytes, sha256: await sha256(bytes) };
  await reached(Promise.all([storage.put(KEY, stored), storage.setAlarm(Date.now() + MOST_MILLISECONDS)]));
}

export async function deleteModel(storage: DurableObjectStorage): Promise<void> {
  await reached(Promise.all([storage.deleteAlarm(), storage.deleteAll()]));
}

/** Whether a write that failed was made after all, the storage does not say. */
const reached = <Result>(operation: Promise<Result>): Promise<Result> =>
  operation.catch((error: Error) => {
    throw new Refusal(503, `The storage of the model gave an error: ${error.message}`, { 'retry-after': '1' });
  });

async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const sum = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return Array.from(sum, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
