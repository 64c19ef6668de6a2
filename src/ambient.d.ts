// What Rollup makes of the kernels of the other two languages, or leaves to the runtime.

declare module '*assembly?late' {
  /** The compiled kernels of assembly/, by file, each a module of its own. */
  export const hex: Readonly<Record<string, () => Promise<{ hex: string }>>>;
}

declare module '*assembly?hex' {
  /** The compiled kernels of assembly/, by file. */
  export const hex: Readonly<Record<string, string>>;
}

declare module '*?hex' {
  /** The compiled kernels of a file of assembly/. */
  export const hex: string;
}

declare module '*.wasm' {
  /** Compiled by the runtime. */
  const module: WebAssembly.Module;
  export default module;
}

declare module '*.wasm?module' {
  export { default } from '*.wasm';
}

declare module '*?text' {
  /** A file, and those that it imports, as the text of one script. */
  const code: string;
  export default code;
}

declare module '*.wgsl' {
  /** The source, without comments and needless space. */
  const source: string;
  export default source;
}
