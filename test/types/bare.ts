// Code that must compile, and code that the types must refuse, in a project without lib.dom and without WebGPU types.

import { adamw, adamwScheduleFree, type Optimizer } from 'twinstep';
import { checkpointStream, loadCheckpoint, saveCheckpoint } from 'twinstep/checkpoint';
import { coefficients, kernels } from 'twinstep/kernels';
import { linearWarmup } from 'twinstep/schedules';
import * as sync from 'twinstep/sync';
import * as webgpu from 'twinstep/webgpu';

export async function train(w: Float32Array): Promise<Uint8Array> {
  const optimizer: Optimizer<Float32Array> = await adamw(
    { w },
    { lr: 1e-3, schedule: linearWarmup({ totalIters: 9 }) },
  );
  optimizer.step({ w });
  const averaged = await adamwScheduleFree({ w });
  averaged.eval();
  sync.adam({ w }).step({ w });
  (await webgpu.adam({ w })).step();
  await loadCheckpoint(averaged, checkpointStream(averaged));
  const copy: Float32Array = await optimizer.read('w');
  const scalars: Float32Array = coefficients('adamw', { lr: 0.1 }).scalars();
  copy.set(scalars.subarray(0, Object.keys(kernels).length));

  // @ts-expect-error a plain array is not a GPU buffer
  await adamw({ w: [1, 2, 3] });
  // @ts-expect-error a Float32Array is not a GPU buffer
  await adamw({ w: { buffer: w } });
  // @ts-expect-error a string is not a device
  await adamw({ w }, { device: 'gpu' });
  // @ts-expect-error an option with PyTorch's name
  await adamw({ w }, { weight_decay: 0.1 });

  return saveCheckpoint(optimizer);
}
