// The public names of twinstep/schedules: functions from completed steps to a multiplier of lr, for the option
// `schedule`. Names and options of PyTorch's schedules are PyTorch's in camelCase, without "LR" or "Scheduler".

export { constant, exponential, inverseSqrt, linear, multiStep, polynomial, step } from './decays.js';
export { cosineAnnealing, cosineAnnealingWarmRestarts, cosineDecay } from './cosines.js';
export { oneCycle } from './onecycle.js';
export { chained, linearWarmup, sequential, warmupStableDecay } from './phases.js';
export { reduceOnPlateau } from './plateau.js';

export type {
  ConstantOptions,
  ExponentialOptions,
  InverseSqrtOptions,
  LinearOptions,
  MultiStepOptions,
  PolynomialOptions,
  StepScheduleOptions,
} from './decays.js';
export type { CosineAnnealingOptions, CosineAnnealingWarmRestartsOptions, CosineDecayOptions } from './cosines.js';
export type { OneCycle, OneCycleOptions } from './onecycle.js';
export type { LinearWarmupOptions, WarmupStableDecayOptions } from './phases.js';
export type { PlateauState, ReduceOnPlateau, ReduceOnPlateauOptions } from './plateau.js';
export type { Schedule, ScheduleMemory } from '../algorithms/schedule.js';
