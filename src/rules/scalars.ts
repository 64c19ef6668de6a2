// The scalars of a rule, by name and in order, in one Float64Array. With a computed property name, engines allocate a
// box for each number that is read or written; a step on the CPU must not allocate. Hence the accessors.

import type { Rule } from './rule.js';

interface WithValues {
  readonly values: Float64Array;
}

export interface Scalars {
  readonly byName: Record<string, number>;
  /** The same numbers, in the order of the rule. */
  readonly values: Float64Array;
}

/** One prototype per rule, so that engines can optimize the lookup of a name. */
const prototypes = /* @__PURE__ */ new WeakMap<Rule, object>();

export function scalarsOf(rule: Rule): Scalars {
  const values = new Float64Array(rule.scalars.length);
  const byName = Object.create(prototypeOf(rule), {
    values: { __proto__: null, value: values },
  } as PropertyDescriptorMap) as Record<string, number>;
  return { byName: Object.preventExtensions(byName), values };
}

function prototypeOf(rule: Rule): object {
  let prototype = prototypes.get(rule);
  if (prototype === undefined) {
    const accessors = rule.scalars.map((name, k) => [
      name,
      {
        // No prototype: a page may have added properties to `Object.prototype`.
        __proto__: null,
        get(this: WithValues): number {
          return this.values[k];
        },
        set(this: WithValues, value: number) {
          this.values[k] = value;
        },
      },
    ]);
    prototype = Object.defineProperties({}, Object.fromEntries(accessors)) as object;
    prototypes.set(rule, prototype);
  }
  return prototype;
}
