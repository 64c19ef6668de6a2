// Encodes and decodes a checkpoint: parameters, state dict and the caller's metadata in one safetensors file.

import { checkThere, isFloat32Array } from '../backends/memory.js';
import { expect, expectArguments, expectKeys, isRecord, ownOf, show, unexpected } from '../errors.js';
import type { ScalerStateDict } from '../inputs/scaler-dict.js';
import type { Shape, Shapes } from '../inputs/shapes.js';
import type { StateDict } from '../state/dict.js';
import { readDict } from '../state/match.js';
import { asBytes, bytesOf, concatenate } from './bytes.js';
import { toFloats } from './floats.js';
import type { HeaderBounds } from './header.js';
import { isSlot, readOutline, writeOutline, type Outline, type Part } from './outline.js';
import { readFile } from './safetensors.js';
import type { Bytes } from '../platform.js';

/** The contents of a checkpoint. */
export interface Checkpoint {
  /** By name, flat. An optimizer can be created with them. */
  params: Record<string, Float32Array>;
  /** By name, of the parameters that were saved with a shape. */
  shapes: Record<string, Shape>;
  /** The state dict, with its arrays. */
  stateDict: StateDict;
  /** The caller's value; undefined if none was saved. */
  metadata: unknown;
  /** The state dict of the gradient scaler; undefined if none was saved. */
  scaler: ScalerStateDict | undefined;
}

/**
 * Returns the same bytes as `saveCheckpoint`, without an optimizer.
 *
 * @param checkpoint - `params`, flat Float32Arrays by name; `stateDict`; and if wanted `shapes` by name, `metadata` that
 *   JSON can hold, and `scaler`, the state dict of a gradient scaler.
 * @returns The bytes of a safetensors file.
 * @throws TypeError if parameters, state dict and shapes are not of the same tensors, and for values that JSON cannot
 *   hold; RangeError for a header that is too large.
 * @example
 * const stateDict = await optimizer.stateDict();
 * const bytes = encodeCheckpoint({ params: { ...optimizer.params }, stateDict, metadata: { epoch: 3 } });
 */
export function encodeCheckpoint(
  checkpoint: Pick<Checkpoint, 'params' | 'stateDict'> & {
    shapes?: Shapes;
    metadata?: unknown;
    scaler?: ScalerStateDict | undefined;
  },
): Bytes {
  expectArguments(arguments.length, 1, 'encodeCheckpoint');
  expect(isRecord(checkpoint), 'the checkpoint', 'a record with params and stateDict', checkpoint);
  expectKeys(checkpoint, 'a checkpoint', ['params', 'stateDict', 'shapes', 'metadata', 'scaler']);
  const { params, stateDict, shapes = {}, metadata, scaler } = ownOf(checkpoint);
  expect(isRecord(params), 'params', 'a record of Float32Arrays by name', params);
  const given: (Part & { readonly array: Float32Array })[] = [];
  for (const [name, array] of Object.entries(params)) {
    if (!isFloat32Array(array)) throw unexpected(`parameter ${show(name)}`, 'a Float32Array', array);
    checkThere(array, 'parameter', name);
    given.push({ slot: 'param', name, length: array.length, array });
  }
  const { state, byName } = readDict(stateDict);
  for (const [name, { index, state: each }] of byName) {
    if (each === undefined) continue;
    const others = Object.entries(each).filter(([slot, value]) => {
      if (!isFloat32Array(value)) return true;
      expect(slot !== 'param' && isSlot(slot), `a slot of ${show(name)}`, 'a word other than "param"', slot);
      checkThere(value, `${slot} of`, name);
      given.push({ slot, name, length: value.length, array: value });
      return false;
    });
    state[index] = Object.fromEntries(others);
  }
  const dict = { ...stateDict, state: state as StateDict['state'] };
  const { header, parts } = writeOutline(dict, given, shapes, metadata, scaler);
  const data = parts.map(({ array }) => bytesOf(array));
  return concatenate(header, data);
}

/**
 * Returns the contents of a checkpoint, without an optimizer.
 *
 * @param bytes - The whole file.
 * @returns `params`, `shapes`, `stateDict`, `metadata` and `scaler`. The arrays are copies, flat.
 * @throws TypeError or RangeError unless the checkpoint is valid.
 * @example
 * const { params, metadata } = decodeCheckpoint(await saveCheckpoint(optimizer));
 * const resumed = await adamw(params);
 */
export function decodeCheckpoint(bytes: Uint8Array | ArrayBuffer): Checkpoint {
  expectArguments(arguments.length, 1, 'decodeCheckpoint');
  return decode(asBytes(bytes));
}

/** Returns the same. Throws for a header that exceeds `bounds`. */
export function decode(bytes: Uint8Array, bounds?: HeaderBounds): Checkpoint {
  const { header, data } = readFile(bytes, bounds);
  const outline = readOutline(header);
  return assemble(
    outline,
    header.entries.map((entry) => toFloats(entry, data)),
  );
}

/** Returns the contents of a checkpoint, from its outline and the arrays of its parts. */
export function assemble(
  { dict, byName, metadata, scaler, noShape, parts }: Outline,
  arrays: readonly Float32Array[],
): Checkpoint {
  const params: [string, Float32Array][] = [];
  const shapes: [string, Shape][] = [];
  for (const [i, { slot, name, shape }] of parts.entries()) {
    if (slot !== 'param') {
      byName.get(name)!.state![slot] = arrays[i];
      continue;
    }
    params.push([name, arrays[i]]);
    if (!noShape.has(name)) shapes.push([name, shape]);
  }
  return { params: Object.fromEntries(params), shapes: Object.fromEntries(shapes), stateDict: dict, metadata, scaler };
}
