// A checkpoint as bytes: parameters, state dict and a value of the caller's in one safetensors file.

import { isFloat32Array } from '../memory.js';
import { expect, isRecord, show } from '../sentences.js';
import type { StateDict } from '../state/dict.js';
import { bytesOf, concatenate } from './bytes.js';
import { readOutline, statesOf, writeOutline, type CheckpointOptions, type Outline, type Part } from './outline.js';
import { parseSafetensors } from './safetensors.js';

/** All that a checkpoint holds. */
export interface Checkpoint {
  /** By name, flat: what an optimizer can be made of. */
  params: Record<string, Float32Array>;
  /** By name. */
  shapes: Record<string, readonly number[]>;
  stateDict: StateDict;
  /** The caller's own value; undefined where none was saved. */
  metadata: unknown;
}

/**
 * The bytes of a checkpoint: those of `saveCheckpoint`, without an optimizer. Throws an Error where parameters, state
 * dict and shapes are not of the same tensors, and for what JSON cannot hold.
 */
export function encodeCheckpoint(
  checkpoint: Pick<Checkpoint, 'params' | 'stateDict'> & CheckpointOptions,
): Uint8Array<ArrayBuffer> {
  expect(isRecord(checkpoint), 'the checkpoint', 'a record with params and stateDict', checkpoint);
  const { params, stateDict, ...options } = checkpoint;
  expect(isRecord(params), 'params', 'a record of Float32Arrays by name', params);
  const values = new Map<string, Float32Array>();
  const parts: Part[] = [];
  const add = (slot: string, name: string, array: Float32Array): void => {
    parts.push({ slot, name, length: array.length });
    values.set(`${slot}/${name}`, array);
  };
  for (const [name, array] of Object.entries(params)) {
    expect(isFloat32Array(array), `parameter ${show(name)}`, 'a Float32Array', array);
    add('param', name, array);
  }
  const state: StateDict['state'] = { ...stateDict?.state };
  for (const [name, { index, state: each }] of statesOf(stateDict)) {
    if (each === undefined) continue;
    for (const [slot, value] of Object.entries(each)) {
      if (!isFloat32Array(value)) continue;
      expect(slot !== 'param', `a slot of ${show(name)}`, 'called otherwise', slot);
      add(slot, name, value);
    }
    state[index] = Object.fromEntries(Object.entries(each).filter(([, value]) => !isFloat32Array(value)));
  }
  const { header, outline } = writeOutline({ ...stateDict, state }, parts, options);
  return concatenate(
    header,
    outline.parts.map(({ slot, name }) => bytesOf(values.get(`${slot}/${name}`)!)),
  );
}

/** What a checkpoint of these bytes holds, its arrays copies. Throws an Error for anything but a sound one. */
export function decodeCheckpoint(bytes: Uint8Array | ArrayBuffer): Checkpoint {
  const { metadata, tensors } = parseSafetensors(bytes);
  const entries = Array.from(tensors, ([name, { dtype, shape }]) => ({ name, dtype, shape }));
  const outline = readOutline({ metadata, entries });
  const arrays = Array.from(tensors.values(), (tensor) => {
    // Copied, since a Float32Array wants an aligned offset, and a file promises none.
    const copy = new Float32Array(tensor.bytes.length / Float32Array.BYTES_PER_ELEMENT);
    bytesOf(copy).set(tensor.bytes);
    return copy;
  });
  return assemble(outline, arrays);
}

/** A checkpoint of an outline, and the arrays of its parts. */
export function assemble({ dict, metadata, parts }: Outline, arrays: readonly Float32Array[]): Checkpoint {
  const states = statesOf(dict);
  const params: [string, Float32Array][] = [];
  const shapes: [string, readonly number[]][] = [];
  for (const [i, { slot, name, shape }] of parts.entries()) {
    if (slot !== 'param') {
      states.get(name)!.state![slot] = arrays[i];
      continue;
    }
    params.push([name, arrays[i]]);
    shapes.push([name, shape]);
  }
  return { params: Object.fromEntries(params), shapes: Object.fromEntries(shapes), stateDict: dict, metadata };
}
