// The entries of a package by import name.

type Exports = Record<string, string | Record<string, string>>;

/** Returns import names and files from `exports`, for a condition or the default. */
export const entriesOf = (exports: Exports, condition = 'default'): [name: string, path: string][] =>
  Object.entries(exports).flatMap(([key, targets]): [string, string][] =>
    typeof targets === 'string' ? [] : [[`twinstep${key.slice(1)}`, targets[condition] ?? targets.default]],
  );
