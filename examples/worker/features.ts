// Maps features with any names to positions in a short list of weights: the hashing trick (arXiv 0902.2206). It needs
// no dictionary. Two features with the same position share a weight.

/** What is known about an item and its context: { "topic": "sport", "position": 2 }. */
export type Features = Readonly<Record<string, string | number>>;

export const POSITIONS = 256;

/** A string makes a feature "topic=sport" with value 1. A number is the value of the feature with its name. */
export const hashed = (features: Features): { position: number; value: number }[] =>
  Object.entries(features).map(([name, value]) =>
    typeof value === 'string'
      ? { position: fnv1a(`${name}=${value}`) % POSITIONS, value: 1 }
      : { position: fnv1a(name) % POSITIONS, value },
  );

/** Returns the 32-bit FNV-1a hash of the UTF-8 bytes. It must never change: stored models depend on it. */
export function fnv1a(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}
