// Reading a checkpoint from a stream: nothing larger is allocated than what has come, or the optimizer has itself.

import { expect, show } from '../sentences.js';
import { asBytes, bytesOf } from './bytes.js';
import { PREFIX, readHeader, readHeaderLength } from './header.js';
import { readOutline, type Outline } from './outline.js';

/** A stream of bytes, as far as it is used: a ReadableStream by the types of the DOM, or by those of Node. */
export interface ByteStream {
  readonly locked: boolean;
  getReader(): ByteReader;
}

interface ByteReader {
  read(): Promise<{ readonly done: boolean; readonly value?: Uint8Array | undefined }>;
  cancel(reason?: unknown): Promise<void>;
  releaseLock(): void;
}

const FIRST_BYTES = 2 ** 16;

/**
 * The outline of a checkpoint, handed to `accept` before any data are taken in, and the arrays of its parts: of those
 * whose names `accept` then wants. Throws an Error for a stream that is not just one sound checkpoint, and then cancels it.
 */
export async function readStream(
  stream: ByteStream,
  accept: (outline: Outline) => (name: string) => boolean,
): Promise<{ outline: Outline; arrays: Float32Array[] }> {
  expect(!stream.locked, 'the stream', 'free to be read', stream);
  const reader = stream.getReader();
  const source = new Source(reader);
  try {
    const length = readHeaderLength(await source.gather(PREFIX));
    const outline = readOutline(readHeader(await source.gather(length)));
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
    return { outline: { ...outline, parts: outline.parts.filter(({ name }) => isWanted(name)) }, arrays };
  } catch (error) {
    // Not waited for: a source may take for ever over it.
    void reader.cancel(error).catch(() => {});
    throw error;
  } finally {
    reader.releaseLock();
  }
}

/** The bytes of a stream in order, whatever its chunks. */
class Source {
  readonly #reader: ByteReader;
  /** What is left of the latest chunk. */
  #rest: Uint8Array = new Uint8Array(0);
  #taken = 0;

  constructor(reader: ByteReader) {
    this.#reader = reader;
  }

  /** Fills `target` with the next bytes. */
  async fill(target: Uint8Array): Promise<void> {
    await this.#take(target.length, (part, at) => target.set(part, at));
  }

  /** Passes over the next bytes. */
  async skip(length: number): Promise<void> {
    await this.#take(length, () => {});
  }

  async #take(length: number, use: (part: Uint8Array, at: number) => void): Promise<void> {
    for (let at = 0; at < length;) {
      if (this.#rest.length === 0 && !(await this.#next())) {
        throw new TypeError(`Expected at least ${this.#taken + length - at} bytes in the stream, got ${this.#taken}.`);
      }
      const part = this.#rest.subarray(0, length - at);
      use(part, at);
      at += part.length;
      this.#taken += part.length;
      this.#rest = this.#rest.subarray(part.length);
    }
  }

  /** The next `length` bytes, for which memory is taken as they come. */
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

  /** Throws unless all has been taken. */
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
    return true;
  }
}
