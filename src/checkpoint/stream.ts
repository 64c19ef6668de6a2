// Reads a checkpoint from a stream. Allocates no more than has arrived, or than the optimizer's arrays take.

import { expect, show } from '../errors.js';
import { asBytes, bytesOf, concatenate } from './bytes.js';
import { assemble, type Checkpoint } from './codec.js';
import { PREFIX, readHeader, readHeaderLength, type HeaderBounds } from './header.js';
import { readOutline, type Outline } from './outline.js';

/** The part of ReadableStream that is used. Matches the types of both the DOM and Node. */
export interface ByteStream {
  /** Whether it has a reader. */
  readonly locked: boolean;
  /** Locks the stream, and returns its reader. */
  getReader(): ByteReader;
}

interface ByteReader {
  read(): Promise<{ readonly done: boolean; readonly value?: Uint8Array | undefined }>;
  cancel(reason?: unknown): Promise<void>;
  releaseLock(): void;
}

const FIRST_BYTES = 2 ** 16;

/** Maximum number of empty chunks in a row. After CHUNKS_PER_YIELD chunks, yields to the event loop. */
const MOST_EMPTY = 1000;
const CHUNKS_PER_YIELD = 1000;

/**
 * Reads a checkpoint. Calls `accept` with the outline before it reads data: `accept` returns which names to keep.
 * Throws an Error, and cancels the stream, unless it is exactly one valid checkpoint.
 */
export async function readStream(
  stream: ByteStream,
  bounds: HeaderBounds | undefined,
  accept: (outline: Outline) => (name: string) => boolean,
): Promise<Checkpoint> {
  expect(!stream.locked, 'the stream', 'one that is not locked', stream);
  const reader = stream.getReader();
  const source = new Source(reader);
  try {
    const start = new Uint8Array(PREFIX + 1);
    const length = readHeaderLength(start.subarray(0, await source.read(start)), bounds);
    const rest = await source.gather(length - 1);
    const outline = readOutline(readHeader(concatenate(start.subarray(PREFIX), [rest]), bounds));
    const isWanted = accept(outline);
    const arrays: Float32Array[] = [];
    for (const part of outline.parts) {
      if (!isWanted(part.name)) {
        await source.skip(part.length * Float32Array.BYTES_PER_ELEMENT);
        continue;
      }
      const array = new Float32Array(part.length);
      await source.fill(bytesOf(array));
      arrays.push(array);
    }
    await source.finish();
    return assemble({ ...outline, parts: outline.parts.filter(({ name }) => isWanted(name)) }, arrays);
  } catch (error) {
    // Not awaited: the source may never finish it.
    void reader.cancel(error).catch(() => {});
    throw error;
  } finally {
    reader.releaseLock();
  }
}

/** Reads the bytes of a stream in order, regardless of its chunks. */
class Source {
  readonly #reader: ByteReader;
  /** The unread part of the latest chunk. */
  #rest: Uint8Array = new Uint8Array(0);
  #taken = 0;
  #chunks = 0;
  #empty = 0;

  constructor(reader: ByteReader) {
    this.#reader = reader;
  }

  /** Fills `target` with the next bytes, as many as there are, and returns their number. */
  async read(target: Uint8Array): Promise<number> {
    return this.#take(target.length, (part, at) => target.set(part, at));
  }

  /** Fills all of `target`. */
  async fill(target: Uint8Array): Promise<void> {
    this.#checkAll(target.length, await this.read(target));
  }

  /** Skips the next bytes. */
  async skip(length: number): Promise<void> {
    this.#checkAll(length, await this.#take(length, () => {}));
  }

  async #take(length: number, use: (part: Uint8Array, at: number) => void): Promise<number> {
    for (let at = 0; at < length;) {
      if (this.#rest.length === 0 && !(await this.#next())) return at;
      const part = this.#rest.subarray(0, length - at);
      use(part, at);
      at += part.length;
      this.#taken += part.length;
      this.#rest = this.#rest.subarray(part.length);
    }
    return length;
  }

  #checkAll(length: number, got: number): void {
    if (got === length) return;
    throw new TypeError(`Expected at least ${this.#taken + length - got} bytes in the stream, got ${this.#taken}.`);
  }

  /** Returns the next `length` bytes. Allocates memory as they arrive. */
  async gather(length: number): Promise<Uint8Array> {
    let bytes = new Uint8Array(0);
    while (bytes.length < length) {
      const more = new Uint8Array(Math.min(length, Math.max(2 * bytes.length, FIRST_BYTES)));
      more.set(bytes);
      await this.fill(more.subarray(bytes.length));
      bytes = more;
    }
    return bytes;
  }

  /** Throws unless the whole stream has been read. */
  async finish(): Promise<void> {
    while (this.#rest.length === 0) if (!(await this.#next())) return;
    throw new TypeError(`Expected the stream to end after ${this.#taken} bytes, got ${this.#rest.length} more.`);
  }

  async #next(): Promise<boolean> {
    const { done, value } = await this.#reader.read().catch((cause: unknown) => {
      const why = cause instanceof Error ? cause.message : show(cause);
      throw new Error(`The stream failed after ${this.#taken} bytes: ${why}`, { cause });
    });
    if (done) return false;
    this.#rest = asBytes(value, 'a chunk of the stream', 'a Uint8Array');
    this.#empty = this.#rest.length === 0 ? this.#empty + 1 : 0;
    if (this.#empty > MOST_EMPTY) {
      throw new TypeError(`Expected data after ${this.#taken} bytes of the stream, got ${this.#empty} empty chunks.`);
    }
    this.#chunks += 1;
    // Reading buffered chunks does not yield to the event loop.
    if (this.#chunks % CHUNKS_PER_YIELD === 0) await new Promise((resolve) => setTimeout(resolve, 0));
    return true;
  }
}
