// Runs the program in Node, Deno and Bun, and prints its report: `start.mjs '{"program": "./program.mjs"}'`. With `wide`,
// the kernels are those of enableWideSimd().

const { program, options, without = [], wide = false } = JSON.parse(process.argv.at(-1));
for (const name of without) delete globalThis[name];

const started = performance.now();
const { train } = await import(program);
console.log(JSON.stringify(await train(wide ? await widened(options) : options, started)));

async function widened(given = {}) {
  const { enableWideSimd } = await import('twinstep');
  const { enabled, reason, wasm } = enableWideSimd(undefined, { threads: given.threads > 1 });
  if (!enabled) throw new Error(reason);
  return { ...given, wasm };
}
