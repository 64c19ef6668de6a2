// The scalars of a rule, by name and in order, over one Float64Array. Engines box a number that is read or written by a
// computed property name, and a step on the CPU is to allocate nothing.

import type { Rule } from './rule.js';

interface Place {
  readonly values: Float64Array;
}

export interface Scalars {
  /** By name. */
  readonly by: Record<string, number>;
  /** The same, in the order of the rule. */
  readonly values: Float64Array;
}

/** One for each rule, so that engines know where a name leads. */
const prototypes = /* @__PURE__ */ new WeakMap<Rule, object>();

export function scalarsOf(rule: Rule): Scalars {
  const values = new Float64Array(rule.scalars.length);
  const by = Object.create(prototypeOf(rule), {
    values: { __proto__: null, value: values },
  } as PropertyDescriptorMap) as Record<string, number>;
  return { by: Object.preventExtensions(by), values };
}

function prototypeOf(rule: Rule): object {
  let prototype = prototypes.get(rule);
  if (prototype === undefined) {
    const accessors = rule.scalars.map((name, k) => [
      name,
      {
        // Without prototype: pages may have given `Object.prototype` properties.
        __proto__: null,
        get(this: Place): number {
          return this.values[k];
        },
        set(this: Place, value: number) {
          this.values[k] = value;
        },
      },
    ]);
    prototype = Object.defineProperties({}, Object.fromEntries(accessors)) as object;
    prototypes.set(rule, prototype);
  }
  return prototype;
}
