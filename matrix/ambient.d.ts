// Declares the packages of matrix/package.json as untyped: `npm run lint` runs without installing them.

declare module '@edge-runtime/vm';
declare module '@rollup/plugin-node-resolve';
declare module 'esbuild';
declare module 'estree-walker';
declare module 'miniflare';
declare module 'playwright-core';
declare module 'publint';
declare module 'publint/utils';
declare module 'resolve';
declare module 'rollup';
declare module 'rollup/parseAst';
declare module 'sirv';
declare module 'vite';
declare module 'webpack';
