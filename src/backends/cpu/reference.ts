// The reference backend: runs the rules of src/rules/ as plain JavaScript. The other backends must agree with it. Used
// if there is no WebAssembly.

import { arraysOf, elements } from '../layout.js';
import * as updates from '../../rules/index.js';
import type { Arrays, Rule, AnyUpdate, Update } from '../../rules/rule.js';
import { scalarsOf } from '../../rules/scalars.js';
import { Unavailable, type Backend, type Request } from '../backend.js';
import { squares } from '../sums.js';
import { openCpu } from './cpu.js';
import type { Machine, Opened } from './machine.js';

/** Returns a machine that runs the updates of rules. */
export const referenceMachine = (updateOf: (rule: string) => AnyUpdate): Machine => ({
  threads: 1,
  open: (bytes) => open(bytes, updateOf),
});

function open(bytes: number, updateOf: (rule: string) => AnyUpdate): Opened {
  const buffer = allocate(bytes);
  const floats = new Float32Array(buffer);
  return {
    buffer,
    kernel(rule, { arrays, bytes: size }) {
      const view = (name: string, start: number, length: number): Float32Array =>
        new Float32Array(buffer, arrays[name] + start, elements(length));
      const whole = views(rule, (name) => view(name, 0, size));
      // If gradients are not kept, a gradient has another offset than its tensor. So each tensor has views of its own.
      const single = new Map<number, Arrays>();
      const update = updateOf(rule.name) as Update<Rule>;
      const { byName, values } = scalarsOf(rule);
      return (scalars, start, length, grad) => {
        for (let k = 0; k < values.length; k++) values[k] = floats[elements(scalars) + k];
        if (grad === arrays.grad + start) return run(update, whole, byName, start, start + length);
        let own = single.get(start);
        if (own === undefined) {
          own = views(rule, (name) => view(name, name === 'grad' ? 0 : start, length));
          single.set(start, own);
        }
        run(update, own, byName, 0, length);
      };
    },
    squares: () => (grad, length, limit, isStrict) =>
      squares(floats, elements(grad), elements(grad + length), limit, isStrict),
  };
}

const views = (rule: Rule, view: (name: string) => Float32Array): Arrays =>
  Object.fromEntries(arraysOf(rule).map((name) => [name, view(name)])) as Arrays;

/** Elements per call: few enough to stay in the L1 cache, since a rule may read them more than once. */
const BLOCK = 1024;

// prettier-ignore
function run(update: Update<Rule>, arrays: Arrays, by: Readonly<Record<string, number>>,
             from: number, to: number): void {
  const end = elements(to);
  for (let i = elements(from); i < end; i += BLOCK) update(i, Math.min(i + BLOCK, end), arrays, by);
}

function allocate(bytes: number): ArrayBuffer {
  try {
    return new ArrayBuffer(bytes);
  } catch (error) {
    throw new Unavailable(`cannot allocate ${bytes} bytes (${error})`);
  }
}

export const openReference = (request: Request): Promise<Backend> =>
  openCpu(
    request,
    referenceMachine((rule) => (updates as Readonly<Record<string, AnyUpdate>>)[rule]),
  );
