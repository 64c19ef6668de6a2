// Makes docs/kernels.md from src/rules/: the scalars and arrays of each kernel.

import { readFileSync } from 'node:fs';
import { kernels, type KernelDescription } from 'twinstep/kernels';

const rules = new URL('../../../src/rules/', import.meta.url);

/** Returns the page. `folder` is src/rules/. */
export function kernelsPage(folder: URL = rules): string {
  const sections = Object.values(kernels).map((kernel) => {
    const text = readFileSync(new URL(`${kernel.name}.ts`, folder), 'utf8');
    return [`## \`${kernel.name}\``, comment(text), row(kernel)];
  });
  return [...head, ...sections.flat(), ''].join('\n\n');
}

const example = `\`\`\`ts
import { coefficients, kernels, wasmKernels, wgslKernel } from 'twinstep/kernels';

// In WebAssembly, over your own memory: here the scalars at byte 0, then four arrays of 64 numbers.
const memory = new WebAssembly.Memory({ initial: 1 });
const { adam } = wasmKernels(memory);
const [param, grad, expAvg, expAvgSq] = [256, 512, 768, 1024];
new Float32Array(memory.buffer, grad, 64).fill(1);

const steps = coefficients('adamw', { lr: 1e-3 }); // the scalars of each step
steps.next();
new Float32Array(memory.buffer, 0).set(steps.scalars());
adam(0, param, grad, expAvg, expAvgSq, 4 * 64);
console.log(new Float32Array(memory.buffer, param)[0]?.toFixed(4)); // -0.0010

// In WGSL, for your own pipelines.
const { code, entryPoint, constants, bindGroupLayouts, workgroups } = wgslKernel('adam');
console.log(kernels.adam.arrays); // [ 'param', 'grad', 'exp_avg', 'exp_avg_sq' ]
\`\`\``;

const head = [
  '# Kernels',
  'How to run the kernels over your own WebAssembly memory or in your own WebGPU pipelines, and the formula of each. Written by `npm run docs` from `src/rules/`.',
  example,
  'A kernel updates its arrays in place. **Scalars** are f32: number _i_ is at byte 4·_i_ of their block. `coefficients(algorithm, options)` computes them for each step, and its property `kernel` is the kernel that takes them: `adam` for `adam` and `adamw`, `adam_amsgrad` with `amsgrad`, `nadam` for `nadam`, `radam`, Nesterov and `epsRoot`, `schedulefree_adamw` for Schedule-Free AdamW and RAdam. **Arrays** are f32 and have the same length: the parameter, the gradient, then the slots, which start at zero unless noted. Padding after a tensor must be zero in every array, including the gradient, and stays zero.',
  'In **WebAssembly** (`wasmKernels(memory)`) the arguments of a kernel are the byte address of the scalars, the byte addresses of the arrays in order, and the length of each array in bytes. It updates 32 bytes at a time, and rounds the length up to a multiple of 32. Addresses must be multiples of 4; multiples of 16 are faster. Nothing is checked.',
  'In **WGSL** (`wgslKernel(name)`) the scalars are group 0, binding 0: a uniform buffer of `scalarBytes` bytes. The arrays are group 1: storage buffers, bound in order. The length of a binding must be a multiple of `lanes` elements. Make the pipeline from `code`, `entryPoint`, `bindGroupLayouts` and `constants`, and dispatch `...workgroups(elements)`.',
  'For Schedule-Free, `extrapolate` moves the parameters to the average x and back, with the scalars of `coefficients(...).average(true)` and `average(false)`. For a tensor whose first step is later than that of the others, use `scalars({ isFirst: true })` at that step; for a tensor without weight decay, `scalars({ decays: false })`. To continue later, save `coefficients(...).state` and pass it as the third argument.',
];

/** Returns the comment at the top of a file as Markdown, the formula as code. */
const comment = (text: string): string =>
  text
    .slice(0, text.search(/^(?!\/\/)/m))
    .trim()
    .split('\n')
    .map((line) => line.replace(/^\/\/ ?/, '').replace(/^ {2}/, '    '))
    .join('\n');

function row({ name, scalars, arrays, fromParam }: KernelDescription): string {
  const start =
    fromParam.length > 0 ? `; ${fromParam.map((slot) => `\`${slot}\``).join(', ')} starts as a copy of \`param\`` : '';
  const bytes = scalars.map((scalar, i) => `\`${scalar}\` ${4 * i}`).join(', ');
  return `\`${name}(scalars, ${arrays.join(', ')}, bytes)\`${start}. Scalars and their bytes: ${bytes}.`;
}
