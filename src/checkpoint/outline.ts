// The header of a checkpoint: the state dict without its arrays, and which tensor of the file is which array.
//
// The tensors are `param/<name>` and `<slot>/<name>`, with PyTorch's names of slots. A name may have a slash, a slot
// may not. `__metadata__` has `format`, `version`, `state` (the dict in JSON), `metadata` (the caller's, in JSON),
// `scaler` (the state dict of a gradient scaler, in JSON), and if there are any `no_shape`: the names of parameters whose
// shape is not known, in JSON. The file has them as [length].

import { expect, expectOptions, isRecord, list, noParameter, ownOf, show, unexpected } from '../errors.js';
import { copyNames } from '../state/capture.js';
import type { StateDict } from '../state/dict.js';
import { readDict, type SourceDict } from '../state/match.js';
import { readScalerDict, type ScalerStateDict } from '../inputs/scaler-dict.js';
import { count, readShape, type Shape, type Shapes } from '../inputs/shapes.js';
import type { GradScaler } from '../step/scaler.js';
import { writeHeader, type Entry, type Header, type HeaderBounds } from './header.js';
import { readJson, writeJson } from './json.js';
import type { Bytes } from '../platform.js';

/** An array of a checkpoint: a parameter, with `param` as its slot, or a slot of its state. */
export interface Part {
  readonly slot: string;
  readonly name: string;
  readonly length: number;
}

export interface Outline {
  /** Without its arrays. */
  readonly dict: StateDict;
  readonly byName: SourceDict['byName'];
  readonly metadata: unknown;
  /** The state dict of the scaler that was saved. */
  readonly scaler: ScalerStateDict | undefined;
  /** The names of parameters that were saved without a shape. */
  readonly noShape: ReadonlySet<string>;
  /** In the order of their data. */
  readonly parts: readonly (Part & { readonly shape: Shape })[];
}

/** Entries of `__metadata__` that are the same in all checkpoints. */
const fixed = [
  ['format', 'twinstep'],
  ['version', '1'],
] as const;
const BYTES = 4;

/**
 * Limits of a header in bytes: for metadata, shapes and options, for each parameter, for each character of its name.
 */
const METADATA_BYTES = 2 ** 23;
const TENSOR_BYTES = 2048;
const NAME_BYTES = 72;
/**
 * Limits of the number of names: in `__metadata__`, where a checkpoint has 6, and for each parameter with its slots.
 */
const METADATA_NAMES = 1024;
const TENSOR_NAMES = 8;

/** What is saved besides the optimizer. */
export interface CheckpointOptions {
  /** Any value that JSON can hold, such as the position in the training data. Loading returns it. */
  metadata?: unknown;
  /** The gradient scaler of the optimizer, whose state is saved, too. Default: none. */
  scaler?: GradScaler | undefined;
}

/** Returns the options of a checkpoint. Throws for unknown ones. */
export function readOptions(options: unknown): CheckpointOptions {
  if (isRecord(options) && Object.hasOwn(options, 'shapes')) {
    throw new TypeError('Unknown option "shapes"; shapes are an option of creation: adamw(params, { shapes }).');
  }
  expectOptions(options, 'a checkpoint', ['metadata', 'scaler']);
  return ownOf<CheckpointOptions>(options);
}

/**
 * Returns the header of a checkpoint, and its arrays in the order of their data. A parameter without a shape is flat.
 * Checks names and indices.
 */
export function writeOutline<Given extends Part>(
  dict: StateDict,
  given: readonly Given[],
  shapes: Shapes,
  metadata: unknown,
  scaler: ScalerStateDict | undefined,
): { header: Bytes; parts: readonly Given[] } {
  expect(isRecord(shapes), 'shapes', 'a record of shapes by name', shapes);
  const order = new Map(dict.param_groups.flatMap((group) => group.param_names).map((name, i) => [name, i]));
  const shapeOf = new Map(Object.entries(shapes));
  const unknown = [...shapeOf.keys()].filter((name) => !order.has(name));
  if (unknown.length > 0) throw new TypeError(noParameter(unknown, ', listed in shapes', [...order.keys()]));
  const rank = ({ slot, name }: Part): number => (slot === 'param' ? 0 : order.size) + (order.get(name) ?? 0);
  const parts = [...given];
  parts.sort((a, b) => rank(a) - rank(b));

  let end = 0;
  const entries = parts.map(({ slot, name, length }) => {
    const known = shapeOf.get(name);
    const shape = known === undefined ? [length] : readShape(name, known, length);
    const begin = end;
    end += length * BYTES;
    return { name: `${slot}/${name}`, dtype: 'F32' as const, shape, begin, end };
  });
  const strings = new Map<string, string>([...fixed, ['state', writeJson(dict, 'the state dict')]]);
  if (metadata !== undefined) strings.set('metadata', writeJson(metadata, 'metadata'));
  if (scaler !== undefined) strings.set('scaler', writeJson(readScalerDict(scaler), 'the state dict of a scaler'));
  const noShape = [...order.keys()].filter((name) => shapeOf.get(name) === undefined);
  if (noShape.length > 0) strings.set('no_shape', writeJson(noShape, 'no_shape'));
  // Check the outline by reading it.
  readOutline({ metadata: strings, entries });
  const header = writeHeader({ metadata: strings, entries });
  const most = boundsOf(order.keys()).bytes;
  if (header.length > most) {
    const how = `${METADATA_BYTES} of metadata and shapes`;
    throw new RangeError(`Expected a header of at most ${most} bytes, with ${how}, got ${header.length}.`);
  }
  return { header, parts };
}

/**
 * Returns the limits of the header of a checkpoint of these parameters. A name is written at most 5 times as a key,
 * with 6 bytes per character, and 5 times in `__metadata__`, with 7.
 */
export function boundsOf(params: Iterable<string>): HeaderBounds {
  let [bytes, names] = [METADATA_BYTES, METADATA_NAMES];
  for (const name of params) {
    bytes += TENSOR_BYTES + NAME_BYTES * name.length;
    names += TENSOR_NAMES;
  }
  return { bytes, names };
}

/** Returns the outline of a header. Throws unless it is a checkpoint's, with the tensors of its state dict. */
export function readOutline({
  metadata,
  entries,
}: {
  metadata: Header['metadata'];
  entries: readonly Omit<Entry, 'begin' | 'end'>[];
}): Outline {
  for (const [key, wanted] of fixed) {
    expect(metadata.get(key) === wanted, `the ${key} in __metadata__`, show(wanted), metadata.get(key));
  }
  const [state, own, scaler] = ['state', 'metadata', 'scaler'].map((key) => metadata.get(key));
  expect(state !== undefined, 'state in __metadata__', 'JSON', state);
  const dict = readJson(state, 'the state dict') as StateDict;
  const { byName } = readDict(dict);
  const shapeOf = new Map<string, Shape>();
  const parts = entries.map(({ name: key, dtype, shape }) => {
    if (dtype !== 'F32') throw unexpected(`dtype of ${show(key)}`, '"F32"', dtype);
    const slash = key.indexOf('/');
    const [slot, name] = [key.slice(0, Math.max(slash, 0)), key.slice(slash + 1)];
    if (!isSlot(slot)) throw unexpected('the name of a tensor', '"param/<parameter>" or "<slot>/<parameter>"', key);
    const known = byName.get(name);
    const isParam = slot === 'param';
    const isKnown = isParam ? known !== undefined : known?.state !== undefined;
    if (!isKnown) throw new TypeError(`The state dict does not have the tensor ${show(key)}.`);
    const isNew = isParam || !Object.hasOwn(known!.state!, slot);
    if (!isNew) throw new TypeError(`The state dict has another value for the tensor ${show(key)}.`);
    if (isParam) shapeOf.set(name, shape);
    return { slot, name, shape, length: count(shape) };
  });
  const missing = [...byName.keys()].filter((name) => !shapeOf.has(name));
  if (missing.length > 0) throw new TypeError(`The checkpoint lacks the parameter ${list(missing)}.`);
  for (const { slot, name, shape } of parts) {
    const expected = shapeOf.get(name)!;
    if (shape.join() !== expected.join())
      throw unexpected(`the shape of ${slot} of ${show(name)}`, `the parameter's, [${expected.join()}]`, shape);
  }
  const noShape = readNoShape(metadata.get('no_shape'), shapeOf);
  return {
    dict,
    byName,
    metadata: own === undefined ? undefined : readJson(own, 'metadata'),
    scaler: scaler === undefined ? undefined : readScalerDict(readJson(scaler, 'the state dict of a scaler')),
    noShape,
    parts,
  };
}

/** Returns the names in `no_shape`. Throws unless each is the name of a parameter that the file has as [length]. */
function readNoShape(json: string | undefined, shapeOf: ReadonlyMap<string, Shape>): ReadonlySet<string> {
  const names = json === undefined ? [] : copyNames(readJson(json, 'no_shape'), 'no_shape', ' in __metadata__');
  const unknown = names.filter((name) => !shapeOf.has(name));
  if (unknown.length > 0) throw new TypeError(noParameter(unknown, ', listed in no_shape', [...shapeOf.keys()]));
  for (const name of names) {
    const shape = shapeOf.get(name)!;
    if (shape.length !== 1) throw unexpected(`the shape of ${show(name)} (listed in no_shape)`, '[length]', shape);
  }
  return new Set(names);
}

/** Whether this is a word: not "__proto__", not empty. */
export const isSlot = (slot: string): boolean => /^[a-z]\w*$/i.test(slot);
