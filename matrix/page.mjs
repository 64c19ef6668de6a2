// Runs the program in a page, with the options in its address (`?program=./program.mjs`). `globalThis.report` is a
// promise of the report.

const { program, threads, ...options } = Object.fromEntries(new URLSearchParams(location.search));

async function run() {
  const started = performance.now();
  const { train } = await import(program);
  return train({ ...options, threads: threads && Number(threads) }, started);
}

globalThis.report = run();
