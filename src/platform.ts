// Types of the platform that TypeScript's versions and a project's `lib` and `types` may lack, so that the package's
// declarations compile without them.

declare global {
  // Merged with the interfaces of lib.dom, @webgpu/types or Deno, which have more members: those here must be the same
  // there. They suffice to tell a buffer from an array.
  interface GPUBuffer {
    readonly size: number;
    readonly usage: number;
  }
  interface GPUBufferBinding {
    buffer: GPUBuffer;
    offset?: number;
    size?: number;
  }
  interface GPUQueue {}
  interface GPUDevice {
    readonly queue: GPUQueue;
  }
  interface GPUCommandEncoder {}
  interface GPUBindGroupLayoutDescriptor {}
  interface ReadableStream<R = any> {}
  namespace WebAssembly {
    interface Memory {}
    interface Module {}
  }
}

/** Float32Array<ArrayBuffer>, a copy and never shared memory; `Float32Array` is not generic before TypeScript 5.7. */
export type Floats = ReturnType<Float32Array['slice']>;

/** Uint8Array<ArrayBuffer>, like `Floats`. */
export type Bytes = ReturnType<Uint8Array['slice']>;
