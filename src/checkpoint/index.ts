// The public names of twinstep/checkpoint: training in one safetensors file.

export { decodeCheckpoint, encodeCheckpoint, type Checkpoint } from './codec.js';
export type { Dtype } from './header.js';
export type { ScalerStateDict } from '../inputs/scaler-dict.js';
export type { Shape, Shapes } from '../inputs/shapes.js';
export type { CheckpointOptions } from './outline.js';
export { parseSafetensors, serializeSafetensors, type SafeTensor } from './safetensors.js';
export {
  checkpointStream,
  loadCheckpoint,
  saveCheckpoint,
  type AnyOptimizer,
  type LoadCheckpointOptions,
  type PartlyLoaded,
} from './write.js';
export type { ByteStream } from './stream.js';
