// How many invocations a workgroup has: measured, once for each adapter, where there is enough to do for it to matter.

import { alignDown, arraysOf, FLOAT } from '../layout.js';
import { COPY_SRC, STORAGE } from '../memory.js';
import type { Rule } from '../../rules/rule.js';
import { complaint } from './device.js';
import { Kernels, workgroups } from './kernels.js';
import { readBack } from './readback.js';
import { WORKGROUP } from './shaders.js';
import { Uniforms } from './uniforms.js';

const SIZES = [32, WORKGROUP, 128, 256];
/** Parameters below which a step is over before the other pipelines would be compiled. */
const LEAST = 2 ** 22;
/** Bytes of an array to measure on: the arrays of a rule are together more than most caches hold. */
const BYTES = 2 ** 24;
/** Milliseconds of a run, long beside what a submit takes; two of each size make 16. A GPU is not as slow as `SLOW`. */
const RUN = 2;
const SLOW = 10;
const MOST_LAPS = 1024;
const ROUNDS = 2;
/** Another size must take less than this part of the time, so that noise does not choose. */
const GAIN = 0.95;
const QUERY_RESOLVE = 0x200;
/** Two numbers of 64 bits. */
const TICKS = 16;

const ofAdapter = new Map<string, Promise<number>>();
/** Where devices do not say what they run on. */
const ofDevice = new WeakMap<GPUDevice, Promise<number>>();

/** The size of workgroups for so many parameters. Where it cannot be measured, it is that for few. */
export function workgroupSize(device: GPUDevice, rule: Rule, parameters: number): Promise<number> {
  if (parameters < LEAST) return Promise.resolve(WORKGROUP);
  const { vendor, architecture, device: model, description } = device.adapterInfo ?? {};
  const adapter = [vendor, architecture, model, description].join(' ').trim();
  const isNamed = adapter !== '';
  // Devices of one adapter may have other limits.
  const key = `${adapter} ${largest(device)}`;
  let size = isNamed ? ofAdapter.get(key) : ofDevice.get(device);
  if (size === undefined) {
    // Memory half as long as the optimizer's, and let go of before that is made.
    const bytes = Math.min(BYTES, alignDown((parameters * FLOAT) / 2));
    size = fastest(device, rule, bytes).catch(() => {
      ofAdapter.delete(key);
      return WORKGROUP;
    });
    if (isNamed) ofAdapter.set(key, size);
    else ofDevice.set(device, size);
  }
  return size;
}

const largest = ({ limits }: GPUDevice): number =>
  Math.min(limits.maxComputeInvocationsPerWorkgroup, limits.maxComputeWorkgroupSizeX);

/** The size with which the kernel of a rule is fastest over arrays of so many bytes. */
async function fastest(device: GPUDevice, rule: Rule, bytes: number): Promise<number> {
  const kernels = Kernels.of(device);
  const { arraysLayout, pipelines } = await kernels.get(rule, WORKGROUP);
  const scratch: Scratch = [];
  try {
    let run!: Run;
    const trouble = await complaint(device, () => (run = onTrack(device, rule, arraysLayout, bytes, scratch)));
    if (trouble !== undefined) return WORKGROUP;

    let laps = 1;
    // The first run compiles, and clears the memory: it does not count.
    await run(pipelines.vec4, WORKGROUP, laps);
    let time = await run(pipelines.vec4, WORKGROUP, laps);
    while (time < RUN && laps < MOST_LAPS) time = await run(pipelines.vec4, WORKGROUP, (laps *= 2));
    if (time < RUN || time > SLOW) return WORKGROUP;

    const sizes = SIZES.filter((size) => size <= largest(device));
    const compiled = await Promise.all(sizes.map((size) => kernels.compile(rule, 'vec4', size, arraysLayout)));
    const best = sizes.map(() => Infinity);
    for (let round = 0; round < ROUNDS; round++) {
      for (const [i, size] of sizes.entries()) best[i] = Math.min(best[i], await run(compiled[i], size, laps));
    }
    const least = Math.min(...best);
    return least < GAIN * best[sizes.indexOf(WORKGROUP)] ? sizes[best.indexOf(least)] : WORKGROUP;
  } finally {
    for (const each of scratch) each.destroy();
  }
}

type Scratch = { destroy(): void }[];
/** Milliseconds of so many dispatches, one after another. */
type Run = (pipeline: GPUComputePipeline, size: number, laps: number) => Promise<number>;

/** Makes memory to run kernels over, and a clock, to be destroyed with all in `scratch`. */
function onTrack(device: GPUDevice, rule: Rule, layout: GPUBindGroupLayout, bytes: number, scratch: Scratch): Run {
  const keep = <Made extends { destroy(): void }>(made: Made): Made => (scratch.push(made), made);
  const scalars = keep(new Uniforms(device, Kernels.of(device).scalarsLayout, true));
  scalars.reserve(1);
  const by = scalars.put(new Float32Array(rule.scalars.length).fill(0.5));
  scalars.flush();
  const names = arraysOf(rule);
  const buffer = keep(device.createBuffer({ label: 'twinstep tune', size: names.length * bytes, usage: STORAGE }));
  const resource = (binding: number) => ({ buffer, offset: binding * bytes, size: bytes });
  const entries = names.map((_, binding) => ({ binding, resource: resource(binding) }));
  const arrays = device.createBindGroup({ layout, entries });
  // The GPU's own clock, where the device was asked for it, and what it shows.
  const hasClock = device.features.has('timestamp-query');
  const querySet = hasClock ? keep(device.createQuerySet({ type: 'timestamp', count: 2 })) : undefined;
  const ticks = keep(device.createBuffer({ size: TICKS, usage: QUERY_RESOLVE | COPY_SRC }));

  return async (pipeline, size, laps) => {
    let start = 0;
    // What the device does not run takes no time, and then nothing is measured.
    void complaint(device, () => {
      const encoder = device.createCommandEncoder();
      const timestampWrites = querySet && { querySet, beginningOfPassWriteIndex: 0, endOfPassWriteIndex: 1 };
      const pass = encoder.beginComputePass(timestampWrites && { timestampWrites });
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, by.bindGroup, [by.offset]);
      pass.setBindGroup(1, arrays);
      const [x, y] = workgroups(device, 'vec4', bytes, size);
      for (let lap = 0; lap < laps; lap++) pass.dispatchWorkgroups(x, y);
      pass.end();
      if (querySet !== undefined) encoder.resolveQuerySet(querySet, 0, 2, ticks, 0);
      start = performance.now();
      device.queue.submit([encoder.finish()]);
    });
    await device.queue.onSubmittedWorkDone();
    const time = performance.now() - start;
    if (querySet === undefined) return time;
    const [shown] = await readBack(device, [{ name: 'ticks', buffer: ticks, offset: 0, bytes: TICKS }]);
    const [from, to] = new BigUint64Array(shown.buffer);
    // Some clocks stand still.
    return to > from ? Number(to - from) / 1e6 : time;
  };
}
