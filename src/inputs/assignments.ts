// Makes assignments without effect throw. Engines ignore them in sloppy mode.

import { ownOf, show, suggest } from '../errors.js';

interface Owner {
  readonly groups: readonly object[];
}

/**
 * Makes assignments to unknown properties, and to properties with only a getter, throw on objects of a class. The
 * objects have `groups`, or an `optimizer` with them. A Proxy around each object would break private fields and slow
 * down calls.
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
  // The end of the prototype chain: assignments to unknown properties come here.
  const end = new Proxy(
    {},
    ownOf({
      set(_, key, value, owner: Owner | { optimizer: Owner }) {
        const [where, { groups }] = 'optimizer' in owner ? ['optimizer.groups', owner.optimizer] : ['groups', owner];
        const name = String(key);
        const options = Object.keys(groups[0]);
        const how = options.includes(name) ? `${where}[0].${name}.` : `${where}[0].lr.${suggest(name, options)}`;
        const what = `Cannot assign ${show(value)} to ${show(name)}, which does not exist`;
        throw new TypeError(`${what}; options are in ${where}, such as ${how}`);
      },
    }),
  );
  Object.setPrototypeOf(prototype, end);
}

/** Returns a live view of `target` that throws when it is changed. `how` says what to do instead. */
export function readOnly<Target extends object>(target: Target, what: string, how: string): Target {
  const refuse = (_: object, name: string | symbol, property?: PropertyDescriptor): never => {
    throw new TypeError(`${what}[${show(String(name))}] is read-only, got ${show(property?.value)}; ${how}`);
  };
  const refuseWhole = (): never => {
    throw new TypeError(`${what} cannot be frozen, sealed or given another prototype; ${how}`);
  };
  const traps: ProxyHandler<Target> = {
    // Without this trap, an assignment to a property with only a getter would be ignored.
    set: (_, name, value) => refuse(_, name, { value }),
    defineProperty: refuse,
    deleteProperty: refuse,
    preventExtensions: refuseWhole,
    setPrototypeOf: refuseWhole,
  };
  return new Proxy(target, ownOf(traps));
}
