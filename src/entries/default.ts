// The entry of Node, Deno, Bun, browsers and bundlers: the kernels are in the file, and compiled at first use.

import { base64 } from '../../assembly/core.wasm?base64';
import { provideCore } from '../backends/core.js';

provideCore(() => Uint8Array.from(atob(base64), (char) => char.charCodeAt(0)));

export * from '../index.js';
