// What is right of a report: the backend, its reason, and the bits.

import { createHash } from 'node:crypto';
import { ROUNDING, webgpuRoundings } from '../test/support/tolerances.js';
import type { Report, Row } from './row.js';

/** Of the bits that the training gives, wherever it runs. Another rounding in a rule changes it, and has to be meant. */
const CHECKSUM = '053785b53983702f';

/** matrix/program.mjs takes 200 steps twice, each from the start. */
const STEPS = 200;

export const checksum = (bits: readonly number[]): string =>
  createHash('sha256').update(Uint32Array.from(bits)).digest('hex').slice(0, 16);

/** The values to compare with: those of the first row that had the right bits. */
let values: Float32Array | undefined;

/** What is wrong with it, in sentences. */
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
    problems.push(`Expected parameters of the checksum ${CHECKSUM}, got ${got}.`);
  } else {
    problems.push(...judgeValues(report));
  }
  return problems;
}

const floats = (bits: readonly number[]): Float32Array => new Float32Array(Uint32Array.from(bits).buffer);

/** WebGPU may round otherwise, by so much of the largest value; on SwiftShader it does not. */
function judgeValues({ bits, adapter = '' }: Report): string[] {
  if (values === undefined) return ['There is no other row to compare it with.'];
  const got = floats(bits);
  const bound = webgpuRoundings(adapter, STEPS) * ROUNDING * Math.max(...values.map(Math.abs));
  const distance = Math.max(...values.map((value, i) => Math.abs(value - got[i])));
  // Not so of NaN, either.
  if (got.length === values.length && distance <= bound) return [];
  return [
    `Expected ${values.length} parameters within ${bound}, got ${got.length} within ${distance} on "${adapter}".`,
  ];
}
