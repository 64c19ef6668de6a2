// Trains a digits classifier with every optimizer on every backend of this machine, and compares the loss curves with
// PyTorch's. Run it with `npm start`.

import { writeFileSync } from 'node:fs';
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SingleBar } from 'cli-progress';
import { openDevice } from '../../tools/dawn.js';
import { pytorch } from './data.js';
import { draw } from './picture.js';
import { optimizers, train, type Backend, type Result } from './train.js';

/** The largest allowed distance from PyTorch's loss: both are float32, and 600 steps amplify rounding differences. */
const MOST = 1e-3;

const names = Object.keys(optimizers) as (keyof typeof optimizers)[];
const opened = await openDevice();
const backends: { name: Backend; device: GPUDevice | undefined; machine: string }[] = [
  { name: 'reference', device: undefined, machine: 'JavaScript' },
  { name: 'wasm', device: undefined, machine: 'CPU, WebAssembly SIMD' },
];
if (typeof opened !== 'string') backends.push({ name: 'webgpu', device: opened.device, machine: opened.adapter });

for (const { name, machine } of backends) console.log(`${name.padEnd(9)} on ${machine}`);
if (typeof opened === 'string') console.log(`webgpu    left out: ${opened}`);

const bar = new SingleBar({
  format: '[{bar}] {percentage}% | {value}/{total} steps | {run}',
  barCompleteChar: '#',
  barIncompleteChar: '.',
  noTTYOutput: true,
});
bar.start(backends.length * names.length * pytorch.steps, 0, { run: '' });
const results: Result[] = [];
for (const { name, device } of backends) {
  for (const optimizer of names) {
    bar.update({ run: `${optimizer} on ${name}` });
    results.push(await train(optimizer, name, device, () => bar.increment()));
  }
}
bar.stop();

const expected = (optimizer: string): readonly number[] => pytorch.runs[optimizer].float32.losses;
const distance = ({ optimizer, losses }: Result): number =>
  Math.max(...losses.map((loss, t) => Math.abs(loss - expected(optimizer)[t])));

const percent = (part: number): string => `${(100 * part).toFixed(2)} %`;

console.table(
  results.map((result) => ({
    backend: result.backend,
    optimizer: result.optimizer,
    'final loss': Number(result.losses.at(-1)!.toFixed(6)),
    'test accuracy': percent(result.testAccuracy),
    'PyTorch’s': percent(pytorch.runs[result.optimizer].float32.testAccuracy),
    'µs per step': Number(result.microseconds.toFixed(1)),
    'largest distance from PyTorch': Number(distance(result).toExponential(2)),
  })),
);

const picture = fileURLToPath(new URL('../../../digits.svg', import.meta.url));
const reference = Object.fromEntries(names.map((name) => [name, expected(name)]));
writeFileSync(picture, draw(results, reference, { window: pytorch.train / pytorch.batch, limit: MOST }));
console.log(`Loss curves: ${relative('.', picture)}`);

/** By how many of the 297 test images the accuracy differs from PyTorch's. One is allowed. */
const imagesApart = ({ optimizer, testAccuracy }: Result): number =>
  Math.round(297 * Math.abs(testAccuracy - pytorch.runs[optimizer].float32.testAccuracy));
const different = results.filter((result) => !(distance(result) <= MOST && imagesApart(result) <= 1));
for (const { backend, optimizer } of different) {
  console.error(
    `${optimizer} on ${backend} differs from PyTorch's losses by more than ${MOST}, or in accuracy by more than one image.`,
  );
}
// Exit explicitly: Dawn keeps the process alive.
process.exit(different.length > 0 ? 1 : 0);
