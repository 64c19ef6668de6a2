// The type of a schedule.

/** The multiplier of lr ("eta") as a function of completed steps: 0 at the first step. */
export type Schedule = (completedSteps: number) => number;

/** The methods of a schedule with state, which state dicts save. PyTorch's names, in camelCase. */
export interface ScheduleMemory {
  /** Returns the state: numbers, null, and records and arrays of them. */
  stateDict(): Record<string, unknown>;
  /** Loads what `stateDict()` returned. Throws an Error for anything else, and then changes nothing. */
  loadStateDict(dict: unknown): void;
}

export const hasMemory = (value: unknown): value is Schedule & ScheduleMemory =>
  typeof value === 'function' && isMethod(value, 'stateDict') && isMethod(value, 'loadStateDict');

const isMethod = (value: object, name: string): boolean =>
  name in value && typeof Reflect.get(value, name) === 'function';
