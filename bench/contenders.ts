// All contenders, one row each. To add one, add a row here and, if it needs code, a file that returns its System.

import { bytesMoved, type Contender, type SizeLimit, type System } from './contender.js';
import { gpuCopy, gpuKernel, gpuTraffic } from './gpu-limits.js';
import { gpuStep } from './gpu.js';
import { clipping, divides, fromArrays, inPlace, optimizers, layerByLayer, slotsOf, wide } from './ours.js';
import { jax } from './peers/jax.js';
import { jsPytorch } from './peers/js-pytorch.js';
import { foldedInF32, foldedInF64, loop, textbook } from './peers/loops.js';
import { tfjs } from './peers/tfjs.js';
import { divider, traffic } from './probes.js';
import type { OptimizerName } from './truth.js';

const names = Object.keys(optimizers) as OptimizerName[];
const upTo = (size: number, because: string): SizeLimit => ({ size, because });

const sameAtEverySize = upTo(1e7, 'a loop of JavaScript takes the same time per parameter at every size');

const SLOTS = [1, 2, 3];
const trafficName = (slots: number): string => `traffic of ${bytesMoved(slots)} bytes`;
const gpuTrafficName = (slots: number): string => `webgpu traffic of ${bytesMoved(slots)} bytes`;
const DIVIDER = 'divider';
const COPY = 'webgpu copy of 28 bytes';
const CUDA = 'torch AdamW, fused, CUDA';
const FUSED = 'torch AdamW, fused, one thread';
/** The label of what a clipping contender is compared with. */
export const UNCLIPPED = 'without clipping';

const probe = (name: string, system: Contender['system']): Contender => ({
  name,
  optimizer: 'probe',
  limits: {},
  system,
});

const probes: readonly Contender[] = [
  ...SLOTS.map((slots) => probe(trafficName(slots), traffic(slots))),
  probe(DIVIDER, divider),
  ...SLOTS.map((slots) => probe(gpuTrafficName(slots), gpuTraffic(slots))),
  probe(COPY, gpuCopy),
];

/** Limits on one core for the update of an optimizer. */
const cpuLimits = (name: OptimizerName): Contender['limits'] => ({
  roof: [trafficName(slotsOf(name)), ...(divides(name) ? [DIVIDER] : [])],
});

/** A backend of twinstep with options, from which each of our optimizers becomes a contender. */
interface Machine {
  readonly name: string;
  readonly system: (optimizer: OptimizerName) => Promise<System>;
  readonly limits: (optimizer: OptimizerName) => Contender['limits'];
  readonly isClipped?: boolean;
  readonly sizeLimit?: SizeLimit;
  /** The optimizers to measure on it. Default: all. */
  readonly only?: readonly OptimizerName[];
}

const machines: readonly Machine[] = [
  { name: 'wasm', system: async (name) => inPlace(name, { backend: 'wasm' }), limits: cpuLimits },
  {
    name: 'wasm, wide',
    system: async (name) => wide(name),
    limits: cpuLimits,
    only: ['adamw', 'adamwScheduleFree'],
  },
  {
    name: 'wasm, 2 threads',
    system: async (name) => inPlace(name, { backend: 'wasm', threads: 2 }),
    limits: cpuLimits,
    only: ['adamw', 'adamwScheduleFree'],
  },
  {
    name: 'wasm, gradients handed over',
    system: async (name) => fromArrays(name, { backend: 'wasm' }),
    limits: cpuLimits,
    only: ['adamw'],
  },
  {
    name: 'wasm, gradients clipped',
    system: async (name) => inPlace(name, { backend: 'wasm' }, clipping),
    limits: (name) => ({ ...cpuLimits(name), [UNCLIPPED]: [`twinstep ${name}, wasm`] }),
    isClipped: true,
    only: ['adamw'],
  },
  {
    name: 'wasm, gradients passing',
    system: async (name) => layerByLayer(name, { backend: 'wasm' }),
    limits: cpuLimits,
    sizeLimit: upTo(0, 'it only measures memory: its time is that of gradients handed over'),
    only: ['adamw'],
  },
  {
    name: 'reference',
    system: async (name) => inPlace(name, { backend: 'reference' }),
    limits: cpuLimits,
    sizeLimit: sameAtEverySize,
  },
  { name: 'webgpu', system: (name) => gpuStep(name), limits: () => ({}) },
  {
    name: 'webgpu, gradients clipped',
    system: (name) => gpuStep(name, clipping),
    limits: (name) => ({ [UNCLIPPED]: [`twinstep ${name}, webgpu`] }),
    isClipped: true,
    only: ['adamw'],
  },
  {
    name: 'webgpu kernel',
    system: (name) => gpuKernel(name)(),
    limits: (name) => ({
      roof: [gpuTrafficName(slotsOf(name))],
      copy: slotsOf(name) === 2 ? [COPY] : [],
      torch: name === 'adamw' ? [CUDA] : [],
    }),
  },
];

const ours = (optimizer: OptimizerName): Contender[] =>
  machines
    .filter(({ only = names }) => only.includes(optimizer))
    .map(({ name, system, limits, isClipped, sizeLimit }) => ({
      name: `twinstep ${optimizer}, ${name}`,
      optimizer,
      limits: limits(optimizer),
      isClipped,
      sizeLimit,
      system: () => system(optimizer),
    }));

/** The contender that all others are compared with: what most users will run. */
export const BASELINE = 'twinstep adamw, wasm';

const npm = '`npm ci --prefix bench`';
const withTorch = 'TWINSTEP_PYTHON, the path of a Python with torch';
const withScheduleFree = 'TWINSTEP_PYTHON, the path of a Python with torch and schedulefree';

const peer = (
  name: string,
  system: Contender['system'],
  more: Partial<Contender> = {},
  optimizer: OptimizerName = 'adamw',
): Contender => ({ name, optimizer, limits: cpuLimits(optimizer), system, ...more });

const peers: readonly Contender[] = [
  peer('JS loop, folded, in f64', loop(foldedInF64), { sizeLimit: sameAtEverySize }),
  peer('JS loop, folded, each operation in f32', loop(foldedInF32), { sizeLimit: sameAtEverySize }),
  peer('JS loop, textbook', loop(textbook), { sizeLimit: sameAtEverySize }),
  peer('tfjs-wasm, Adam', tfjs('wasm'), { install: npm }),
  peer('tfjs-cpu, Adam', tfjs('cpu'), { install: npm, sizeLimit: upTo(1e6, 'it takes about 100 ns per parameter') }),
  peer('jax-js, AdamW, eager', jax(false), { install: npm }),
  peer('jax-js, AdamW, jit', jax(true), { install: npm }),
  peer('js-pytorch, Adam', jsPytorch, { install: npm, sizeLimit: upTo(1e5, 'it takes about 1000 ns per parameter') }),
  peer(FUSED, ['adamw', 'fused'], { install: withTorch }),
  peer('torch AdamW, fused, gradients clipped, one thread', ['adamw', 'fused', 'clipped'], {
    install: withTorch,
    limits: { ...cpuLimits('adamw'), [UNCLIPPED]: [FUSED] },
    isClipped: true,
  }),
  peer('torch AdamW, default, one thread', ['adamw', 'default'], { install: withTorch }),
  peer(CUDA, ['adamw', 'cuda'], {
    install: 'an NVIDIA GPU, and TWINSTEP_PYTHON, the path of a Python with torch for CUDA',
    limits: {},
  }),
  peer('schedulefree, foreach', ['schedulefree', 'foreach'], { install: withScheduleFree }, 'adamwScheduleFree'),
  peer('schedulefree, default', ['schedulefree', 'default'], { install: withScheduleFree }, 'adamwScheduleFree'),
];

export const contenders: readonly Contender[] = [...probes, ...names.flatMap(ours), ...peers];

export function contenderOf(name: string): Contender {
  const found = contenders.find((contender) => contender.name === name);
  if (found === undefined) throw new RangeError(`There is no contender ${JSON.stringify(name)}.`);
  return found;
}
