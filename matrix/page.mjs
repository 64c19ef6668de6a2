// Runs the program in a page, with the options in its address (`?program=./program.mjs`). `globalThis.report` is a
// promise of the report.

const { program, threads = '1', ...options } = Object.fromEntries(new URLSearchParams(location.search));

async function run() {
  const started = performance.now();
  const { train } = await import(program);
  return train({ ...options, threads: Number(threads) }, started);
}

globalThis.report = run();
