// docs/kernels.md, from the table: what each kernel is told, and what it works on.

import { readdirSync, readFileSync } from 'node:fs';
import { kernels, type KernelDescription } from 'twinstep/kernels';

const rules = new URL('../../../src/rules/', import.meta.url);

/** The page; `folder` is that of src/rules/. */
export function kernelsPage(folder: URL = rules): string {
  const files = readdirSync(folder).filter((file) => !['index.ts', 'rule.ts', 'scalars.ts', 'table.ts'].includes(file));
  const sections = files.map((file) => {
    const text = readFileSync(new URL(file, folder), 'utf8');
    const names = [...text.matchAll(/export const (\w+): Update</g)].map(([, name]) => name as keyof typeof kernels);
    return [
      `## ${names.map((name) => `\`${name}\``).join(', ')}`,
      comment(text),
      ...names.map((name) => row(kernels[name])),
    ];
  });
  return [...head, ...sections.flat(), ''].join('\n\n');
}

const head = [
  '# Kernels',
  'Written by `npm run docs` from `src/rules/`.',
  'A kernel updates its arrays in place. **Scalars** are f32, number _i_ at byte 4·_i_ of their block; `coefficients(algorithm, options)` gives them step by step, and `.kernel` is the kernel that takes them: `adam` for `adam` and `adamw`, `adam_amsgrad` with `amsgrad`, `nadam` for `nadam`, `radam`, Nesterov and `epsRoot`, `schedulefree_adamw` for Schedule-Free AdamW and RAdam. **Arrays** are f32 and of one length: the parameter, the gradient, then slots, which begin at zero unless something else is said. Padding behind a tensor has to be zero in every array, the gradient included, and stays zero.',
  'In **WebAssembly** (`wasmKernels(memory)`) a kernel is called with the byte address of the scalars, those of the arrays in their order, and the bytes of each array. 32 bytes are updated at a time: a length that is no multiple of 32 is rounded up. Addresses must be multiples of 4; multiples of 16 are faster. Nothing is checked.',
  'In **WGSL** (`wgslKernel(name)`) the scalars are group 0, binding 0, a uniform buffer of `scalarBytes`; the arrays are group 1, storage buffers, bindings in their order. Bindings are multiples of `lanes` elements. Make the pipeline of `code`, `entryPoint`, `bindGroupLayouts` and `constants`, and dispatch `...workgroups(elements)`.',
  'Schedule-Free takes its parameters to the average x and back by `extrapolate`, over `param` and `z`, with the scalars of `coefficients(...).average(true)` and `average(false)`. A tensor that takes its first step later than the others has `scalars({ isFirst: true })`, one that does not decay `scalars({ decays: false })`. `coefficients(...).state` is what a later run goes on from.',
];

/** The comment that a file opens with, its formula as code. */
const comment = (text: string): string =>
  text
    .slice(0, text.search(/^(?!\/\/)/m))
    .trim()
    .split('\n')
    .map((line) => line.replace(/^\/\/ ?/, '').replace(/^ {2}/, '    '))
    .join('\n');

function row({ name, scalars, arrays, fromParam }: KernelDescription): string {
  const begins =
    fromParam.length > 0 ? `; ${fromParam.map((slot) => `\`${slot}\``).join(', ')} begins as a copy of \`param\`` : '';
  const told = scalars.map((scalar, i) => `\`${scalar}\` ${4 * i}`).join(', ');
  return `\`${name}(scalars, ${arrays.join(', ')}, bytes)\`${begins}. Scalars, and their bytes: ${told}.`;
}
