// Checks of option values. Each algorithm lists the checks of its own options.

/** A check of a value: what is accepted, in words and as a function. */
export interface Check {
  readonly wanted: string;
  readonly accepts: (value: unknown) => boolean;
  /** The check of the returned value, if the option may be a function of completed steps. */
  readonly returns?: Check;
}

/** A check for each option. */
export type Checks<Options> = { readonly [Name in keyof Options]-?: Check };

// Checks the f32 value if kernels use it: 1e300 is finite in f64 only.
const isNotNegative = (value: unknown): boolean =>
  typeof value === 'number' && Number.isFinite(Math.fround(value)) && value >= 0;
export const isRate = (value: unknown): boolean => typeof value === 'number' && value >= 0 && value < 1;

export const notNegative: Check = { wanted: 'a finite number of at least 0', accepts: isNotNegative };
export const factor: Check = {
  wanted: 'a finite number of at least 0 (maximize steps up the gradient)',
  accepts: isNotNegative,
};
export const rate: Check = { wanted: 'a number of at least 0 and less than 1', accepts: isRate };
export const pair: Check = {
  wanted: 'two numbers of at least 0 and less than 1',
  accepts: (value) => Array.isArray(value) && value.length === 2 && isRate(value[0]) && isRate(value[1]),
};
export const flag: Check = { wanted: 'true or false', accepts: (value) => typeof value === 'boolean' };

/** Accepts the same, or a function from completed steps to `what`. */
export const orFunction = (check: Check, what: string): Check => ({
  wanted: `${check.wanted}, or a function from completed steps to ${what}`,
  accepts: (value) => typeof value === 'function' || check.accepts(value),
  returns: check,
});
