// Kernels of the CPU that are in the file, for runtimes which may compile from bytes. As hex and not as base64: a byte
// that recurs does so as the same two letters, and compressed the file is three quarters as long.

import { hex } from '../../assembly/core.wasm?hex';

export const bytes = (): Uint8Array => Uint8Array.from(hex.match(/../g)!, (byte) => parseInt(byte, 16));
