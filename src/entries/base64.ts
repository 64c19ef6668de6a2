// Kernels of the CPU that are in the file, for runtimes which may compile from bytes.

import { base64 } from '../../assembly/core.wasm?base64';

export const bytes = (): Uint8Array => Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
