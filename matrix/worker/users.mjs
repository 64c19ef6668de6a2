// Synthetic users, whose click probabilities are known.

/** A user who likes sport by `taste` and dislikes art as much, and clicks less on items further down. */
export function synthetic(name, taste, seed = 0) {
  let random = 12345 + seed;
  // A linear congruential generator: the same clicks on every machine.
  const uniform = () => (random = (Math.imul(random, 1664525) + 1013904223) >>> 0) / 2 ** 32;
  const topics = { sport: 2 * taste, art: -2 * taste, news: 0 };
  const next = () => {
    const topic = Object.keys(topics)[Math.floor(uniform() * 3)];
    const position = Math.floor(uniform() * 5) / 5;
    const p = 1 / (1 + Math.exp(1.5 * position - topics[topic]));
    return { features: { topic, position }, clicked: uniform() < p, p };
  };
  return { name, next };
}

/** The expected loss of a prediction q if the probability is p. At q = p it is the entropy. */
export const crossEntropy = (p, q) => -p * Math.log(q) - (1 - p) * Math.log(1 - q);

export const mean = (values) => values.reduce((sum, x) => sum + x, 0) / values.length;
