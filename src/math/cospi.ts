// cos(pi*x) from products and sums only: the last bit of Math.cos differs between engines.

/**
 * Coefficients of the Taylor series, times the power of pi, rounded once: of the cosine (x^2, x^4, ...) and of the sine
 * (x^1, x^3, ...).
 */
const EVEN = [
  -4.934802200544679, 4.0587121264167685, -1.3352627688545895, 0.2353306303588932, -0.02580689139001406,
  0.0019295743094039231, -0.0001046381049248457, 4.303069587032947e-6,
];
const ODD = [
  Math.PI,
  -5.16771278004997,
  2.5501640398773455,
  -0.5992645293207921,
  0.08214588661112823,
  -0.0073704309457143504,
  0.00046630280576761255,
  -2.1915353447830217e-5,
  7.952054001475513e-7,
];

/** Returns cos(pi*x) for x >= 0, to 1 ulp. The results 0, 1 and -1 are exact. */
export function cosPi(x: number): number {
  // Each of these subtractions is exact.
  const turn = x % 2;
  const half = turn > 1 ? 2 - turn : turn;
  return half > 0.5 ? -quarter(1 - half) : quarter(half);
}

/** Returns cos(pi*x) for 0 <= x <= 1/2: by the cosine series up to 1/4, above it by the sine series of 1/2 - x. */
function quarter(x: number): number {
  if (x <= 0.25) return 1 + x * x * series(EVEN, x * x);
  const rest = 0.5 - x;
  return rest * series(ODD, rest * rest);
}

function series(coefficients: readonly number[], z: number): number {
  let sum = 0;
  for (let i = coefficients.length - 1; i >= 0; i--) sum = sum * z + coefficients[i];
  return sum;
}

/** Half a cosine wave, from 1 at x = 0 to 0 at x = 1. */
export const cosineFall = (x: number): number => (1 + cosPi(x)) / 2;
