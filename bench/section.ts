// The README's section on speed, from a record.

import { BASELINE } from './contenders.js';
import { optimizers } from './ours.js';
import type { RunRecord } from './record.js';
import { nanoseconds, percent, sizeName } from './table.js';
import type { OptimizerName } from './truth.js';

const BEGIN = '<!-- Written by `npm run docs` from the newest record of `npm run bench -- --record`. -->\n';
const END = '\n<!-- As far as the record goes. -->';

/** The README with the section in it. Throws a sentence where the comments are missing between which it stands. */
export function withSection(readme: string, name: string, record: RunRecord): string {
  const [begin, end] = [readme.indexOf(BEGIN), readme.indexOf(END)];
  if (begin < 0 || end < begin)
    throw new Error(`Expected README.md to have ${BEGIN.trim()} before ${END.trim()}, got one without.`);
  return readme.slice(0, begin + BEGIN.length) + section(name, record) + readme.slice(end);
}

export function section(name: string, record: RunRecord): string {
  const { machine, versions, date } = record;
  const parts = [
    `Measured on ${machine.cpu}, ${machine.cores} cores, by Node ${versions.node} on ${date.slice(0, 10)} ` +
      `([record](bench/record/${name})): nanoseconds per parameter of one step, and in parentheses the part of the ` +
      'roof that it reaches. The roof is the slower of two probes in WebAssembly, on one thread, with vectors of 128 ' +
      'bits: one moves the same memory, the other takes one root and one division for each element. Two threads, wide ' +
      'SIMD and native code can pass it, and where memory is the limit it is right to some 5 %. Error is the largest ' +
      'relative error of the first update, against float64 (js-pytorch corrects no bias); bytes are peak memory per ' +
      'parameter, gradients included. Ratios and percentages are medians of ratios taken within a round, and so not ' +
      'the quotients of the times printed here.',
    ...figures(record),
    table(record),
    'Gradients are written into `optimizer.grads`, unless they are handed over to `step(gradients)`, or pass by ' +
      '`keepGrads: false`, which is there for its memory. Wide is by `enableWideSimd()`. Folded loops have all that ' +
      'depends on the step alone computed once, as the kernels have.',
    '![ns per parameter over size, of all who compute AdamW](docs/speed.svg)',
    'The other optimizers on WebAssembly, and other libraries, all on one thread; the last column is their time over that ' +
      `of twinstep's AdamW, at ${sizeName(common(record))}.`,
    others(record),
  ];
  return `\n${parts.join('\n\n')}\n`;
}

/** Where WebGPU is software, its times say nothing. */
const isHardware = (name: string, { machine }: RunRecord): boolean => machine.hasGpu || !name.includes('webgpu');

/** The size at which figures are given: a million, or what is next to it. */
const common = ({ settings: { sizes } }: RunRecord): number =>
  sizes.toSorted((a, b) => Math.abs(Math.log(a / 1e6)) - Math.abs(Math.log(b / 1e6)))[0];

type Row = RunRecord['rows'][number];

function find({ rows }: RunRecord, name: string, size: number, optimizer = 'adamw'): Row | undefined {
  return rows.find((row) => row.contender === name && row.size === size && row.optimizer === optimizer);
}

const times = (ratio: number): string => (ratio < 10 ? ratio.toPrecision(2) : ratio.toFixed(0));

function figures(record: RunRecord): string[] {
  const size = common(record);
  const slower = record.contenders
    .filter(({ optimizer, name }) => optimizer === 'adamw' && isPeer(name))
    .map(({ name }) => ({ name, row: find(record, name, size) }))
    // Those on a GPU have no roof on one thread.
    .filter(({ row }) => row?.ratios.roof !== undefined)
    .map(({ name, row }) => `${name} ${times(1 / row!.ratios[BASELINE][1])}`);
  const ours = record.settings.sizes.map((each) => {
    return `${percent(find(record, BASELINE, each)!.ratios.roof[1])} at ${sizeName(each)}`;
  });
  return [
    `AdamW on WebAssembly reaches ${ours.join(', ')} of the roof. At ${sizeName(size)}, on one thread, others take this ` +
      `many times as long as it (below 1 is faster): ${slower.join('; ')}.`,
    gpuFigures(record),
  ];
}

function gpuFigures(record: RunRecord): string {
  const { machine, settings } = record;
  if (!machine.hasGpu)
    return 'There was no GPU: WebGPU ran in software, which shows its memory and errors, not its speed.';
  const wins = settings.sizes.find((size) => {
    const [gpu, cpu] = ['twinstep adamw, webgpu', BASELINE].map((name) => find(record, name, size));
    return gpu !== undefined && cpu !== undefined && gpu.ns < cpu.ns;
  });
  const largest = settings.sizes.findLast((size) => find(record, 'twinstep adamw, webgpu kernel', size) !== undefined)!;
  const { ratios } = find(record, 'twinstep adamw, webgpu kernel', largest)!;
  const from = wins === undefined ? 'at none of these sizes' : `from ${sizeName(wins)} on`;
  return (
    `${machine.gpu} takes less time than WebAssembly ${from} when each step is waited for. Its kernel alone reaches ${percent(ratios.roof[1])} of a probe that moves the same ` +
    `memory at ${sizeName(largest)}, and ${percent(ratios.copy[1])} of copyBufferToBuffer` +
    `${ratios.torch === undefined ? '' : `; PyTorch's fused AdamW takes ${times(ratios.torch[1])} times as long`}.`
  );
}

const inShort = (error: number | undefined): string => error?.toExponential(0).replace('e+0', '') ?? '';

/** As it is imported, and with what. */
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
      inShort(error),
      bytes?.toFixed(1) ?? '',
    ])
    .filter(([, ...cells]) => cells.some((each) => each !== ''));
  return markdown(['', ...settings.sizes.map(sizeName), 'error', 'bytes'], lines);
}

const isOther = (optimizer: string): boolean => optimizer !== 'adamw' && optimizer !== 'probe';
const isOurs = (name: string, optimizer: string): boolean => name === `twinstep ${optimizer}, wasm`;
const isPeer = (name: string): boolean => !name.startsWith('twinstep');

function others(record: RunRecord): string {
  const { contenders, settings } = record;
  const size = common(record);
  const lines = contenders
    .filter(({ name, optimizer }) => isOther(optimizer) && (isOurs(name, optimizer) || isPeer(name)))
    .map(({ name, optimizer, error, bytes }) => [
      isPeer(name) ? name : title(optimizer),
      ...settings.sizes.map((each) => cell(find(record, name, each, optimizer))),
      inShort(error),
      bytes?.toFixed(1) ?? '',
      ofBaseline(find(record, name, size, optimizer)),
    ]);
  return markdown(['', ...settings.sizes.map(sizeName), 'error', 'bytes', 'of AdamW'], lines);
}
