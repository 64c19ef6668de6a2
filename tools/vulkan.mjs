// Provides a Vulkan driver for npm `webgpu` (Dawn for Node) on a machine without one: SwiftShader, from
// `@sparticuz/chromium`, which renders on the CPU. A process finds drivers by its environment variables when it starts,
// so this is a launcher: `node tools/vulkan.mjs node program.js`.

import { spawnSync } from 'node:child_process';
import { createReadStream, existsSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { createBrotliDecompress } from 'node:zlib';
import { extract } from 'tar-fs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const folder = join(root, 'node_modules/.cache/twinstep-swiftshader');

/**
 * Returns the environment variables with which a process finds an adapter. Empty if the system has an adapter.
 * @returns {Promise<Record<string, string>>}
 */
export async function vulkanEnvironment() {
  if (process.platform !== 'linux' || findsAdapter()) return {};
  if (!existsSync(folder)) await unpack();
  const driver = join(folder, 'vk_swiftshader_icd.json');
  return { LD_LIBRARY_PATH: folder, VK_DRIVER_FILES: driver, VK_ICD_FILENAMES: driver };
}

/** Whether Dawn finds an adapter. Tests it in another process, because a driver may abort the process. */
function findsAdapter() {
  const program = `
    import { create } from 'webgpu';
    const gpu = create([]);
    process.exit((await gpu.requestAdapter()) === null ? 1 : 0);`;
  const { status } = spawnSync(process.execPath, ['--input-type=module', '-e', program], { cwd: root });
  return status === 0;
}

async function unpack() {
  const entry = createRequire(import.meta.url).resolve('@sparticuz/chromium');
  const archive = join(dirname(entry), '../../bin/swiftshader.tar.br');
  // Unpack under another name, then rename, so that two processes may do this at once.
  const partial = `${folder}.${process.pid}`;
  await pipeline(createReadStream(archive), createBrotliDecompress(), extract(partial));
  await rename(partial, folder).catch(() => rm(partial, { recursive: true }));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [command, ...args] = process.argv.slice(2);
  const env = { ...process.env, ...(await vulkanEnvironment()) };
  const { status, signal } = spawnSync(command, args, { stdio: 'inherit', env });
  process.exit(status ?? (signal === null ? 1 : 130));
}
