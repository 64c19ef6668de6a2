// Runs the program in a page, whose address tells how (`?program=./program.mjs`); the report is a promise,
// `globalThis.report`.

const { program, threads = '1', ...options } = Object.fromEntries(new URLSearchParams(location.search));

async function run() {
  const started = performance.now();
  const { train } = await import(program);
  return train({ ...options, threads: Number(threads) }, started);
}

globalThis.report = run();
