// Golden cases: trajectories of torch, optax, keras and of formulas evaluated in numpy, in float32 and in float64.
// test/golden/README.md describes the files.

import { readdirSync, readFileSync } from 'node:fs';
import * as twinstep from 'twinstep';
import type { AlgorithmName } from 'twinstep/kernels';
import { readSafetensors, type TensorView } from '../../tools/safetensors.js';
import type { Options } from './backends.js';

export interface Case {
  readonly name: string;
  readonly algorithm: AlgorithmName;
  readonly options: Options;
  readonly groups: (Options & { params: string[] })[] | null;
  readonly steps: number;
  readonly record: number[];
  readonly events: Record<string, { lr?: number[]; roundtrip?: boolean }>;
  /** The options of every step. Cases that are older have none. */
  readonly step_options?: Options;
  /** The options of the scaler that every step has, if any. The gradients of such a case are scaled. */
  readonly scaler?: twinstep.GradScalerOptions | null;
  readonly arrays: ReadonlyMap<string, TensorView>;
}

const folder = new URL('../golden/', import.meta.url);

export const cases: Case[] = readdirSync(folder)
  .filter((file) => file.endsWith('.safetensors'))
  .map((file) => {
    const { metadata, tensors: arrays } = readSafetensors(readFileSync(new URL(file, folder)));
    return { ...(JSON.parse(metadata.get('case')!) as Omit<Case, 'arrays'>), arrays };
  });

/** The schedules of cases, by their description. */
const schedules: Record<string, (t: number) => number> = {
  'cosine over 40 steps: t => 0.5*(1+cos(pi*t/40))': (t) => 0.5 * (1 + Math.cos((Math.PI * t) / 40)),
};

/**
 * Returns our tensors after each recorded step: `param/<t>/<name>`, the average as `eval/...`; at the end
 * `state/<t>/<slot>/<name>`; and with a scaler its scale after every step as `scale/<t>`.
 */
export async function run(golden: Case, backend: Options): Promise<Map<string, Float32Array>> {
  const { arrays, events } = golden;
  const options = { ...golden.options, ...backend };
  if ('schedule' in options) {
    const schedule = schedules[options.schedule as string];
    if (schedule === undefined) throw new Error(`Unknown schedule ${String(options.schedule)}.`);
    options.schedule = schedule;
  }
  const init = (names: string[]): Record<string, Float32Array> =>
    Object.fromEntries(names.map((name) => [name, arrays.get(`init/${name}`)!.data as Float32Array]));
  const names = namesOf(golden);
  const params = golden.groups?.map((group) => ({ ...group, params: init(group.params) })) ?? init(names);

  const create = twinstep[golden.algorithm] as typeof twinstep.adam;
  const optimizer = await create(params, options);
  const scaler = golden.scaler ? twinstep.gradScaler(golden.scaler) : undefined;
  const stepOptions = { ...golden.step_options, scaler };
  const trajectory = new Map<string, Float32Array>();
  for (let t = 1; t <= golden.steps; t++) {
    events[t]?.lr?.forEach((lr, g) => (optimizer.groups[g].lr = lr));
    if (events[t]?.roundtrip) {
      optimizer.eval();
      optimizer.train();
    }
    // At an event without a gradient the file has none.
    optimizer.step(
      Object.fromEntries(names.map((name) => [name, arrays.get(`grad/${t}/${name}`)?.data as Float32Array])),
      stepOptions,
    );
    if (scaler !== undefined) trajectory.set(`scale/${t}`, Float32Array.of((await scaler.read()).scale));
    if (!golden.record.includes(t)) continue;
    for (const name of names) {
      trajectory.set(`param/${t}/${name}`, await optimizer.read(name));
      if (!arrays.has(`eval/${t}/${name}`)) continue;
      trajectory.set(`eval/${t}/${name}`, await optimizer.read(name, { average: true }));
    }
  }
  const { state, param_groups } = await optimizer.stateDict();
  for (const { params: indices, param_names } of param_groups) {
    for (const [i, index] of indices.entries()) {
      for (const [slot, value] of Object.entries(state[index])) {
        const key = `state/${golden.steps}/${slot}/${param_names[i]}`;
        if (arrays.has(key)) trajectory.set(key, typeof value === 'number' ? Float32Array.of(value) : value);
      }
    }
  }
  optimizer.dispose();
  scaler?.dispose();
  return trajectory;
}

export const namesOf = ({ arrays }: Case): string[] =>
  [...arrays.keys()].filter((key) => key.startsWith('init/')).map((key) => key.slice('init/'.length));
