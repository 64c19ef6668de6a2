// Calls of twinstep/schedules as data, for golden cases and plots.

import * as schedules from 'twinstep/schedules';
import type { Schedule } from 'twinstep/schedules';

/** A call. Its arguments are options, lists, and other calls. */
export interface Call {
  readonly call: string;
  readonly args: readonly unknown[];
}

export const call = (name: keyof typeof schedules, ...args: readonly unknown[]): Call => ({ call: name, args });

/** Returns the schedule that the call makes. */
export function make({ call: name, args }: Call): Schedule {
  const create = schedules[name as keyof typeof schedules] as (...given: unknown[]) => Schedule;
  return create(...args.map(revived));
}

function revived(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(revived);
  return isCall(value) ? make(value) : value;
}

/** Returns the call as source code. */
export function text(value: unknown): string {
  if (isCall(value)) return `${value.call}(${value.args.map(text).join(', ')})`;
  if (Array.isArray(value)) return `[${value.map(text).join(', ')}]`;
  if (typeof value === 'string') return `'${value}'`;
  if (typeof value !== 'object' || value === null) return String(value);
  const entries = Object.entries(value).map(([name, each]) => `${name}: ${text(each)}`);
  return entries.length === 0 ? '' : `{ ${entries.join(', ')} }`;
}

const isCall = (value: unknown): value is Call => typeof value === 'object' && value !== null && 'call' in value;
