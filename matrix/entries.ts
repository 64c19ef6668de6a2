// The entries of a package by the names that they are imported by.

type Exports = Record<string, string | Record<string, string>>;

/** Names, and files in the package, that `exports` gives under a condition, or by default. */
export const entriesOf = (exports: Exports, condition = 'default'): [name: string, path: string][] =>
  Object.entries(exports).flatMap(([key, targets]): [string, string][] =>
    typeof targets === 'string' ? [] : [[`twinstep${key.slice(1)}`, targets[condition] ?? targets.default]],
  );
