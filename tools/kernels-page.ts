// docs/kernels.md, from the table: what each kernel is told, and what it works on.

import { readdirSync, readFileSync } from 'node:fs';
import { kernels, type KernelDescription } from 'twinstep/kernels';

const rules = new URL('../../../src/rules/', import.meta.url);

/** The page; `folder` is that of src/rules/. */
export function kernelsPage(folder: URL = rules): string {
  const files = readdirSync(folder).filter((file) => !['index.ts', 'rule.ts'].includes(file));
  const sections = files.map((file) => {
    const text = readFileSync(new URL(file, folder), 'utf8');
    const names = [...text.matchAll(/export const (\w+) = .*\brule\(/g)].map(
      ([, name]) => name as keyof typeof kernels,
    );
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
  'Written by `npm run docs` from the table in `src/rules/`. Scalars are f32, number _i_ at byte 4·_i_ of their block; arrays are f32, all of one length, and updated in place. In WebAssembly a kernel is called with the byte address of the scalars, those of the arrays in this order, and the bytes of each array; in WGSL the scalars are group 0, binding 0, and the arrays group 1, bindings in this order. `coefficients` of `twinstep/kernels` gives the scalars of each step.',
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
