// Writes what README.md and docs/speed.md say about speed from a record.

import { BASELINE, UNCLIPPED } from './contenders.js';
import { optimizers } from './ours.js';
import type { RunRecord } from './record.js';
import { clippingLines, isHardware, mainSize, nanoseconds, percent, sizeName } from './table.js';
import type { OptimizerName } from './truth.js';

const BEGIN = '<!-- Written by `npm run docs` from the newest record of `npm run bench -- --record`. -->\n';
const END = '\n<!-- End of what `npm run docs` writes. -->';

/** The pages with a marked part, and what it has. */
export const pages: Readonly<Record<string, (name: string, record: RunRecord) => string>> = {
  'README.md': summary,
  'docs/speed.md': section,
};

/** Returns the page with its marked part replaced. Throws a sentence if the comments around that part are missing. */
export function withPart(page: string, part: string): string {
  const [begin, end] = [page.indexOf(BEGIN), page.indexOf(END)];
  if (begin < 0 || end < begin)
    throw new Error(`Expected the page to have ${BEGIN.trim()} before ${END.trim()}, got a file without them.`);
  return page.slice(0, begin + BEGIN.length) + part + page.slice(end);
}

/** The contenders that the README names, and how. */
const named: readonly (readonly [string, string])[] = [
  [BASELINE, 'twinstep, one thread'],
  ['twinstep adamw, wasm, 2 threads', 'twinstep, two threads'],
  ['JS loop, textbook', 'a textbook loop in JavaScript'],
  ['tfjs-wasm, Adam', 'TensorFlow.js on WebAssembly, Adam'],
  ['torch AdamW, fused, one thread', "PyTorch's fused AdamW, one thread"],
];

/** Returns the part of the README: five numbers at the main size. Leaves out what the record lacks. */
export function summary(name: string, record: RunRecord): string {
  const { machine, versions, date } = record;
  const size = mainSize(record);
  const rows = named.flatMap(([contender, text]) => {
    const row = find(record, contender, size);
    if (row === undefined) return [];
    const { roof, [BASELINE]: ratio } = row.ratios;
    const time = isPeer(contender) ? `${times(1 / ratio[1])} times as long` : `${nanoseconds(row.ns)} ns per parameter`;
    return [[text, time, roof === undefined ? '' : percent(roof[1])]];
  });
  const parts = [
    `One step of AdamW over ${sizeName(size)} parameters, on ${machine.cpu}, ${machine.cores} cores, by Node ` +
      `${versions.node} on ${date.slice(0, 10)} ([record](bench/record/${name})). Other libraries are compared with ` +
      'twinstep on one thread.',
    markdown(['', 'time of a step', 'of the roof'], rows),
    'The roof is the best that the machine can do on one thread with 128-bit vectors: the slower of its memory and its ' +
      'dividers. Two threads and native code can exceed it.',
  ];
  return `\n${parts.join('\n\n')}\n`;
}

/** Returns the part of docs/speed.md. */
export function section(name: string, record: RunRecord): string {
  const { machine, versions, date } = record;
  const parts = [
    `Measured on ${machine.cpu}, ${machine.cores} cores, by Node ${versions.node} on ${date.slice(0, 10)} ` +
      `([record](../bench/record/${name})): nanoseconds per parameter of one step, with the percentage of the roof in ` +
      'parentheses. The roof is the slower of two probes in WebAssembly, on one thread, with 128-bit vectors: one moves ' +
      'the same memory, the other computes one root and one division for each element. Two threads, wide SIMD and ' +
      'native code can exceed it. Where memory is the limit, it is accurate to about 5 %. Error is the largest relative ' +
      'error of the first update, against float64 (js-pytorch does not correct the bias). Bytes are peak memory per ' +
      'parameter, including gradients. Ratios and percentages are medians of ratios within a round, not quotients of ' +
      'the times printed here.',
    ...figures(record),
    table(record),
    'Gradients are written to `optimizer.grads`. Rows "handed over" pass them to `step(gradients)`. Rows "passing" do ' +
      'so with `keepGrads: false`, which only saves memory. "Wide" uses `enableWideSimd()`. "Folded" loops ' +
      'compute everything that depends only on the step once per step, like the kernels.',
    '![ns per parameter over size, for each contender that computes AdamW](speed.svg)',
    'The other optimizers on WebAssembly, and other libraries, all on one thread. The last column is the time divided ' +
      `by that of twinstep's AdamW, at ${sizeName(mainSize(record))}.`,
    otherOptimizers(record),
  ];
  return `\n${parts.join('\n\n')}\n`;
}

type Row = RunRecord['rows'][number];

function find({ rows }: RunRecord, name: string, size: number, optimizer = 'adamw'): Row | undefined {
  return rows.find((row) => row.contender === name && row.size === size && row.optimizer === optimizer);
}

const times = (ratio: number): string => (ratio < 10 ? ratio.toPrecision(2) : ratio.toFixed(0));

function figures(record: RunRecord): string[] {
  const size = mainSize(record);
  const slower = record.contenders
    .filter(({ optimizer, name }) => optimizer === 'adamw' && isPeer(name))
    .map(({ name }) => ({ name, row: find(record, name, size) }))
    // Contenders on a GPU have no single-thread roof.
    .filter(({ row }) => row?.ratios.roof !== undefined && row.ratios[UNCLIPPED] === undefined)
    .map(({ name, row }) => `${name} ${times(1 / row!.ratios[BASELINE][1])}`);
  const ours = record.settings.sizes.map((each) => {
    return `${percent(find(record, BASELINE, each)!.ratios.roof[1])} at ${sizeName(each)}`;
  });
  return [
    `AdamW on WebAssembly reaches ${ours.join(', ')} of the roof. At ${sizeName(size)}, on one thread, the others take ` +
      `this many times as long (below 1 is faster): ${slower.join('; ')}.`,
    ...clippingLines(record),
    gpuFigures(record),
  ];
}

function gpuFigures(record: RunRecord): string {
  const { machine, settings } = record;
  if (!machine.hasGpu)
    return 'The machine has no GPU: WebGPU ran in software, so only its memory and errors are shown.';
  const wins = settings.sizes.find((size) => {
    const [gpu, cpu] = ['twinstep adamw, webgpu', BASELINE].map((name) => find(record, name, size));
    return gpu !== undefined && cpu !== undefined && gpu.ns < cpu.ns;
  });
  const largest = settings.sizes.findLast((size) => find(record, 'twinstep adamw, webgpu kernel', size) !== undefined)!;
  const { ratios } = find(record, 'twinstep adamw, webgpu kernel', largest)!;
  const from = wins === undefined ? 'at none of these sizes' : `from ${sizeName(wins)} on`;
  return (
    `${machine.gpu} is faster than WebAssembly ${from}, including the wait for each step. Its kernel alone reaches ` +
    `${percent(ratios.roof[1])} of the speed of a probe that moves the same memory at ${sizeName(largest)}, and ` +
    `${percent(ratios.copy[1])} of that of copyBufferToBuffer` +
    `${ratios.torch === undefined ? '' : `; PyTorch's fused AdamW takes ${times(ratios.torch[1])} times as long`}.`
  );
}

const shortError = (error: number | undefined): string => error?.toExponential(0).replace('e+0', '') ?? '';

/** The function to import, and the option if it needs one. */
function title(optimizer: string): string {
  const { algorithm } = optimizers[optimizer as OptimizerName];
  return algorithm === optimizer ? `\`${optimizer}\`` : `\`${algorithm}\` with \`${optimizer}: true\``;
}

const markdown = (head: readonly string[], lines: readonly (readonly string[])[]): string =>
  [head, head.map((_, i) => (i === 0 ? '---' : '--:')), ...lines].map((line) => `| ${line.join(' | ')} |`).join('\n');

const cell = (row: Row | undefined): string => {
  if (row === undefined) return '';
  return row.ratios.roof === undefined
    ? nanoseconds(row.ns)
    : `${nanoseconds(row.ns)} (${percent(row.ratios.roof[1])})`;
};

const ofBaseline = (row: Row | undefined): string =>
  row === undefined ? '' : (1 / row.ratios[BASELINE][1]).toFixed(2);

function table(record: RunRecord): string {
  const { contenders, settings } = record;
  const lines = contenders
    .filter(({ optimizer }) => optimizer === 'adamw')
    .map(({ name, error, bytes }) => [
      name,
      ...settings.sizes.map((size) => (isHardware(name, record) ? cell(find(record, name, size)) : '')),
      shortError(error),
      bytes?.toFixed(1) ?? '',
    ])
    .filter(([, ...cells]) => cells.some((each) => each !== ''));
  return markdown(['', ...settings.sizes.map(sizeName), 'error', 'bytes'], lines);
}

const isOther = (optimizer: string): boolean => optimizer !== 'adamw' && optimizer !== 'probe';
const isOurs = (name: string, optimizer: string): boolean => name === `twinstep ${optimizer}, wasm`;
const isPeer = (name: string): boolean => !name.startsWith('twinstep');

function otherOptimizers(record: RunRecord): string {
  const { contenders, settings } = record;
  const size = mainSize(record);
  const lines = contenders
    .filter(({ name, optimizer }) => isOther(optimizer) && (isOurs(name, optimizer) || isPeer(name)))
    .map(({ name, optimizer, error, bytes }) => [
      isPeer(name) ? name : title(optimizer),
      ...settings.sizes.map((each) => cell(find(record, name, each, optimizer))),
      shortError(error),
      bytes?.toFixed(1) ?? '',
      ofBaseline(find(record, name, size, optimizer)),
    ]);
  return markdown(['', ...settings.sizes.map(sizeName), 'error', 'bytes', 'of AdamW'], lines);
}
