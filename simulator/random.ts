/**
 * Random numbers that depend on nothing but the seed and a name. Every entity and purpose has a stream of its own, so a
 * fault that makes one replica draw more numbers does not change what anybody else draws.
 */
export interface Random {
  /** Uniform in [0, 1). */
  next(): number;
  /** Uniform integer in [0, n). */
  int(n: number): number;
  /** Uniform in [lo, hi). */
  between(lo: number, hi: number): number;
  chance(p: number): boolean;
  /** Standard normal. */
  normal(): number;
  /** Mean 1. */
  exponential(): number;
  /** Gamma with the given shape and mean 1. */
  gamma(shape: number): number;
  /** Lognormal with the given median and log standard deviation. */
  lognormal(median: number, sigma: number): number;
  pick<T>(items: readonly T[]): T;
  /** Index drawn with the given weights (all >= 0, at least one > 0). */
  weighted(weights: readonly number[]): number;
}

function hash(text: string, seed: number): number {
  let h = (seed ^ 0x9e3779b9) >>> 0;
  for (let i = 0; i < text.length; i++) {
    h = Math.imul(h ^ text.charCodeAt(i), 0x85ebca6b);
    h = (h ^ (h >>> 13)) >>> 0;
  }
  h = Math.imul(h ^ (h >>> 16), 0xc2b2ae35);
  return (h ^ (h >>> 15)) >>> 0;
}

/** A stream for this seed and name (sfc32; passes PractRand far beyond what is drawn here). */
export function random(seed: number, name: string): Random {
  let a = hash(name, seed);
  let b = hash(name, a ^ 0x1234567);
  let c = hash(name, b ^ 0x7654321);
  let d = 1;
  const next32 = () => {
    const t = (((a + b) | 0) + d) | 0;
    d = (d + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (c << 21) | (c >>> 11);
    c = (c + t) | 0;
    return t >>> 0;
  };
  for (let i = 0; i < 12; i++) next32();
  let spare = Number.NaN;
  const gammaAbove1 = (shape: number): number => {
    const d1 = shape - 1 / 3;
    const c1 = 1 / Math.sqrt(9 * d1);
    for (;;) {
      const x = self.normal();
      const v = (1 + c1 * x) ** 3;
      if (v <= 0) continue;
      const u = 1 - self.next();
      if (Math.log(u) < 0.5 * x * x + d1 - d1 * v + d1 * Math.log(v)) return (d1 * v) / shape;
    }
  };
  const self: Random = {
    next: () => next32() / 4294967296,
    int: (n) => Math.floor((next32() / 4294967296) * n),
    between: (lo, hi) => lo + (next32() / 4294967296) * (hi - lo),
    chance: (p) => next32() / 4294967296 < p,
    normal() {
      if (!Number.isNaN(spare)) {
        const value = spare;
        spare = Number.NaN;
        return value;
      }
      const r = Math.sqrt(-2 * Math.log(1 - next32() / 4294967296));
      const phi = (2 * Math.PI * next32()) / 4294967296;
      spare = r * Math.sin(phi);
      return r * Math.cos(phi);
    },
    exponential: () => -Math.log(1 - next32() / 4294967296),
    gamma(shape) {
      // Marsaglia and Tsang; shapes below 1 by the boost of the same paper.
      if (shape < 1) return (gammaAbove1(shape + 1) * (1 - self.next()) ** (1 / shape) * (shape + 1)) / shape;
      return gammaAbove1(shape);
    },
    lognormal: (median, sigma) => median * Math.exp(sigma * self.normal()),
    pick: (items) => items[self.int(items.length)]!,
    weighted(weights) {
      let total = 0;
      for (const w of weights) total += w;
      let x = self.next() * total;
      for (let i = 0; i < weights.length; i++) {
        x -= weights[i]!;
        if (x < 0) return i;
      }
      return weights.length - 1;
    },
  };
  return self;
}

/** Draws ranks 0…n-1 with probability proportional to 1/(rank+1)^s. */
export function zipf(n: number, s: number): (r: Random) => number {
  const cumulative = new Float64Array(n);
  let total = 0;
  for (let i = 0; i < n; i++) {
    total += 1 / (i + 1) ** s;
    cumulative[i] = total;
  }
  return (r) => {
    const x = r.next() * total;
    let lo = 0;
    let hi = n - 1;
    while (lo < hi) {
      const mid = (lo + hi) >> 1;
      if (cumulative[mid]! <= x) lo = mid + 1;
      else hi = mid;
    }
    return lo;
  };
}
