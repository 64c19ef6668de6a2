// Tests conversion to PyTorch and back: training half here and half in PyTorch equals training in PyTorch, for every
// algorithm that both have. And that gradients are clipped as in PyTorch. Needs a Python with torch ($TWINSTEP_PYTHON or python3); without one these tests are
// skipped. With TWINSTEP_RECORD set, a run writes test/record/torch.json.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as twinstep from 'twinstep';
import {
  decodeCheckpoint,
  loadCheckpoint,
  saveCheckpoint,
  serializeSafetensors,
  type SafeTensor,
} from 'twinstep/checkpoint';
import { chained, multiStep, oneCycle, reduceOnPlateau, type ReduceOnPlateau } from 'twinstep/schedules';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readSafetensors } from '../tools/safetensors.js';
import type { Create } from './support/algorithms.js';
import { backends, type Options } from './support/backends.js';
import { array, largest, random } from './support/numbers.js';
import { map, readAll, type Tensors } from './support/tensors.js';
import { ROUNDING, TORCH_NORM_ROUNDINGS, TORCH_ROUNDINGS } from './support/tolerances.js';

const python = process.env.TWINSTEP_PYTHON ?? 'python3';
const path = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
const runPython = (...args: string[]) => spawnSync(python, args, { encoding: 'utf8', timeout: 120_000 });
const hasTorch = runPython('-c', 'import torch').status === 0;
if (!hasTorch) {
  console.warn(
    `SKIPPED: ${python} has no torch, so nothing is compared with PyTorch; set TWINSTEP_PYTHON to one that has.`,
  );
}

const [HALF, STEPS] = [50, 100];

interface Case {
  readonly name: string;
  readonly algorithm: string;
  /** The class in PyTorch. */
  readonly torch: string;
  readonly options?: Options;
  readonly groups?: [names: string[], Options][];
  readonly mode?: 'train' | 'eval';
  readonly named?: boolean;
  /** Options here that are functions, and the PyTorch scheduler in their place, with metrics by step. */
  readonly functions?: () => Options;
  readonly scheduler?: [name: string, Options];
  readonly metrics?: readonly number[];
  /** Splits one group here into two in PyTorch. */
  readonly decayMask?: Readonly<Record<string, boolean>>;
  /** What the tool prints: what the user must do in PyTorch, and after converting back. */
  readonly notices?: [string, string];
}

const all = ['scale', 'late', 'fc.weight', 'fc.bias'];
const cases: Case[] = [
  { name: 'adam', algorithm: 'adam', torch: 'Adam', options: { lr: 0.01, weight_decay: 0.1 } },
  { name: 'adam-unnamed', algorithm: 'adam', torch: 'Adam', options: { lr: 0.01, betas: [0.5, 0.9] }, named: false },
  { name: 'adamw', algorithm: 'adamw', torch: 'AdamW', options: { lr: 0.01, weight_decay: 0.1 } },
  {
    name: 'adamw-amsgrad',
    algorithm: 'adamw',
    torch: 'AdamW',
    options: { lr: 0.01, weight_decay: 0.3, amsgrad: true, maximize: true },
  },
  {
    name: 'adamw-groups',
    algorithm: 'adamw',
    torch: 'AdamW',
    options: { eps: 1e-6 },
    groups: [
      [['fc.weight', 'late'], { name: 'first', lr: 0.02, weight_decay: 0.2 }],
      [['fc.bias', 'scale'], { name: 'second', lr: 0.005, weight_decay: 0 }],
    ],
  },
  {
    name: 'adamw-decay-mask',
    algorithm: 'adamw',
    torch: 'AdamW',
    options: { lr: 0.01, weight_decay: 0.3 },
    decayMask: { scale: false, late: true, 'fc.weight': true, 'fc.bias': false },
    groups: [
      [['late', 'fc.weight'], {}],
      [['scale', 'fc.bias'], { weight_decay: 0 }],
    ],
    notices: [
      'PyTorch decays all tensors of a group, so group 0 becomes two. Make them in this order: weight_decay = 0.3 for ' +
        "'late', 'fc.weight', then 0 for 'scale', 'fc.bias'.\n",
      '',
    ],
  },
  {
    name: 'adam-multi-step',
    algorithm: 'adam',
    torch: 'Adam',
    options: { lr: 0.01, weight_decay: 0.1 },
    functions: () => ({ schedule: multiStep({ milestones: [20, 70] }) }),
    scheduler: ['MultiStepLR', { milestones: [20, 70] }],
    notices: [
      'Saved as numbers, as of 50 completed steps, but functions in twinstep: schedule.\n' +
        "Make PyTorch's scheduler for the loaded optimizer without last_epoch; call its step() 50 times.\n",
      'The lr of group 0 is 0.01 here; PyTorch scheduled it to 0.001. Set the option schedule.\n' +
        "Left out, because a schedule is code here: 'lr_scheduler'.\n",
    ],
  },
  {
    name: 'adamw-one-cycle',
    algorithm: 'adamw',
    torch: 'AdamW',
    options: { lr: 0.01, weight_decay: 0.1 },
    functions: () => {
      const schedule = oneCycle({ totalSteps: STEPS + 1 });
      return { schedule, betas: schedule.betas(0.999) };
    },
    scheduler: ['OneCycleLR', { max_lr: 0.01, total_steps: STEPS + 1 }],
    notices: [
      'Saved as numbers, as of 50 completed steps, but functions in twinstep: betas, schedule.\n' +
        "Make PyTorch's scheduler for the loaded optimizer without last_epoch; call its step() 50 times.\n",
      'The lr of group 0 is 0.01 here; PyTorch scheduled it to 0.00',
    ],
  },
  {
    name: 'radam-plateau',
    algorithm: 'radam',
    torch: 'RAdam',
    options: { lr: 0.02 },
    functions: () => ({ schedule: reduceOnPlateau({ factor: 0.5, patience: 3, cooldown: 4 }) }),
    scheduler: ['ReduceLROnPlateau', { factor: 0.5, patience: 3, cooldown: 4 }],
    metrics: Array.from({ length: STEPS }, (_, t) => Math.max(0.1, 1 - t / 30) + 0.01 * (t % 3)),
    notices: ["Make ReduceLROnPlateau with your options, and load 'lr_scheduler' with its load_state_dict.\n", ''],
  },
  { name: 'nadam', algorithm: 'nadam', torch: 'NAdam', options: { lr: 0.01, weight_decay: 0.1 } },
  { name: 'nadamw', algorithm: 'nadam', torch: 'NAdam', options: { weight_decay: 0.1, decoupled_weight_decay: true } },
  { name: 'radam', algorithm: 'radam', torch: 'RAdam', options: { lr: 0.01, weight_decay: 0.1 } },
  ...(['train', 'eval'] as const).flatMap((mode): Case[] => [
    {
      name: `adamw-schedule-free-${mode}`,
      algorithm: 'adamwScheduleFree',
      torch: 'AdamWScheduleFree',
      options: { lr: 0.01, weight_decay: 0.1, warmup_steps: 60 },
      mode,
    },
    {
      name: `radam-schedule-free-${mode}`,
      algorithm: 'radamScheduleFree',
      torch: 'RAdamScheduleFree',
      options: { lr: 0.01, weight_decay: 0.1 },
      mode,
    },
    {
      name: `sgd-schedule-free-${mode}`,
      algorithm: 'sgdScheduleFree',
      torch: 'SGDScheduleFree',
      options: { lr: 0.1, weight_decay: 0.1, warmup_steps: 10 },
      mode,
    },
  ]),
];

/** Training with clipped gradients. PyTorch clips in the same order: by value, then by norm. */
interface ClipCase {
  readonly name: string;
  readonly algorithm?: string;
  readonly torch?: string;
  readonly options?: Options;
  readonly groups?: [names: string[], Options][];
  readonly maxValue?: number;
  readonly maxNorm?: number;
  readonly perTensor?: number;
  /** Multiplies the gradients. */
  readonly size?: number;
  /** The options of a scaler, in PyTorch's words. */
  readonly scaler?: Options;
  /** Steps in which a gradient is infinite. */
  readonly overflows?: readonly number[];
}

const decaying = { lr: 0.01, weight_decay: 0.1 };
const overflowing = { scaler: { init_scale: 1024, growth_interval: 7 }, overflows: [0, 1, 20] };
const clips: ClipCase[] = [
  { name: 'a norm of 1', maxNorm: 1 },
  { name: 'a norm that few gradients exceed', maxNorm: 100 },
  { name: 'a norm near the 1e-6 that is added to it', maxNorm: 1e-6, size: 2 ** -20 },
  { name: 'no norm, only measured', maxNorm: Infinity },
  {
    name: 'a norm of 1, in groups',
    maxNorm: 1,
    groups: [
      [['fc.weight', 'late'], { lr: 0.02, weight_decay: 0.2 }],
      [['fc.bias', 'scale'], { lr: 0.005, weight_decay: 0 }],
    ],
  },
  {
    name: 'a norm of 2, with L2 decay, maximize and AMSGrad',
    algorithm: 'adam',
    torch: 'Adam',
    options: { ...decaying, amsgrad: true, maximize: true },
    maxNorm: 2,
  },
  { name: 'a norm of each tensor', perTensor: 0.5 },
  { name: 'values', maxValue: 0.5 },
  { name: 'values, then a norm of 1', maxValue: 0.3, maxNorm: 1 },
  { name: 'a scaler', ...overflowing },
  { name: 'a scaler, then a norm of 1', ...overflowing, maxNorm: 1 },
  { name: 'a scaler, values, then a norm of 1', ...overflowing, maxValue: 0.3, maxNorm: 1 },
];

interface Outcome {
  readonly versions: object;
  readonly refusals: Record<string, string>;
  readonly byName: boolean;
  readonly notices: Record<string, [string, string]>;
}

/** Options without an equivalent in PyTorch, and the message. */
const refused: [string, string, Options, string][] = [
  ['couple', 'adamw', { couple: false }, 'PyTorch has no equivalent of couple = False, only for True.'],
  ['epsHat', 'adam', { epsHat: true }, 'PyTorch has no equivalent of eps_hat = True, only for False.'],
  ['nesterov', 'adamw', { nesterov: true }, 'PyTorch has no equivalent of nesterov = True, only for False.'],
  ['epsRoot', 'adam', { epsRoot: 1e-8 }, 'PyTorch has no equivalent of eps_root = 1e-08, only for 0.'],
  [
    'gradScale',
    'nadam',
    { gradScale: 0.5 },
    'PyTorch has no equivalent of grad_scale = 0.5: set gradScale to 1 before saving.',
  ],
  ['decayAt', 'adamwScheduleFree', { decayAt: 'z' }, "PyTorch has no equivalent of decay_at = 'z', only for 'y'."],
  ['maximize', 'sgdScheduleFree', { maximize: true }, 'PyTorch has no equivalent of maximize = True, only for False.'],
  [
    'throwing weightDecay',
    'adamw',
    {
      weightDecay: () => {
        throw new Error('none');
      },
    },
    'The checkpoint lacks weight_decay: a function that failed when the checkpoint was saved.',
  ],
  [
    'weightDecay',
    'adamw',
    { weightDecay: () => 0, decayMask: (name: string) => name === 'late' },
    "group 0 becomes two. Make them in this order: weight_decay = 0 for 'late', then 0 for 'scale', ",
  ],
  ['nothing decays', 'adam', { weightDecay: 0.1, decayMask: () => false }, 'In group 0 none decays, so it has'],
  [
    'betas',
    'adamw',
    { betas: () => [0.9, 0.99] },
    'Saved as numbers, as of 0 completed steps, but functions in twinstep: betas.\n',
  ],
  [
    'schedule',
    'radam',
    { schedule: chained(reduceOnPlateau(), multiStep({ milestones: [3] })) },
    'step() 0 times.\nLeft out: the state of a schedule other than reduceOnPlateau.\n',
  ],
  [
    'frozen',
    'adam',
    {},
    "taken. Frozen: 'late'. Call requires_grad_(False) for these in PyTorch.\n" +
      "Saved without a shape, so of one dimension in PyTorch: 'scale', 'late', 'fc.weight', 'fc.bias'.\n",
  ],
];

/** Messages about the files that test/support/torch/run.py makes. */
const refusedBack: [string, string][] = [
  ['ours, missing', 'missing cannot be read: No such file or directory.'],
  ['ours, truncated', 'cut is not a complete safetensors file.'],
  ['ours, shorter', 'cut is not a complete safetensors file.'],
  ["ours, PyTorch's", 'adam.theirs.pt is not a complete safetensors file.'],
  ['ours, another format', 'adam.grads is not a checkpoint of twinstep: its format is None.'],
  ['theirs, missing', 'missing cannot be read: No such file or directory.'],
  ['theirs, truncated', 'cut is not a complete file of torch.save with only tensors, '],
  ['theirs, ours', 'adam.ours is not a complete file of torch.save with'],
  ['theirs, a model', 'whole.pt is not a complete file of torch.save with'],
  ...['SGD', 'Adagrad', 'RMSprop', 'Adadelta', 'Adamax', 'ASGD', 'Rprop', 'LBFGS', 'Adafactor'].map(
    (name): [string, string] => [name, `PyTorch's ${name} has no equivalent here.`],
  ),
  ['a list', "Expected a file with a dict that has 'model', 'model_state_dict', got a list."],
  [
    'only a model',
    "The file has neither 'model' nor 'model_state_dict', only 'scale', 'late', 'fc.weight', 'fc.bias'.",
  ],
  ['no optimizer', "The file has neither 'optimizer' nor 'optimizer_state_dict', only 'model'."],
  ['a bare optimizer', "'optimizer' is not the state dict of an optimizer: it lacks state or param_groups."],
  ['the tutorial', 'taken. '],
  ['by name', 'taken. '],
  [
    'other keys',
    "Left out, because a schedule is code here: 'scheduler'.\n" +
      "Left out; besides model, optimizer and scaler only 'metadata' is kept: 'epoch'.\n",
  ],
  ['swa', 'taken. '],
  ['half', "Expected the parameter 'late' to be a tensor of float32, got torch.float16: call .float() first."],
  ['other keys, nan', "'metadata' cannot be written as JSON: "],
  ['older', 'The file does not say which optimizer it is of: pass --algorithm, one of adam, adamw, '],
  ['older, with --algorithm', 'taken'],
  ['wrong --algorithm', 'The optimizer is adamw, not adam.'],
  ['right --algorithm', 'taken'],
  ['unknown option', 'radam has no equivalent of cautious = True.'],
  ['unknown option, off', 'taken'],
  ['bfloat16', "Expected exp_avg of 'scale' to be a tensor of float32, got torch.bfloat16: call .float() first."],
  ['shape', "exp_avg of 'fc.weight' has the shape [35], its parameter another."],
  ['fractional step', "'scale' has completed 2.5 steps, which is not a whole number."],
  ['mu_product', "Expected mu_product of 'scale' to be "],
  [
    'more tensors',
    'The optimizer has no names for its 4 parameters in 1 groups, and the model has 5 tensors: make the optimizer',
  ],
  ['fewer tensors', "The optimizer has parameters that the model lacks: 'late'."],
];

const shapes: Record<string, number[]> = { scale: [], late: [3], 'fc.weight': [5, 7], 'fc.bias': [5] };
const lengths: Record<string, number> = { scale: 1, late: 3, 'fc.weight': 35, 'fc.bias': 5 };
const init = (names = all): Tensors =>
  Object.fromEntries(names.map((name) => [name, array(lengths[name], 7 * name.length)]));

/** One parameter starts after the middle, and one misses the first steps, so that step counts differ. */
function gradients(t: number): Tensors {
  const names = all.filter((name) => !(name === 'late' && t < 60) && !(name === 'fc.bias' && t < 5));
  return Object.fromEntries(names.map((name) => [name, array(lengths[name], 1000 * (t + 1) + name.length)]));
}

/** The same from step 40, so that `late` starts at step 20, of a size that differs from step to step. */
function wideGradients(t: number): Tensors {
  const size = 10 ** (3 * Math.sin(t));
  return map(gradients(40 + t), (x) => size * x);
}

function file(tensors: [string, Float32Array][]): Uint8Array {
  const entries = tensors.map(([key, values]): [string, SafeTensor] => {
    const shape = shapes[key.slice(key.lastIndexOf('/') + 1)];
    return [key, { dtype: 'F32', shape, bytes: new Uint8Array(values.buffer) }];
  });
  return serializeSafetensors(new Map(entries));
}

const camelCase = (options: Options): Options =>
  Object.fromEntries(
    Object.entries(options).map(([name, value]) => [name.replace(/_./g, ([, letter]) => letter.toUpperCase()), value]),
  );

/** Makes our optimizer of a case. */
function make({ algorithm, options = {}, groups, functions }: Case): ReturnType<Create> {
  const create = twinstep[algorithm as 'adam'] as Create;
  const params = groups?.map(([names, own]) => ({ params: init(names), ...camelCase(own) })) ?? init();
  return create(params as never, { shapes, ...camelCase(options), ...functions?.() });
}

/** Makes our optimizer for the first half: with a decay mask it has one group. */
const begin = ({ decayMask, ...each }: Case): ReturnType<Create> =>
  make(decayMask === undefined ? each : { ...each, groups: undefined, functions: () => ({ decayMask }) });

function stepTo(end: number, begun: number, optimizer: Awaited<ReturnType<Create>>, { metrics }: Case): void {
  for (let t = begun; t < end; t++) {
    optimizer.step(gradients(t));
    if (metrics !== undefined) (optimizer.groups[0].schedule as ReduceOnPlateau).step(metrics[t]);
  }
}

test('the package has the tool', () => {
  const { files } = JSON.parse(readFileSync(path('../package.json'), 'utf8')) as { files: string[] };
  expect(files).toContain('tools/torch_checkpoint.py');
});

describe.runIf(hasTorch)('in PyTorch', () => {
  const folder = mkdtempSync(join(tmpdir(), 'twinstep-'));
  const inFolder = (name: string): string => join(folder, name);
  const record: Record<string, unknown> = {};
  let versions: object;
  let refusals: Record<string, string>;
  let byName: boolean;
  let notices: Outcome['notices'];
  afterAll(() => rmSync(folder, { recursive: true }));

  beforeAll(async () => {
    const given = cases.map(({ options = {}, groups = [[all, {}]], mode = 'train', named = true, ...others }) => {
      return { options, groups, mode, named, half: HALF, steps: STEPS, ...others };
    });
    writeFileSync(inFolder('cases.json'), JSON.stringify(given));
    for (const each of cases) {
      const grads = Array.from({ length: STEPS }, (_, t) => gradients(t));
      const tensors = grads.flatMap((at, t) =>
        Object.entries(at).map(([name, values]): [string, Float32Array] => [`grad/${t}/${name}`, values]),
      );
      const first = Object.entries(init()).map(([name, values]): [string, Float32Array] => [`init/${name}`, values]);
      writeFileSync(inFolder(`${each.name}.grads`), file([...first, ...tensors]));
      const optimizer = await begin(each);
      stepTo(HALF, 0, optimizer, each);
      if (each.mode === 'eval') optimizer.eval();
      writeFileSync(inFolder(`${each.name}.ours`), await saveCheckpoint(optimizer));
    }
    for (const [name, algorithm, options] of refused) {
      const optimizer = await (twinstep[algorithm as 'adam'] as Create)(init(), options);
      if (name === 'frozen') optimizer.freeze('late');
      writeFileSync(inFolder(`${name}.refused`), await saveCheckpoint(optimizer));
    }
    const defaults = { torch: 'AdamW', options: decaying, groups: [[all, {}]], steps: HALF, overflows: [] };
    const noClipping = { maxValue: null, maxNorm: null, perTensor: null, size: 1, scaler: null };
    // JSON has no infinity.
    const most = ({ maxNorm }: ClipCase) => (maxNorm === Infinity ? { maxNorm: 1e30 } : {});
    writeFileSync(
      inFolder('clips.json'),
      JSON.stringify(clips.map((each) => ({ ...defaults, ...noClipping, ...each, ...most(each) }))),
    );
    const clipped = Array.from({ length: HALF }, (_, t) => wideGradients(t)).flatMap((at, t) =>
      Object.entries(at).map(([name, values]): [string, Float32Array] => [`grad/${t}/${name}`, values]),
    );
    const begun = Object.entries(init()).map(([name, values]): [string, Float32Array] => [`init/${name}`, values]);
    writeFileSync(inFolder('clips.grads'), file([...begun, ...clipped]));
    const { status, stdout, stderr } = runPython(path('support/torch/run.py'), folder);
    expect(stderr.replace(/.*Failed to initialize NumPy.*\n.*\n/, '')).toBe('');
    expect(status).toBe(0);
    ({ versions, refusals, byName, notices } = JSON.parse(stdout.split('\n').at(-2)!) as Outcome);
  }, 180_000);

  const read = (name: string): Tensors =>
    Object.fromEntries(
      Array.from(readSafetensors(readFileSync(inFolder(name))).tensors, ([key, { data }]) => [
        key,
        data as Float32Array,
      ]),
    );

  /** Returns the largest difference, in roundings of the tensor's largest value. */
  function distance(actual: Tensors, expected: Tensors): number {
    expect(Object.keys(actual).toSorted()).toEqual(Object.keys(expected).toSorted());
    const distances = Object.entries(expected).map(([key, values]) => {
      return largest(actual[key].map((x, i) => x - values[i])) / (ROUNDING * largest(values));
    });
    return Math.max(...distances);
  }

  test.each(cases)('$name: half here and half in PyTorch, in either order, equals all in PyTorch', async (each) => {
    const unbroken = read(`${each.name}.unbroken`);
    const there = distance(read(`${each.name}.resumed`), unbroken);

    const optimizer = await make({ ...each, options: { ...each.options, lr: 5 } });
    await loadCheckpoint(optimizer, readFileSync(inFolder(`${each.name}.theirs`)));
    if (each.mode === 'eval') expect(optimizer.groups[0].trainMode).toBe(false);
    optimizer.train();
    stepTo(STEPS, HALF, optimizer, each);
    const prefixed = (prefix: string, tensors: Tensors): Tensors =>
      Object.fromEntries(Object.entries(tensors).map(([name, values]) => [`${prefix}/${name}`, values]));
    const params = prefixed('param', await readAll(optimizer, init()));
    optimizer.eval();
    const here = distance({ ...params, ...prefixed('average', await readAll(optimizer, init())) }, unbroken);
    const [notice, noticeBack] = notices[each.name];
    expect([notice, noticeBack.slice(0, each.notices?.[1].length || undefined)]).toEqual(each.notices ?? ['', '']);
    record[each.name] = { hereThenThere: there, thereThenHere: here };
    expect(Math.max(here, there)).toBeLessThanOrEqual(TORCH_ROUNDINGS);
  });

  test.each([...refused.map(([name, , , message]) => [name, message]), ...refusedBack])(
    'reports what has no equivalent: %s',
    (name, message) => {
      expect(refusals[name]).toContain(message);
    },
  );

  describe.each(backends)('%s', (_, backend) => {
    test.each(clips)('clips as PyTorch: $name', async (each) => {
      const { name, algorithm = 'adamw', options = decaying, groups, maxValue, size = 1, overflows = [] } = each;
      const { norms, scales, ...expected } = read(`${name}.clipped`);
      const optimizer = await make({ name, algorithm, torch: '', options, groups, functions: () => backend });
      const scaler = each.scaler && twinstep.gradScaler(camelCase(each.scaler));
      const maxNorm = each.perTensor === undefined ? each.maxNorm : { perTensor: each.perTensor };
      let scale = scaler?.scale ?? 1;
      for (let t = 0; t < HALF; t++) {
        const grads = map(wideGradients(t), (x) => scale * size * x);
        if (overflows.includes(t)) grads.scale[0] = Infinity;
        optimizer.step(grads, { maxNorm, maxValue, scaler });
        scale = (await scaler?.read())?.scale ?? 1;
        expect(scale).toBe(scales[t]);
        if (maxNorm === undefined) continue;
        const norm = await optimizer.gradNorm();
        if (Number.isFinite(norms[t])) {
          expect(Math.abs(norm - norms[t])).toBeLessThanOrEqual(TORCH_NORM_ROUNDINGS * ROUNDING * norms[t]);
        } else expect(norm).toBe(norms[t]);
      }
      expect(await optimizer.skippedSteps()).toBe(overflows.length);
      const params = await readAll(optimizer, init());
      const counted = all.map((tensor) => [`step/${tensor}`, Float32Array.of(optimizer.stepOf(tensor))]);
      const prefixed = Object.entries(params).map(([tensor, values]) => [`param/${tensor}`, values]);
      expect(distance(Object.fromEntries([...prefixed, ...counted]), expected)).toBeLessThanOrEqual(TORCH_ROUNDINGS);
      optimizer.dispose();
    });
  });

  test('the loader for sharded models accepts names instead of indices', () => {
    expect(byName).toBe(true);
  });

  test('the names of groups are kept in both directions', () => {
    const tool = path('../tools/torch_checkpoint.py');
    const back = runPython(tool, 'from-torch', inFolder('adamw-groups.ours.pt'), inFolder('adamw-groups.back'));
    expect([back.status, back.stdout]).toEqual([0, '']);
    for (const from of ['ours', 'theirs', 'back']) {
      const { stateDict } = decodeCheckpoint(readFileSync(inFolder(`adamw-groups.${from}`)));
      expect(stateDict.param_groups.map(({ name }) => name)).toEqual(['first', 'second']);
    }
  });

  test('the command line converts files in both directions', () => {
    const tool = path('../tools/torch_checkpoint.py');
    const there = runPython(tool, 'to-torch', inFolder('nadam.ours'), inFolder('nadam.pt'));
    expect([there.status, there.stdout]).toEqual([0, '']);
    const back = runPython(tool, 'from-torch', inFolder('nadam.pt'), inFolder('nadam.back'));
    expect([back.status, back.stdout]).toEqual([0, '']);
    const [ours, again] = ['nadam.ours', 'nadam.back'].map((name) => decodeCheckpoint(readFileSync(inFolder(name))));
    // NAdam's product is derived and not read. PyTorch does not save frozen or masked names.
    for (const { stateDict } of [ours, again]) {
      for (const each of Object.values(stateDict.state)) delete each.mu_product;
      for (const group of stateDict.param_groups as Record<string, unknown>[]) {
        delete group.frozen;
        delete group.no_decay;
      }
    }
    expect(again).toEqual(ours);
    const refusal = runPython(tool, 'to-torch', inFolder('couple.refused'), inFolder('couple.pt'));
    expect([refusal.status, refusal.stderr.split('\n').at(-2)]).toEqual([1, refused[0][3]]);
  });

  test('the command line converts the state of a scaler in both directions', async () => {
    const { adamw, gradScaler } = twinstep;
    const scaler = gradScaler();
    const dict = { scale: 24, growth_factor: 1.5, backoff_factor: 0.7, growth_interval: 5, _growth_tracker: 3 };
    await scaler.loadStateDict(dict);
    const optimizer = await adamw(init());
    optimizer.step(gradients(0));
    writeFileSync(inFolder('scaler.ours'), await saveCheckpoint(optimizer, { scaler }));
    const tool = path('../tools/torch_checkpoint.py');
    const there = runPython(tool, 'to-torch', inFolder('scaler.ours'), inFolder('scaler.pt'));
    expect([there.status, there.stdout]).toEqual([0, '']);
    const resave = `
import sys, torch
saved = torch.load(sys.argv[1], weights_only=True)
scaler = torch.amp.GradScaler('cpu')
scaler.load_state_dict(saved['scaler'])
torch.save(saved | {'scaler': scaler.state_dict()}, sys.argv[1])`;
    expect(runPython('-c', resave, inFolder('scaler.pt')).status).toBe(0);
    const back = runPython(tool, 'from-torch', inFolder('scaler.pt'), inFolder('scaler.back'));
    expect([back.status, back.stdout]).toEqual([0, '']);
    expect(decodeCheckpoint(readFileSync(inFolder('scaler.back'))).scaler).toEqual(dict);
  });

  test('records the differences', () => {
    expect(Object.keys(record)).toEqual(cases.map(({ name }) => name));
    const result = {
      date: new Date().toISOString().slice(0, 10),
      ...versions,
      unit: 'roundings of the largest value',
      bound: TORCH_ROUNDINGS,
      record,
    };
    if (process.env.TWINSTEP_RECORD) writeFileSync(path('record/torch.json'), `${JSON.stringify(result, null, 2)}\n`);
  });
});

describe.runIf(hasTorch)("gradScaler has the bits of PyTorch's GradScaler", () => {
  interface Scaled {
    readonly options: Readonly<Record<'init_scale' | 'growth_factor' | 'backoff_factor' | 'growth_interval', number>>;
    /** Whether the gradients of each optimizer have an infinity, by round. */
    readonly rounds: readonly (readonly boolean[])[];
    readonly state?: twinstep.ScalerStateDict;
  }
  const next = random(16);
  const scaled: Scaled[] = Array.from({ length: 24 }, (_, i) => ({
    options: {
      init_scale: [8, 65536, 1 + next(), 1000 * next()][i % 4],
      growth_factor: [1.5, 3, 2, 1 + next()][i % 4],
      backoff_factor: [0.7, 0.5, next(), 1 / 3][i % 4],
      growth_interval: 1 + (i % 5),
    },
    rounds: Array.from({ length: 60 }, () => Array.from({ length: 1 + (i % 3) }, () => next() < 0.2)),
  }));
  const folder = mkdtempSync(join(tmpdir(), 'twinstep-'));
  afterAll(() => rmSync(folder, { recursive: true }));

  function inPyTorch(given: readonly Scaled[]): twinstep.ScalerStateDict[][] {
    const list = join(folder, 'cases.json');
    writeFileSync(list, JSON.stringify(given));
    const { status, stdout, stderr } = runPython(path('support/torch/scaler.py'), list);
    expect(status, stderr).toBe(0);
    return JSON.parse(stdout) as twinstep.ScalerStateDict[][];
  }

  async function here({ options, rounds, state }: Scaled): Promise<twinstep.ScalerStateDict[]> {
    const optimizers = await Promise.all(rounds[0].map(() => twinstep.adamw({ w: new Float32Array(2) })));
    const scaler = twinstep.gradScaler({ ...camelCase(options), optimizers: optimizers.length });
    if (state !== undefined) await scaler.loadStateDict(state);
    const states: twinstep.ScalerStateDict[] = [];
    for (const found of rounds) {
      for (const [i, optimizer] of optimizers.entries()) {
        optimizer.step({ w: Float32Array.of(found[i] ? Infinity : scaler.scale, 0) }, { scaler });
      }
      states.push(await scaler.stateDict());
    }
    return states;
  }

  test('in random sequences, and half there and half here', async () => {
    const HALFWAY = 30;
    const unbroken = inPyTorch(scaled);
    const ours = await Promise.all(scaled.map(here));
    expect(ours).toEqual(unbroken);
    const second = (states: readonly twinstep.ScalerStateDict[][]): Scaled[] =>
      scaled.map(({ options, rounds }, i) => {
        return { options, rounds: rounds.slice(HALFWAY), state: states[i][HALFWAY - 1] };
      });
    const rest = unbroken.map((states) => states.slice(HALFWAY));
    expect(await Promise.all(second(unbroken).map(here))).toEqual(rest);
    expect(inPyTorch(second(ours))).toEqual(rest);
  });
});
