// The type of a schedule.

/**
 * The multiplier of lr ("eta") as a function of completed steps. Yours may be any function.
 *
 * @param completedSteps - A whole number of at least 0: 0 at the first step.
 * @returns The factor of lr at this step, at least 0.
 * @throws TypeError, if it is of `twinstep/schedules`, for anything else than a whole number of at least 0.
 * @example cosineAnnealing({ tMax: 100 })(50); // 0.5
 */
export type Schedule = (completedSteps: number) => number;

/** The methods of a schedule with state, which state dicts save. PyTorch's names, in camelCase. */
export interface ScheduleMemory {
  /**
   * Returns the state.
   *
   * @returns A record of numbers, null, and records and arrays of them, for JSON.
   * @example reduceOnPlateau().stateDict();
   */
  stateDict(): Record<string, unknown>;
  /**
   * Loads what `stateDict()` returned.
   *
   * @param dict - The state.
   * @throws TypeError for anything else, and then nothing has changed.
   * @example
   * const schedule = reduceOnPlateau();
   * schedule.loadStateDict(reduceOnPlateau().stateDict());
   */
  loadStateDict(dict: unknown): void;
}

export const hasMemory = (value: unknown): value is Schedule & ScheduleMemory =>
  typeof value === 'function' && isMethod(value, 'stateDict') && isMethod(value, 'loadStateDict');

const isMethod = (value: object, name: string): boolean =>
  name in value && typeof Reflect.get(value, name) === 'function';
