// Checks the buffers of the caller that averages are recorded into.

import { FLOAT } from '../layout.js';
import type { Average } from '../backend.js';
import { show, unexpected } from '../../errors.js';
import { checkBindable, checkUsage } from './buffers.js';
import { bufferOf, locate } from './locate.js';
import { ParamRanges } from './param-ranges.js';
import type { Place } from './section-memory.js';

/**
 * Returns where the destinations lie. Throws an Error for one that kernels or copies cannot write, that is too short, or
 * that overlaps a parameter, the optimizer's `own` memory or another destination.
 */
export function placesOf(averages: readonly Average[], params: ParamRanges, own: WeakSet<object>): Place[] {
  const taken = new ParamRanges();
  return averages.map(({ tensor: { name, length }, destination }) => {
    const what = `the destination of ${show(name)}`;
    const buffer = bufferOf(destination);
    if (buffer === undefined) throw unexpected(what, 'a GPUBuffer or a GPUBufferBinding', destination);
    const { offset, bytes } = locate(destination, 'destination', name);
    const size = length * FLOAT;
    if (bytes < size) throw new RangeError(`Expected ${length} values in ${what}, got ${bytes / FLOAT}.`);
    checkBindable(buffer, 'destination', name);
    checkUsage(buffer, 'COPY_DST', `Writing the average of ${show(name)}`);
    if (own.has(buffer)) throw new TypeError(`Expected ${what} in a buffer of yours, got memory of the optimizer.`);
    const param = params.at(buffer, offset, size);
    if (param !== undefined)
      throw new TypeError(`The destination of ${show(name)} overlaps the parameter ${show(param)}.`);
    const other = taken.at(buffer, offset, size);
    if (other !== undefined) throw new TypeError(`The destinations of ${show(other)} and ${show(name)} overlap.`);
    taken.add([[name, { buffer, offset, size }]]);
    return { buffer, offset };
  });
}
