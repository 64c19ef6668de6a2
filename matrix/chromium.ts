// Starts the browser and libraries of npm `@sparticuz/chromium` with Playwright.

import { existsSync } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { output, root } from './row.js';

const folder = join(root, 'node_modules/.cache/twinstep-chromium');

/** Launches a headless browser, with WebGPU by SwiftShader. */
export async function launch(): Promise<any> {
  if (!existsSync(folder)) await unpack();
  const driver = join(folder, 'vk_swiftshader_icd.json');
  const libraries = { LD_LIBRARY_PATH: join(folder, 'al2023/lib'), FONTCONFIG_PATH: join(folder, 'fonts') };
  return chromium.launch({
    executablePath: join(folder, 'chromium'),
    args: ['--headless', '--no-sandbox', '--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader'],
    // Override a driver that the machine may set.
    env: { ...process.env, ...libraries, VK_DRIVER_FILES: driver, VK_ICD_FILENAMES: driver },
  });
}

/** Unpacks the browser into TMPDIR. The package unpacks its libraries only if the second variable is set. */
async function unpack(): Promise<void> {
  // Unpack under another name, then rename, so that an interruption leaves nothing incomplete.
  const partial = `${folder}.${process.pid}`;
  await mkdir(partial, { recursive: true });
  const program = "import chromium from '@sparticuz/chromium'; await chromium.executablePath();";
  const variables = [`TMPDIR=${partial}`, 'AWS_LAMBDA_JS_RUNTIME=nodejs20.x'];
  await output('env', [...variables, process.execPath, '--input-type=module', '-e', program], root);
  await rename(partial, folder).catch(() => rm(partial, { recursive: true }));
}
