// Saves an optimizer to a checkpoint, and loads it.

import type { Optimizer } from '../optimizer.js';
import { count, type Shape, type Shapes } from '../inputs/shapes.js';
import { expect, expectArguments, ownOf, show, unexpected } from '../errors.js';
import { LENGTHS } from '../inputs/lengths.js';
import type { ScalerStateDict } from '../inputs/scaler-dict.js';
import { readLoadOptions, type IncompatibleNames, type LoadOptions } from '../state/load-options.js';
import { readDict } from '../state/match.js';
import type { GradScaler } from '../step/scaler.js';
import { scalingOf } from '../step/scaling.js';
import { asBytes, bytesOf, isBinary } from './bytes.js';
import { decode, encodeCheckpoint } from './codec.js';
import { readJson, writeJson } from './json.js';
import { boundsOf, readOptions, writeOutline, type CheckpointOptions, type Outline } from './outline.js';
import { readStream, type ByteStream } from './stream.js';
import type { Bytes } from '../platform.js';

interface Weights extends Pick<Optimizer<unknown>, 'read'> {
  /** Absent in a wrapper that does not know them. */
  readonly shapes?: Shapes | undefined;
  readonly groups: readonly { readonly params: readonly string[] }[];
}

type State = Pick<Optimizer<unknown>, 'stateDict' | 'lazyStateDict' | 'loadStateDict'>;

/** A Lookahead, as far as a checkpoint needs it. */
interface Over {
  /** The optimizer that it was made of. */
  readonly optimizer: Weights;
}

/** An optimizer of any algorithm, on any backend, or a Lookahead. */
export type AnyOptimizer = State & (Weights | Over);

/**
 * Returns a checkpoint of the optimizer as it is at the call: the bytes of one safetensors file with parameters, state
 * dict and `metadata`. The same training gives the same bytes.
 *
 * @param optimizer - An optimizer of any algorithm, on any backend, or a Lookahead. On the GPU, your own buffers need
 *   COPY_SRC usage.
 * @param options - `metadata`: any value that JSON can hold, such as the position in the training data.
 *   `scaler`: the gradient scaler of the optimizer, whose state is saved, too.
 * @returns A promise of the bytes of a file.
 * @throws The errors of the optimizer's `stateDict` and `read`, and TypeError for metadata that JSON cannot hold. The
 *   promise rejects with them.
 * @example const bytes = await saveCheckpoint(optimizer, { metadata: { epoch: 3 } });
 */
export async function saveCheckpoint(optimizer: AnyOptimizer, options: CheckpointOptions = {}): Promise<Bytes> {
  expectArguments(arguments.length, 2, 'saveCheckpoint');
  checkOptimizer(optimizer, 'stateDict');
  const { metadata: given, scaler } = readOptions(options);
  if (scaler !== undefined) scalingOf(scaler);
  // Requests everything before the first await, so that all of it is from the same moment.
  const metadata = copyOf(given);
  const shapes = shapesOf(optimizer);
  // The state dict before parameters: a Lookahead may complete a step for it.
  const saving = optimizer.stateDict();
  const names = groupsOf(optimizer).flat();
  const reads = names.map((name) => weightsOf(optimizer).read(name));
  const [stateDict, arrays, scalerDict] = await Promise.all([saving, Promise.all(reads), scaler?.stateDict()]);
  const params = Object.fromEntries(names.map((name, i) => [name, arrays[i]]));
  return encodeCheckpoint({ params, stateDict, shapes, metadata, scaler: scalerDict });
}

/**
 * Streams the bytes of `saveCheckpoint`. Reads each array only when the stream needs it, so that a large model is never
 * copied as a whole. The stream fails with an Error if the optimizer is stepped or otherwise changed meanwhile. It does
 * not detect that the caller writes to `optimizer.params` or GPU buffers: the file may then mix old and new arrays.
 *
 * @param optimizer - As for `saveCheckpoint`.
 * @param options - As for `saveCheckpoint`.
 * @returns A stream of the bytes of a file.
 * @throws The errors of `saveCheckpoint`. Those of reads fail the stream.
 * @example
 * const stream = checkpointStream(optimizer, { metadata: { epoch: 3 } });
 * const bytes = await new Response(stream).arrayBuffer();
 */
export function checkpointStream(
  optimizer: AnyOptimizer,
  options: CheckpointOptions = {},
): ReadableStream<Uint8Array> & ByteStream {
  expectArguments(arguments.length, 2, 'checkpointStream');
  checkOptimizer(optimizer, 'lazyStateDict');
  const { metadata: note, scaler } = readOptions(options);
  if (scaler !== undefined) scalingOf(scaler);
  const { dict, params, arrays } = optimizer.lazyStateDict();
  const given = [...params.map((each) => ({ ...each, slot: 'param' })), ...arrays];
  const [shapes, metadata] = [shapesOf(optimizer), copyOf(note)];
  const write = (scalerDict?: ScalerStateDict) => writeOutline(dict, given, shapes, metadata, scalerDict);
  // Also checks everything. A scaler on the GPU gives its state, as of now, later.
  const { header, parts } = write();
  const saving = scaler?.stateDict().then((scalerDict) => write(scalerDict).header);
  // An error fails the stream.
  saving?.catch(() => {});
  const reads = parts.filter(({ length }) => length > 0).map(({ read }) => read);
  let next = -1;
  return new ReadableStream<Uint8Array>(
    ownOf<UnderlyingDefaultSource<Uint8Array>>({
      async pull(controller) {
        controller.enqueue(next < 0 ? ((await saving) ?? header) : bytesOf(await reads[next]()));
        next += 1;
        if (next === reads.length) controller.close();
      },
    }),
    // Do not read ahead.
    ownOf({ highWaterMark: 0 }),
  );
}

/** The options of `loadCheckpoint`. */
export interface LoadCheckpointOptions extends LoadOptions {
  /** A gradient scaler, whose state is loaded, too. Default: none; the file's state of a scaler is ignored. */
  scaler?: GradScaler | undefined;
}

/** The result of loading a checkpoint with `strict: false`. */
export interface PartlyLoaded extends IncompatibleNames {
  /** The caller's value; undefined if none was saved. */
  metadata: unknown;
}

/**
 * Loads what a checkpoint has for the tensors of the optimizer: parameters and state dict. Tensors that only one side
 * has stay as they are, or are ignored.
 *
 * @param optimizer - As for `saveCheckpoint`. On the GPU, your own buffers need COPY_DST usage.
 * @param source - The bytes of a file, or a stream of them.
 * @param options - `strict: false`; `options: 'current'` to keep the optimizer's options; and `scaler` to load the state
 *   of a gradient scaler into it, if the file has one.
 * @returns A promise of the metadata, and of the names that only one side has.
 * @throws TypeError or RangeError unless the checkpoint is valid, of the same algorithm, and of the same lengths and
 *   shapes for tensors that both sides have. The promise rejects with them; then the optimizer has not changed, and a
 *   stream is cancelled.
 * @example
 * const bytes = await saveCheckpoint(optimizer);
 * const { metadata, missing } = await loadCheckpoint(optimizer, bytes, { strict: false });
 */
export async function loadCheckpoint(
  optimizer: AnyOptimizer,
  source: Uint8Array | ArrayBuffer | ByteStream,
  options: LoadCheckpointOptions & { strict: false },
): Promise<PartlyLoaded>;
/**
 * Loads a checkpoint of the same tensors and the same algorithm: parameters and state dict.
 *
 * Only shapes that both sides have are compared: a flat tensor of a file loads into any shape, and a file with shapes
 * loads into an optimizer without. The optimizer keeps its shapes.
 *
 * @param optimizer - As for `saveCheckpoint`. On the GPU, your own buffers need COPY_DST usage.
 * @param source - The bytes of a file, or a stream of them.
 * @param options - `options: 'current'` keeps the optimizer's options. Default: those of the file. `scaler`: a gradient
 *   scaler, to load its state as well.
 * @returns A promise of the metadata; undefined if none was saved.
 * @throws TypeError or RangeError unless the checkpoint is valid, and of the same tensors, shapes and algorithm, and
 *   TypeError for a `scaler` if the file has no state of one. The promise rejects with them; then the optimizer and the
 *   scaler have not changed, and a stream is cancelled.
 * @example
 * const bytes = await saveCheckpoint(optimizer, { metadata: { epoch: 3 } });
 * const metadata = await loadCheckpoint(optimizer, bytes); // { epoch: 3 }
 */
export async function loadCheckpoint(
  optimizer: AnyOptimizer,
  source: Uint8Array | ArrayBuffer | ByteStream,
  options?: LoadCheckpointOptions,
): Promise<unknown>;
export async function loadCheckpoint(
  optimizer: AnyOptimizer,
  source: Uint8Array | ArrayBuffer | ByteStream,
  options: LoadCheckpointOptions = {},
): Promise<unknown> {
  expectArguments(arguments.length, 3, 'loadCheckpoint');
  checkOptimizer(optimizer, 'loadStateDict');
  const { scaler: given, ...how } = readLoadOptions(options, 'loadCheckpoint', ['scaler']);
  const scaler = given as GradScaler | undefined;
  const scaling = scaler === undefined ? undefined : scalingOf(scaler);
  const checkScaler = (saved: ScalerStateDict | undefined): void => {
    if (saved !== undefined) scaling?.checkDict(saved);
    else if (scaling !== undefined && how.strict) throw new TypeError(NO_SCALER);
  };
  // Not limited if not strict: the file may have more tensors than the optimizer.
  const bounds = how.strict ? boundsOf(groupsOf(optimizer).flat()) : undefined;
  const {
    params,
    shapes,
    stateDict,
    metadata,
    scaler: saved,
  } = isStream(source)
    ? await readStream(source, bounds, (outline) => {
        checkScaler(outline.scaler);
        return checkFits(outline, optimizer, how.strict);
      })
    : decode(asBytes(source, 'the checkpoint', SOURCES), bounds);
  checkScaler(saved);
  checkShapes(Object.entries(shapes), optimizer);
  const names = await optimizer.loadStateDict(stateDict, { params, ...how });
  if (saved !== undefined) await scaler?.loadStateDict(saved);
  return how.strict ? metadata : { metadata, ...names };
}

const NO_SCALER =
  'The checkpoint has no state of a scaler: it was saved without the option scaler. Load it without it, too.';

const SOURCES =
  'a Uint8Array or ArrayBuffer (from a file, await readFile(path)), or a ReadableStream (from Node, Readable.toWeb(stream))';

function checkOptimizer(optimizer: unknown, method: keyof State): void {
  const isOne = typeof (optimizer as State | null | undefined)?.[method] === 'function';
  expect(isOne, 'the optimizer', "one of twinstep's, awaited", optimizer);
}

/** Returns a copy of metadata, as it is read from a file. */
const copyOf = (metadata: unknown): unknown =>
  metadata === undefined ? undefined : readJson(writeJson(metadata, 'metadata'), 'metadata');

const weightsOf = (optimizer: AnyOptimizer): Weights => ('optimizer' in optimizer ? optimizer.optimizer : optimizer);

const shapesOf = (optimizer: AnyOptimizer): Shapes => weightsOf(optimizer).shapes ?? {};

const groupsOf = (optimizer: AnyOptimizer): (readonly string[])[] =>
  weightsOf(optimizer).groups.map(({ params }) => params);

const isStream = (source: unknown): source is ByteStream =>
  !isBinary(source) && typeof (source as ByteStream | null | undefined)?.getReader === 'function';

/**
 * Returns whether to read the arrays of a name: those that the optimizer has. Throws if a length differs, or, with
 * `strict`, if only one side has a tensor.
 */
function checkFits({ dict, parts }: Outline, optimizer: AnyOptimizer, strict: boolean): (name: string) => boolean {
  if (strict) readDict(dict, groupsOf(optimizer));
  // Not of lazyStateDict(): that throws an error that the device reported, which loading a checkpoint clears.
  const { [LENGTHS]: lengths } = weightsOf(optimizer) as Partial<Pick<Optimizer<unknown>, typeof LENGTHS>>;
  for (const { slot, name, length } of parts) {
    const own = lengths?.get(name) ?? length;
    if (length !== own) throw new RangeError(`Expected ${own} values of ${slot} of ${show(name)}, got ${length}.`);
  }
  checkShapes(
    parts.map(({ name, shape }) => [name, shape]),
    optimizer,
  );
  const names = new Set(groupsOf(optimizer).flat());
  return (name) => names.has(name);
}

/** Throws if a file has other dimensions than the optimizer has for a tensor of the same length. */
function checkShapes(saved: readonly (readonly [name: string, Shape])[], optimizer: AnyOptimizer): void {
  const shapes = shapesOf(optimizer);
  for (const [name, shape] of saved) {
    const own = Object.hasOwn(shapes, name) ? shapes[name] : undefined;
    if (shape.length === 1 || own === undefined) continue;
    const isOther = shape.join() !== own.join() && count(shape) === count(own);
    if (isOther) throw unexpected(`the shape of ${show(name)}`, `the optimizer's, [${own.join(', ')}]`, shape);
  }
}
