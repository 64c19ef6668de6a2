// Compares a report with what is expected: the backend, its reason, and the bits.

import { createHash } from 'node:crypto';
import { ROUNDING, webgpuRoundings } from '../test/support/tolerances.js';
import type { Report, Row } from './row.js';

/** The checksum of the trained parameters' bits on every runtime. Changes only if the rounding of a rule or its scalars change. */
const CHECKSUM = '2d5913299d7aa3e4';

/** The number of steps in each of the two runs of matrix/program.mjs. */
const STEPS = 200;

export const checksum = (bits: readonly number[]): string =>
  createHash('sha256').update(Uint32Array.from(bits)).digest('hex').slice(0, 16);

/** The values of the first row with the expected bits, to compare others with. */
let values: Float32Array | undefined;

/** Returns a sentence for each difference. */
export function judge({ backend, reason = '' }: Row, report: Report): string[] {
  const problems: string[] = [];
  if (report.name !== backend) {
    problems.push(`Expected the backend ${backend}, got ${report.name}: ${report.reason}`);
  }
  if (!report.reason.includes(reason)) problems.push(`Expected "${reason}" in the reason, got "${report.reason}".`);
  const got = checksum(report.bits);
  if (got === CHECKSUM) {
    values ??= floats(report.bits);
  } else if (backend !== 'webgpu') {
    problems.push(`Expected parameters with the checksum ${CHECKSUM}, got ${got}.`);
  } else {
    problems.push(...judgeValues(report));
  }
  return problems;
}

const floats = (bits: readonly number[]): Float32Array => new Float32Array(Uint32Array.from(bits).buffer);

/** WebGPU may round differently: checks the distance relative to the largest value. On SwiftShader it must be 0. */
function judgeValues({ bits, adapter = '' }: Report): string[] {
  if (values === undefined) return ['No other row has values to compare with.'];
  const got = floats(bits);
  const bound = webgpuRoundings(adapter, STEPS) * ROUNDING * Math.max(...values.map(Math.abs));
  const distance = Math.max(...values.map((value, i) => Math.abs(value - got[i])));
  // Also false for NaN.
  if (got.length === values.length && distance <= bound) return [];
  return [
    `Expected ${values.length} parameters within ${bound}, got ${got.length} within ${distance} on "${adapter}".`,
  ];
}
