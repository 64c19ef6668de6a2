// `npm run bench`: measures nanoseconds per parameter of one step, its error and its memory, for our optimizers on
// every machine, for other libraries, and for the probes that show this computer's limits.

import { writeFileSync } from 'node:fs';
import { SingleBar } from 'cli-progress';
import { compare, countOf } from './compare.js';
import { choose, checkAll } from './check.js';
import { draw } from './picture.js';
import { makeRecord, writeRecord } from './record.js';
import { readOptions, type BenchOptions } from './options.js';
import { clippingLines, omissionLines, legend, sizeName, table } from './table.js';

let options: BenchOptions;
try {
  options = readOptions(process.argv.slice(2));
} catch (error) {
  console.error((error as Error).message);
  process.exit(2);
}

const choice = choose(options.only);
const bar = new SingleBar({ format: '[{bar}] {percentage}% | {what}', clearOnComplete: true });

bar.start(choice.size, 0, { what: '' });
const { available, missing } = await checkAll(choice, options.memoryLength, (what) => bar.increment({ what }));
bar.stop();

const settings = { ...options, sizes: options.memoryOnly ? [] : options.sizes };
bar.start(countOf(available, settings), 0, { what: '' });
const comparison = await compare(available, settings, (what, size) => {
  bar.increment({ what: `${what}, ${sizeName(size)}` });
});
bar.stop();

const record = makeRecord(comparison, available, missing, settings);
const { machine, versions } = record;
const adapter = machine.gpu === undefined ? '' : `; WebGPU adapter: ${machine.gpu}`;
console.log(`Node ${versions.node}; ${machine.cpu}, ${machine.cores} cores${adapter}`);
console.log(`\n${table(record)}\n\n${legend}\n`);
for (const line of [...clippingLines(record), ...omissionLines(record)]) console.log(line);

if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(record, undefined, 1)}\n`);
if (options.svg !== undefined) writeFileSync(options.svg, draw(record));
if (options.record) console.log(`\nWrote ${writeRecord(record)}. \`npm run docs\` updates the pages from it.`);
