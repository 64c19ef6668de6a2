// Stores a model in its Durable Object, as one checkpoint with weights, moments and step counters. Nothing is kept
// anywhere else, because the object may be evicted before the next request.

import { loadCheckpoint, saveCheckpoint } from 'twinstep/checkpoint';
import { newModel, type Model } from './model.js';
import { Refusal, show } from './refusal.js';

/** The used part of the class with this name in @cloudflare/workers-types. */
export interface DurableObjectStorage {
  get(key: string): Promise<unknown>;
  put(key: string, value: unknown): Promise<void>;
  setAlarm(time: number): Promise<void>;
  deleteAlarm(): Promise<void>;
  deleteAll(): Promise<void>;
}

/** A model is deleted this long after its last click. */
const MOST_MILLISECONDS = 90 * 24 * 3600 * 1000;

/** Change the number when the features or the model change: old weights mean nothing to a new model. */
const KEY = 'clicks-1';

interface Stored {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly sha256: string;
}

/** Returns the user's model, and the number of bytes stored: 0 for a new model. */
export async function loadModel(storage: DurableObjectStorage, user: string): Promise<{ model: Model; bytes: number }> {
  const stored = (await orUnavailable(storage.get(KEY))) as Stored | undefined;
  if (stored === undefined) return { model: await newModel(), bytes: 0 };
  const { bytes, sha256: expected } = stored;
  const refuse = (what: string): never => {
    const advice = `DELETE /users/${user} deletes it.`;
    throw new Refusal(500, `The stored model of ${show(user)}, of ${bytes.length} bytes, ${what} ${advice}`);
  };
  // loadCheckpoint finds a damaged header, but only a checksum finds a changed weight.
  const sum = await sha256(bytes);
  if (sum !== expected) refuse(`is damaged: its SHA-256 was ${show(expected)}, now it is ${show(sum)}.`);
  const model = await newModel();
  // This loads options too: a new lr in newModel() applies only to new users, unless you assign it to the group here.
  await loadCheckpoint(model, bytes).catch((error: Error) =>
    refuse(`does not belong to this Worker: ${error.message}`),
  );
  return { model, bytes: bytes.length };
}

/** Does both writes or none. */
export async function saveModel(storage: DurableObjectStorage, model: Model): Promise<void> {
  const bytes = await saveCheckpoint(model);
  const stored: Stored = { bytes, sha256: await sha256(bytes) };
  await orUnavailable(Promise.all([storage.put(KEY, stored), storage.setAlarm(Date.now() + MOST_MILLISECONDS)]));
}

export async function deleteModel(storage: DurableObjectStorage): Promise<void> {
  await orUnavailable(Promise.all([storage.deleteAlarm(), storage.deleteAll()]));
}

/** Turns an error of the storage into a 503. A failed write may still have been done; the storage does not say. */
const orUnavailable = <Result>(operation: Promise<Result>): Promise<Result> =>
  operation.catch((error: Error) => {
    throw new Refusal(503, `The storage of the model gave an error: ${error.message}`, { 'retry-after': '1' });
  });

async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const sum = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return Array.from(sum, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
