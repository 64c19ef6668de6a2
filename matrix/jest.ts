// Rows of Jest, configured as docs/edge.md says: with ES modules, and compiled to CommonJS by babel-jest.

import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { installed, output, versionOf, type Report, type Row } from './row.js';

/** The files of a project besides program.mjs, and Node's arguments. */
interface Project {
  readonly args: readonly string[];
  readonly files: Readonly<Record<string, string>>;
}

const projects: Readonly<Record<string, Project>> = {
  'ES modules, `--experimental-vm-modules`': {
    args: ['--experimental-vm-modules'],
    files: { 'package.json': '{ "type": "module" }' },
  },
  'compiled to CommonJS by babel-jest': {
    args: [],
    files: {
      'package.json': '{}',
      'jest.config.js': "module.exports = { transformIgnorePatterns: ['/node_modules/(?!twinstep/)'] };",
      'babel.config.js': `module.exports = { presets: [[${JSON.stringify(installed('@babel/preset-env'))}, { targets: { node: 'current' } }]] };`,
    },
  },
};

/** Writes the report to a file: Jest adds to what a test prints. */
const TEST = `
import { writeFileSync } from 'node:fs';
import { train } from './program.js';

test('trains', async () => writeFileSync('report.json', JSON.stringify(await train())), 60_000);
`;

export const jestRows = (folder: string): Row[] =>
  Object.entries(projects).map(([loading, { args, files }], i) => ({
    runtime: 'Jest',
    version: versionOf('jest'),
    loading,
    backend: 'wasm',
    async run(): Promise<Report> {
      const project = join(folder, `jest-${i}`);
      await mkdir(project);
      await cp(join(folder, 'node_modules/twinstep'), join(project, 'node_modules/twinstep'), { recursive: true });
      await cp(join(folder, 'program.mjs'), join(project, 'program.js'));
      for (const [name, text] of Object.entries({ ...files, 'train.test.js': TEST })) {
        await writeFile(join(project, name), text);
      }
      await output(process.execPath, [...args, installed('jest/bin/jest.js')], project);
      return JSON.parse(await readFile(join(project, 'report.json'), 'utf8'));
    },
  }));
