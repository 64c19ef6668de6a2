// Saves an optimizer to a checkpoint, and loads it.

import type { Optimizer } from '../optimizer.js';
import { expect, expectArguments, list, noParameter, ownOf, show } from '../errors.js';
import { TO_LOAD_COMMON, readHow, type IncompatibleNames, type LoadOptions } from '../state/how.js';
import { asBytes, bytesOf, isBinary } from './bytes.js';
import { assemble, decode, encodeCheckpoint, type Checkpoint } from './codec.js';
import type { HeaderBounds } from './header.js';
import { readJson, writeJson } from './json.js';
import { boundsOf, readOptions, writeOutline, type CheckpointOptions, type Outline, type Shapes } from './outline.js';
import { readStream, type ByteStream } from './stream.js';

interface Weights extends Pick<Optimizer<unknown>, 'read'> {
  readonly groups: readonly { readonly params: readonly string[] }[];
}

type State = Pick<Optimizer<unknown>, 'stateDict' | 'lazyStateDict' | 'loadStateDict'>;

/** An optimizer of any algorithm, on any backend, or Lookahead over one. */
export type AnyOptimizer = State & (Weights | { readonly optimizer: Weights });

/**
 * Returns a checkpoint of the optimizer as it is at the call: parameters, state dict and `metadata`, as the bytes of one
 * safetensors file. The same training gives the same bytes.
 */
export async function saveCheckpoint(
  optimizer: AnyOptimizer,
  options: CheckpointOptions = {},
): Promise<Uint8Array<ArrayBuffer>> {
  expectArguments(arguments.length, 2, 'saveCheckpoint');
  checkOptimizer(optimizer, 'stateDict');
  const given = readOptions(options);
  // Request everything before the first await, so that all of it is of one moment.
  const shapes = copy(given.shapes, 'shapes') as Shapes | undefined;
  const metadata = copy(given.metadata, 'metadata');
  // The state dict first: Lookahead may have to complete a step.
  const saving = optimizer.stateDict();
  const names = namesOf(optimizer);
  const reads = names.map((name) => weightsOf(optimizer).read(name));
  const [stateDict, arrays] = await Promise.all([saving, Promise.all(reads)]);
  const params = Object.fromEntries(names.map((name, i) => [name, arrays[i]]));
  return encodeCheckpoint({ params, stateDict, shapes, metadata });
}

/**
 * Streams the bytes of `saveCheckpoint`. Reads each array only when the stream needs it: a large model is never copied as a
 * whole. The stream fails with an Error if the optimizer is stepped or otherwise changed meanwhile. Writes of
 * the caller into `optimizer.params` or GPU buffers are not detected: the file may then mix old and new arrays.
 */
export function checkpointStream(optimizer: AnyOptimizer, options: CheckpointOptions = {}): ReadableStream<Uint8Array> {
  expectArguments(arguments.length, 2, 'checkpointStream');
  checkOptimizer(optimizer, 'lazyStateDict');
  const { dict, params, arrays } = optimizer.lazyStateDict();
  const given = [...params.map((each) => ({ ...each, slot: 'param' })), ...arrays];
  const { header, parts } = writeOutline(dict, given, options);
  const reads = parts.filter(({ length }) => length > 0).map(({ read }) => read);
  let next = -1;
  return new ReadableStream<Uint8Array>(
    ownOf<UnderlyingDefaultSource<Uint8Array>>({
      async pull(controller) {
        controller.enqueue(next < 0 ? header : bytesOf(await reads[next]()));
        next += 1;
        if (next === reads.length) controller.close();
      },
    }),
    // Do not read ahead.
    ownOf({ highWaterMark: 0 }),
  );
}

/** The result of loading a checkpoint with `strict: false`. */
export interface PartlyLoaded extends IncompatibleNames {
  /** The caller's value; undefined if none was saved. */
  metadata: unknown;
}

/**
 * Loads a checkpoint's parameters and state dict, from bytes or a stream, and returns its metadata. The options are those
 * of `loadStateDict`; with `strict: false` it also returns the names that only one side has. Throws an Error unless the
 * checkpoint is valid, and of the same tensors and algorithm: then nothing has changed, and a stream is cancelled. The
 * caller's GPU buffers need COPY_DST usage.
 */
export async function loadCheckpoint(
  optimizer: AnyOptimizer,
  source: Uint8Array | ArrayBuffer | ByteStream,
  options: LoadOptions & { strict: false },
): Promise<PartlyLoaded>;
export async function loadCheckpoint(
  optimizer: AnyOptimizer,
  source: Uint8Array | ArrayBuffer | ByteStream,
  options?: LoadOptions,
): Promise<unknown>;
export async function loadCheckpoint(
  optimizer: AnyOptimizer,
  source: Uint8Array | ArrayBuffer | ByteStream,
  options: LoadOptions = {},
): Promise<unknown> {
  expectArguments(arguments.length, 3, 'loadCheckpoint');
  checkOptimizer(optimizer, 'loadStateDict');
  const how = readHow(options, 'loadCheckpoint');
  // A file of more tensors than the optimizer's has a longer header.
  const bounds = how.strict ? boundsOf(namesOf(optimizer)) : undefined;
  const { params, stateDict, metadata } = isStream(source)
    ? await load(source, optimizer, how.strict, bounds)
    : decode(asBytes(source, 'the checkpoint', SOURCES), bounds);
  const names = await optimizer.loadStateDict(stateDict, { params, ...how });
  return how.strict ? metadata : { metadata, ...names };
}

const SOURCES =
  'a Uint8Array or ArrayBuffer (from a file, await readFile(path)), or a ReadableStream (from Node, Readable.toWeb(stream))';

function checkOptimizer(optimizer: unknown, method: keyof State): void {
  const isOne = typeof (optimizer as State | null | undefined)?.[method] === 'function';
  expect(isOne, 'the optimizer', "one of twinstep's, awaited", optimizer);
}

const weightsOf = (optimizer: AnyOptimizer): Weights => ('optimizer' in optimizer ? optimizer.optimizer : optimizer);

const namesOf = (optimizer: AnyOptimizer): string[] => weightsOf(optimizer).groups.flatMap(({ params }) => params);

const copy = (value: unknown, what: string): unknown =>
  value === undefined ? undefined : readJson(writeJson(value, what), what);

const isStream = (source: unknown): source is ByteStream =>
  !isBinary(source) && typeof (source as ByteStream | null | undefined)?.getReader === 'function';

async function load(
  stream: ByteStream,
  optimizer: AnyOptimizer,
  strict: boolean,
  bounds: HeaderBounds | undefined,
): Promise<Checkpoint> {
  const { outline, arrays } = await readStream(stream, bounds, (each) => checkFits(each, optimizer, strict));
  return assemble(outline, arrays);
}

/**
 * Returns which tensors of a checkpoint are the optimizer's: no others are read. Throws if a length differs, or, with
 * `strict`, if only one side has a tensor.
 */
function checkFits({ parts }: Outline, optimizer: AnyOptimizer, strict: boolean): (name: string) => boolean {
  const lengths = new Map(optimizer.lazyStateDict().params.map(({ name, length }) => [name, length]));
  for (const { slot, name, length } of parts) {
    const own = lengths.get(name);
    if (own === undefined && !strict) continue;
    if (own === undefined) throw new TypeError(noParameter([name], '', [...lengths.keys()]) + TO_LOAD_COMMON);
    if (length !== own) throw new RangeError(`Expected ${own} values of ${slot} of ${show(name)}, got ${length}.`);
  }
  const given = new Set(parts.map(({ name }) => name));
  const missing = [...lengths.keys()].filter((name) => !given.has(name));
  if (strict && missing.length > 0)
    throw new TypeError(`The checkpoint lacks the parameter ${list(missing)}.${TO_LOAD_COMMON}`);
  return (name) => lengths.has(name);
}
