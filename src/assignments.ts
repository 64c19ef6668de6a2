// Assignments that would act on nothing: they throw, in scripts as in modules, which alone hear of it from the engine.

import { ownOf, show, suggest } from './sentences.js';

/**
 * For the prototype of a class with `groups`: assignments throw, to what its objects do not have, and to what has a
 * getter only. Private fields and the speed of calls stay what they are, which a Proxy around each object would change.
 */
export function refuseAssignments(prototype: object): void {
  if (Object.getPrototypeOf(prototype) !== Object.prototype) return;
  for (const [name, { get, set }] of Object.entries(Object.getOwnPropertyDescriptors(prototype))) {
    if (get === undefined || set !== undefined) continue;
    const refuse = (value: unknown): never => {
      throw new TypeError(`${name} is read-only, got ${show(value)}.`);
    };
    Object.defineProperty(prototype, name, ownOf({ set: refuse }));
  }
  // Whatever is found nowhere else is looked for here.
  const end = new Proxy(
    {},
    ownOf({
      set(_, key, value, { groups }: { groups: readonly object[] }) {
        const name = String(key);
        const options = Object.keys(groups[0]);
        const how = options.includes(name) ? `groups[0].${name}.` : `groups[0].lr.${suggest(name, options)}`;
        throw new TypeError(
          `There is no ${show(name)} to assign, got ${show(value)}; options are in groups, as ${how}`,
        );
      },
    }),
  );
  Object.setPrototypeOf(prototype, end);
}

/** Shows `target` as it comes to be, and refuses any change by whoever sees it; `how` says what to do instead. */
export function readOnly<Target extends object>(target: Target, what: string, how: string): Target {
  const refuse = (_: object, name: string | symbol, property?: PropertyDescriptor): never => {
    throw new TypeError(`${what}[${show(String(name))}] is read-only, got ${show(property?.value)}; ${how}`);
  };
  const traps: ProxyHandler<Target> = {
    // Of what has a getter alone nothing would be defined.
    set: (_, name, value) => refuse(_, name, { value }),
    defineProperty: refuse,
    deleteProperty: refuse,
  };
  return new Proxy(target, ownOf(traps));
}
