// Bundles a file of the package as bundlers do that read `sideEffects`.

import { rollup, type OutputChunk } from 'rollup';

/** Returns the chunks of a program that uses one name of a file. `has`: whether a file counts as one with effects. */
export async function bundle(path: string, name: string, has: (path: string) => boolean): Promise<OutputChunk[]> {
  const program = `export { ${name} } from ${JSON.stringify(path)};`;
  const built = await rollup({
    input: 'program',
    external: /core\.wasm/,
    treeshake: { moduleSideEffects: (id) => id === 'program' || has(id) },
    plugins: [
      {
        name: 'program',
        resolveId: (id) => (id === 'program' ? id : null),
        load: (id) => (id === 'program' ? program : null),
      },
    ],
  });
  const { output } = await built.generate({ format: 'es' });
  return output.filter((chunk) => chunk.type === 'chunk');
}
