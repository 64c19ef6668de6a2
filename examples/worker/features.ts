// Features of any names as positions in one short list of weights: the hashing trick (arXiv 0902.2206). No dictionary
// has to be kept, and two features that fall on one position share its weight.

/** What is known of an item and its surroundings: { "topic": "sport", "position": 2 }. */
export type Features = Readonly<Record<string, string | number>>;

export const POSITIONS = 256;

/** A text is a feature of its own with value 1, "topic=sport"; a number is the value of the feature that it is named by. */
export const hashed = (features: Features): { position: number; value: number }[] =>
  Object.entries(features).map(([name, value]) =>
    typeof value === 'string'
      ? { position: fnv1a(`${name}=${value}`) % POSITIONS, value: 1 }
      : { position: fnv1a(name) % POSITIONS, value },
  );

/** FNV-1a of 32 bits, over UTF-8: the same on every machine, and for ever, which what is stored relies on. */
export function fnv1a(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}
