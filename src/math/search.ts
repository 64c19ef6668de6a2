// Binary search.

/** Returns how many of `items`, sorted by ascending `keyOf`, have a key of at most `limit`. */
export function countAtMost<Item>(items: ArrayLike<Item>, limit: number, keyOf: (item: Item) => number): number {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (keyOf(items[middle]) <= limit) low = middle + 1;
    else high = middle;
  }
  return low;
}
