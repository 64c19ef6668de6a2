// `npm run bench:memory`: the memory that training with AdamW takes at most, in bytes per parameter, by how gradients come
// to the optimizer. Each way runs in a process of its own, since a process only tells its highest mark.

import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { adamw } from 'twinstep';

const LAYERS = 40;
const LENGTH = 500_000;
const STEPS = 3;

const names = Array.from({ length: LAYERS }, (_, i) => `layer${i}`);
const layer = (): Float32Array => new Float32Array(LENGTH);
/** Not a byte of it is in memory before it is written, which a model to start from never is: that is left out. */
const model = (): Record<string, Float32Array> => Object.fromEntries(names.map((name) => [name, layer()]));

/** A backward pass, from the last layer to the first: writes the gradient of each where it is told to. */
function backward(memoryFor: (name: string) => Float32Array, isReady: (name: string) => void): void {
  for (const name of names.toReversed()) {
    memoryFor(name).fill(1e-3);
    isReady(name);
  }
}

interface Way {
  readonly what: string;
  /** Bytes per parameter by design: parameter and moments are 12, all gradients 4 more, those of one layer next to none. */
  readonly design: number;
  train(): Promise<() => void>;
}

const ways: Readonly<Record<string, Way>> = {
  handed: {
    what: 'all gradients are kept by the caller, and handed to step(grads)',
    design: 20,
    async train() {
      const [optimizer, grads] = [await adamw(model()), model()];
      return () => {
        backward(
          (name) => grads[name],
          () => {},
        );
        optimizer.step(grads);
      };
    },
  },
  inPlace: {
    what: 'all gradients are written into optimizer.grads, then step()',
    design: 16,
    async train() {
      const optimizer = await adamw(model());
      return () => {
        backward(
          (name) => optimizer.grads[name],
          () => {},
        );
        optimizer.step();
      };
    },
  },
  passing: {
    what: 'each layer is stepped as its gradient arrives, with keepGrads: false',
    design: 12 + 8 / LAYERS,
    async train() {
      const [optimizer, grad] = [await adamw(model(), { keepGrads: false }), layer()];
      return () => {
        backward(
          () => grad,
          (name) => optimizer.step({ [name]: grad }),
        );
      };
    },
  },
};

const way = process.argv[2];
if (way in ways) {
  const before = process.resourceUsage().maxRSS;
  const step = await ways[way].train();
  for (let t = 0; t < STEPS; t++) step();
  console.log(process.resourceUsage().maxRSS - before);
} else {
  const rows = Object.entries(ways).map(([name, { what, design }]) => {
    const kilobytes = Number(execFileSync(process.execPath, [fileURLToPath(import.meta.url), name]));
    const measured = (1024 * kilobytes) / (LAYERS * LENGTH);
    return [what, { 'bytes per parameter': measured.toFixed(1), 'by design': design.toFixed(1) }];
  });
  console.log(`Node ${process.version}; ${LAYERS} layers of ${LENGTH} parameters; the model to start from is left out`);
  console.table(Object.fromEntries(rows));
}
