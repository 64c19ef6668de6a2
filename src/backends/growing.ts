// The records behind `optimizer.params` and `optimizer.grads`.

/** A frozen record that can grow. It is rebuilt when next read, so the cost of adding does not depend on its size. */
export class GrowingRecord<Entry, Value = Entry> {
  readonly #make: (entries: Iterable<[string, Entry]>) => Readonly<Record<string, Value>>;
  #entries: [string, Entry][] = [];
  #record: Readonly<Record<string, Value>> | undefined;

  constructor(make: (entries: Iterable<[string, Entry]>) => Readonly<Record<string, Value>>) {
    this.#make = make;
  }

  add(entries: readonly [string, Entry][]): void {
    for (const entry of entries) this.#entries.push(entry);
    this.#record = undefined;
  }

  remove(names: ReadonlySet<string>): void {
    this.#entries = this.#entries.filter(([name]) => !names.has(name));
    this.#record = undefined;
  }

  get record(): Readonly<Record<string, Value>> {
    return (this.#record ??= Object.freeze(this.#make(this.#entries)));
  }
}
