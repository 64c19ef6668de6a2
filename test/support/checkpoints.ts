// Helpers for tests of checkpoints.

import { adamw, type Optimizer } from 'twinstep';
import type { AnyOptimizer } from 'twinstep/checkpoint';
import { expect } from 'vitest';
import { readAll, same, type Tensors } from './tensors.js';

/** Parameters and state of an optimizer, to compare. */
export interface Snapshot {
  readonly params: Tensors;
  readonly dict: unknown;
}

type OfTensors = Exclude<AnyOptimizer, { readonly optimizer: unknown }>;

export async function snapshot(optimizer: OfTensors): Promise<Snapshot> {
  const names = optimizer.groups.flatMap(({ params }) => params.map((name) => [name, undefined]));
  return { params: await readAll(optimizer, Object.fromEntries(names)), dict: await optimizer.stateDict() };
}

export async function expectSnapshot(optimizer: OfTensors, expected: Snapshot): Promise<void> {
  const { params, dict } = await snapshot(optimizer);
  same(params, expected.params);
  expect(dict).toEqual(expected.dict);
}

/** A small optimizer with state, for tests of refusals. */
export async function small(shapes = {}): Promise<Optimizer<Float32Array>> {
  const params = { w: Float32Array.of(1, 2, 3, 4, 5, 6), b: Float32Array.of(-0, 1e-40) };
  const optimizer = await adamw(params, { lr: 0.1, shapes });
  optimizer.step({ w: new Float32Array(6).fill(0.5) });
  return optimizer;
}

/** Returns a stream of the chunks. */
export function streamOf(
  chunks: Iterable<unknown>,
  onCancel: (reason: unknown) => void = () => {},
): ReadableStream<Uint8Array> {
  const iterator = chunks[Symbol.iterator]();
  const source: UnderlyingDefaultSource<Uint8Array> = {
    pull(controller) {
      const { done, value } = iterator.next();
      if (done === true) controller.close();
      else controller.enqueue(value as Uint8Array);
    },
    cancel: onCancel,
  };
  // No prototype, because a test adds properties to Object.prototype.
  return new ReadableStream<Uint8Array>(Object.assign(Object.create(null) as typeof source, source));
}

/** Splits bytes into chunks of `size` bytes. */
export function* chunksOf(bytes: Uint8Array, size: number): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

/** Splits a file into the header's text and the data. */
export function splitFile(bytes: Uint8Array): { header: string; data: Uint8Array } {
  const end = 8 + Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
  return { header: new TextDecoder().decode(bytes.subarray(8, end)), data: bytes.slice(end) };
}

/** Makes a file with any text as the header, and any `length` for it. */
export function joinFile(header: string, data: Uint8Array, length?: bigint): Uint8Array {
  const text = new TextEncoder().encode(header);
  const bytes = new Uint8Array(8 + text.length + data.length);
  new DataView(bytes.buffer).setBigUint64(0, length ?? BigInt(text.length), true);
  bytes.set(text, 8);
  bytes.set(data, 8 + text.length);
  return bytes;
}

/** Replaces strings in the `__metadata__` of a checkpoint. */
export function withMetadata(bytes: Uint8Array, change: Record<string, string | undefined>): Uint8Array {
  const { header, data } = splitFile(bytes);
  const record = JSON.parse(header) as Record<string, object>;
  record.__metadata__ = { ...record.__metadata__, ...change };
  return joinFile(JSON.stringify(record), data);
}
