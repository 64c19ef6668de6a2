// Tests which objects an optimizer keeps alive, and what a step allocates.

import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { adam } from 'twinstep';
import { describe, expect, test } from 'vitest';
import { backends } from './support/backends.js';
import { array } from './support/numbers.js';

async function isCollected(ref: WeakRef<object>): Promise<boolean> {
  for (let tries = 0; tries < 20; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 5));
    globalThis.gc!();
    if (ref.deref() === undefined) return true;
  }
  return false;
}

describe.each(backends)('%s', (...[, backend]) => {
  test('keeps no reference to arrays passed by the caller', async () => {
    let params: { w: Float32Array } | undefined = { w: array(1000, 1) };
    const optimizer = await adam(params, backend);
    const ref = new WeakRef(params.w.buffer);
    params = undefined;
    expect(await isCollected(ref)).toBe(true);

    let grads: { w: Float32Array } | undefined = { w: array(1000, 2) };
    optimizer.step(grads);
    const gradRef = new WeakRef(grads.w.buffer);
    grads = undefined;
    expect(await isCollected(gradRef)).toBe(true);
  });

  test('dispose() frees the memory, even if the optimizer is kept', async () => {
    const optimizer = await adam({ w: array(1000, 1) }, backend);
    const ref = new WeakRef<object>((optimizer.params.w as Float32Array | GPUBufferBinding).buffer);
    optimizer.dispose();
    expect(await isCollected(ref)).toBe(true);
    expect(() => optimizer.params).toThrow('disposed');
  });
});

describe.each([...backends, ['two threads', { threads: 2 }] as const])('%s', (...[, backend]) => {
  test('removeParams() frees the memory of tensors added together once all of them are removed', async () => {
    const small = await adam({ w: array(1000, 1) }, backend as (typeof backends)[0][1]);
    const optimizer = await small.addParamGroup({ params: { a: array(50_000, 1), b: array(50_000, 2) } });
    const bufferOf = (name: 'a' | 'b'): object => (optimizer.params[name] as Float32Array | GPUBufferBinding).buffer;
    const ref = new WeakRef(bufferOf('a'));
    optimizer.step({ w: array(1000, 2), a: array(50_000, 3), b: array(50_000, 4) });
    await optimizer.removeParams(['a']);
    expect(await isCollected(ref)).toBe(false);
    await optimizer.removeParams(['b']);
    expect(await isCollected(ref)).toBe(true);
    optimizer.step({ w: array(1000, 2) });
    optimizer.dispose();
  });
});

test('shared memory is freed if a parameter cannot be copied into it', async () => {
  const optimizer = await adam({ w: array(1000, 1) }, { threads: 2 });
  const made: WeakRef<object>[] = [];
  const { Memory } = WebAssembly;
  WebAssembly.Memory = class extends Memory {
    constructor(how: WebAssembly.MemoryDescriptor) {
      super(how);
      made.push(new WeakRef(this));
    }
  };
  try {
    const big = array(1_000_000, 2);
    const adding = optimizer.addParamGroup({ params: { big } });
    structuredClone(big, { transfer: [big.buffer] });
    await expect(adding).rejects.toThrow('parameter "big"');
  } finally {
    WebAssembly.Memory = Memory;
  }
  expect(made.length).toBe(1);
  expect(await isCollected(made[0])).toBe(true);
  optimizer.step({ w: array(1000, 3) });
  optimizer.dispose();
});

test.each(['wasm', 'reference'] as const)('%s: padding stays zero with keepGrads: false', async (backend) => {
  const optimizer = await adam({ long: array(200, 1), short: array(3, 2) }, { backend, keepGrads: false });
  optimizer.step({ long: array(200, 3), short: array(3, 4) });
  optimizer.step({ short: array(3, 5) });
  for (const { buffer, byteOffset, length } of Object.values(optimizer.params)) {
    const padding = new Float32Array(buffer, byteOffset + 4 * length, 64 - (length % 64));
    expect(padding.every((x) => x === 0)).toBe(true);
  }
});

test('a step on the CPU allocates no objects', () => {
  const script = fileURLToPath(new URL('support/allocations.mjs', import.meta.url));
  const heapFlags = ['--min-semi-space-size=512', '--max-semi-space-size=512'];
  const printed = execFileSync(process.execPath, ['--expose-gc', ...heapFlags, script], { encoding: 'utf8' });
  const allocated = JSON.parse(printed) as Record<string, { bytes: number; below: number }>;
  expect(Object.keys(allocated)).toHaveLength(9);
  for (const [way, { bytes, below }] of Object.entries(allocated)) expect(bytes, way).toBeLessThan(below);
});
