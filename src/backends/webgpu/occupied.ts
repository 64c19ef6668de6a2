// Which bytes of which buffers parameters take, to ask it of each gradient of a step.

interface Taken {
  readonly name: string;
  readonly begin: number;
  readonly end: number;
}

/** Parameters never overlap each other. */
export class Occupied {
  /** In the order of their bytes. */
  readonly #byBuffer = new Map<GPUBuffer, readonly Taken[]>();

  add(params: Readonly<Record<string, GPUBufferBinding>>): void {
    const added = new Map<GPUBuffer, Taken[]>();
    for (const [name, { buffer, offset = 0, size = 0 }] of Object.entries(params)) {
      if (size === 0) continue;
      if (!added.has(buffer)) added.set(buffer, [...(this.#byBuffer.get(buffer) ?? [])]);
      added.get(buffer)!.push({ name, begin: offset, end: offset + size });
    }
    for (const [buffer, taken] of added) {
      taken.sort((a, b) => a.begin - b.begin);
      this.#byBuffer.set(buffer, taken);
    }
  }

  /** The first parameter that has some of these bytes. */
  at(buffer: GPUBuffer, begin: number, bytes: number): string | undefined {
    const taken = this.#byBuffer.get(buffer);
    if (taken === undefined) return undefined;
    let low = 0;
    let high = taken.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (taken[middle].end <= begin) low = middle + 1;
      else high = middle;
    }
    return low < taken.length && taken[low].begin < begin + bytes ? taken[low].name : undefined;
  }
}
