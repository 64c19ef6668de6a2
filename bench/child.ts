// The process of one contender: `node child.js <name>`. It reads one request per line and answers with one line.
// Separate processes keep the compiled code, memory and flags of contenders apart.
// bench/peers/pytorch.py does the same in Python.

import { createInterface } from 'node:readline';
import type { Opened, System } from './contender.js';
import { contenderOf } from './contenders.js';
import { memoryModel, speedModel, updateModel } from './models.js';
import type { Request } from './process.js';

// Standard output is for answers only: send the logs of libraries to standard error.
console.log = console.error;

/** Steps of a small model come first, so that the memory for compiled code is not counted for the large model. */
const SMALL = 1000;
const STEPS = 3;

let system: System;
let opened: Opened;
let measure: typeof import('./measure.js');

async function run({ open }: System, model: Parameters<System['open']>[0], steps: number): Promise<Opened> {
  const made = await open(model);
  for (let t = 0; t < steps; t++) await made.step();
  return made;
}

const handlers: { readonly [Do in Request['do']]: (request: Extract<Request, { do: Do }>) => Promise<object> } = {
  async load({ name }) {
    const { system: load } = contenderOf(name);
    if (typeof load !== 'function') throw new TypeError(`${name} does not run in Node.`);
    system = await load();
    const { version, sizeLimit, memoryLength } = system;
    return { version, sizeLimit, memoryLength };
  },
  async update({ grads }) {
    const made = await run(system, updateModel(grads), 1);
    const params = await made.read?.();
    made.close();
    return { params: params === undefined ? undefined : Array.from(params) };
  },
  async open({ length }) {
    // Load benchmark.js only here: it is slow to load, and memory requests do not need it.
    measure = await import('./measure.js');
    opened = await system.open(speedModel(length));
    await measure.warmUp(opened, length);
    return {};
  },
  async time({ seconds }) {
    return { seconds: await measure.time(opened, seconds) };
  },
  async close() {
    opened.close();
    return {};
  },
  async memory({ length }) {
    (await run(system, memoryModel(SMALL), STEPS)).close();
    const before = process.memoryUsage.rss();
    const { peak } = await run(system, memoryModel(length), STEPS);
    return { bytes: peak?.() ?? 1024 * process.resourceUsage().maxRSS - before };
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line) as Request;
  const handle = handlers[request.do] as (request: Request) => Promise<object>;
  const answer = await handle(request).catch((error: Error) => ({ error: error.message }));
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
// A GPU device would keep the process alive.
process.exit(0);
