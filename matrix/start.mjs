// Runs the program in Node, Deno and Bun, and prints its report: `start.mjs '{"program": "./program.mjs"}'`.

const { program, options, without = [] } = JSON.parse(process.argv.at(-1));
for (const name of without) delete globalThis[name];

const started = performance.now();
const { train } = await import(program);
console.log(JSON.stringify(await train(options, started)));
