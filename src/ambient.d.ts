// What Rollup makes of the kernels of the other two languages.

declare module '*.wasm' {
  /** The compiled kernels of assembly/. */
  export const base64: string;
}

declare module '*.wgsl' {
  /** The source, without comments and needless space. */
  const source: string;
  export default source;
}
