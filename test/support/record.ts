// A minimal record of the bench.

import { BASELINE } from '../../bench/contenders.js';
import type { RunRecord } from '../../bench/record.js';

const ratio = (median: number) => [median, median, median] as const;

export const record: RunRecord = {
  date: '2026-01-02T03:04:05.000Z',
  machine: { cpu: 'Quick One CPU', cores: 2, memoryGiB: 8, system: 'linux x64', hasGpu: false },
  versions: { twinstep: '0.1.0', node: '20.0.0', v8: '11' },
  settings: { sizes: [1e6], rounds: 3, seconds: 0.1, memoryLength: 1e6 },
  contenders: [
    { name: 'traffic of 28 bytes', optimizer: 'probe', version: '' },
    { name: BASELINE, optimizer: 'adamw', version: '', error: 2e-7, bytes: 16.1 },
    { name: 'twinstep sgdScheduleFree, wasm', optimizer: 'sgdScheduleFree', version: '', error: 1e-7, bytes: 12.1 },
    { name: 'tfjs-wasm, Adam', optimizer: 'adamw', version: '4', error: 7e-6, bytes: 64 },
  ],
  rows: [
    { contender: 'traffic of 28 bytes', optimizer: 'adamw', size: 1e6, ns: 0.2, ratios: {} },
    {
      contender: BASELINE,
      optimizer: 'adamw',
      size: 1e6,
      ns: 0.5,
      ratios: { roof: ratio(0.9), [BASELINE]: ratio(1) },
    },
    {
      contender: 'tfjs-wasm, Adam',
      optimizer: 'adamw',
      size: 1e6,
      ns: 4,
      ratios: { roof: ratio(0.11), [BASELINE]: ratio(1 / 8) },
    },
    {
      contender: 'twinstep sgdScheduleFree, wasm',
      optimizer: 'sgdScheduleFree',
      size: 1e6,
      ns: 0.3,
      ratios: { roof: ratio(0.8), [BASELINE]: ratio(1 / 0.6) },
    },
  ],
  omissions: [{ contender: 'tfjs-wasm, Adam', sizes: [1e7, 3e7], because: 'it is slow' }],
  absences: [{ contender: 'js-pytorch, Adam', because: 'Cannot find it.', install: '`npm ci --prefix bench`' }],
};
