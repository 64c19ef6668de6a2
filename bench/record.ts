// Makes, writes and reads the record of a run: all measurements, and the machine.

import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { fileURLToPath } from 'node:url';
import type { BenchSettings, Comparison } from './compare.js';
import type { Missing, Available } from './check.js';
import { isSoftware } from './gpu.js';
import type { OptimizerName } from './truth.js';

export interface Recorded {
  readonly name: string;
  readonly optimizer: OptimizerName | 'probe';
  readonly version: string;
  /** See Available. */
  readonly error?: number;
  readonly bytes?: number;
}

export interface RunRecord extends Comparison {
  /** ISO 8601. */
  readonly date: string;
  readonly machine: {
    readonly cpu: string;
    readonly cores: number;
    readonly memoryGiB: number;
    readonly system: string;
    /** The adapter's name, and whether it is hardware. */
    readonly gpu?: string;
    readonly hasGpu: boolean;
  };
  readonly versions: Readonly<{ [name: string]: string }>;
  readonly settings: BenchSettings & { readonly memoryLength: number };
  readonly contenders: readonly Recorded[];
  readonly absences: readonly Missing[];
}

const root = new URL('../../../', import.meta.url);

export function makeRecord(
  { rows, omissions }: Comparison,
  available: readonly Available[],
  missing: readonly Missing[],
  { sizes, rounds, seconds, memoryLength }: RunRecord['settings'],
): RunRecord {
  const gpu = available.find(({ contender: { name } }) => name.includes('webgpu'));
  const { version } = JSON.parse(readFileSync(new URL('package.json', root), 'utf8')) as { version: string };
  const [{ model }] = cpus();
  return {
    date: new Date().toISOString(),
    machine: {
      cpu: model,
      cores: cpus().length,
      memoryGiB: Math.round(totalmem() / 2 ** 30),
      system: `${process.platform} ${process.arch}, kernel ${release().split('-')[0]}`,
      gpu: gpu?.version,
      hasGpu: gpu !== undefined && !isSoftware(gpu.version),
    },
    versions: { twinstep: version, node: process.versions.node, v8: process.versions.v8 },
    settings: { sizes, rounds, seconds, memoryLength },
    contenders: available.map((each) => {
      const { name, optimizer } = each.contender;
      return { name, optimizer, version: each.version, error: each.error, bytes: each.bytes };
    }),
    rows,
    omissions,
    absences: missing,
  };
}

/** Returns a file name for the machine: its CPU and cores, and its GPU if it has one. */
export function slug({ cpu, cores, gpu, hasGpu }: RunRecord['machine']): string {
  const words = [cpu.replace(/\(R\)|\(TM\)|@.*|\b(CPU|Processor|\d+-Core)\b/gi, ' '), `${cores} cores`];
  return [...words, ...(hasGpu ? [gpu] : [])]
    .join(' ')
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-|-$/g, '');
}

/** Writes the record and returns its path. */
export function writeRecord(record: RunRecord, folder = new URL('bench/record/', root)): string {
  mkdirSync(folder, { recursive: true });
  const file = new URL(`${record.date.slice(0, 10)}-${slug(record.machine)}.json`, folder);
  writeFileSync(file, `${JSON.stringify(record, undefined, 1)}\n`);
  return fileURLToPath(file);
}

/** Returns the newest record and the name of its file. Throws a sentence if there is none. */
export function newestRecord(folder = new URL('bench/record/', root)): { name: string; record: RunRecord } {
  const records = namesIn(folder).map((name) => {
    return { name, record: JSON.parse(readFileSync(new URL(name, folder), 'utf8')) as RunRecord };
  });
  const [newest] = records.toSorted((a, b) => (a.record.date < b.record.date ? 1 : -1));
  if (newest !== undefined) return newest;
  throw new Error(
    'Expected a record of the bench in bench/record/, got none. `npm run bench -- --record` writes one for this ' +
      'machine; `npm run docs` then updates the pages.',
  );
}

function namesIn(folder: URL): string[] {
  try {
    return readdirSync(folder).filter((name) => name.endsWith('.json'));
  } catch {
    return [];
  }
}
