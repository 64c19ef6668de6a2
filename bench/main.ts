// `npm run bench`: nanoseconds per parameter of one step, its error and its memory, for our optimizers on every machine,
// for the alternatives, and for what this computer could do at best.

import { writeFileSync } from 'node:fs';
import { SingleBar } from 'cli-progress';
import { compare, countOf } from './compare.js';
import { choose, checkAll } from './check.js';
import { draw } from './picture.js';
import { makeRecord, writeRecord } from './record.js';
import { readSettings, type Asked } from './settings.js';
import { leftOut, legend, sizeName, table } from './table.js';

let asked: Asked;
try {
  asked = readSettings(process.argv.slice(2));
} catch (error) {
  console.error((error as Error).message);
  process.exit(2);
}

const choice = choose(asked.only);
const bar = new SingleBar({ format: '[{bar}] {percentage}% | {what}', clearOnComplete: true });

bar.start(choice.size, 0, { what: '' });
const { available, missing } = await checkAll(choice, asked.memoryLength, (what) => bar.increment({ what }));
bar.stop();

const settings = { ...asked, sizes: asked.memoryAlone ? [] : asked.sizes };
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
for (const line of leftOut(record)) console.log(line);

if (asked.json !== undefined) writeFileSync(asked.json, `${JSON.stringify(record, undefined, 1)}\n`);
if (asked.svg !== undefined) writeFileSync(asked.svg, draw(record));
if (asked.record) console.log(`\nWritten: ${writeRecord(record)}. \`npm run docs\` makes the README from it.`);
