/** Units of sources to the units of the vocabulary (UCUM, as OpenTelemetry writes it). */

const FACTORS: Readonly<Record<string, readonly [base: string, factor: number]>> = {
  ns: ['s', 1e-9],
  us: ['s', 1e-6],
  ms: ['s', 1e-3],
  s: ['s', 1],
  min: ['s', 60],
  h: ['s', 3600],
  By: ['By', 1],
  kBy: ['By', 1e3],
  MBy: ['By', 1e6],
  GBy: ['By', 1e9],
  KiBy: ['By', 2 ** 10],
  MiBy: ['By', 2 ** 20],
  GiBy: ['By', 2 ** 30],
  'By/s': ['By/s', 1],
  'kBy/s': ['By/s', 1e3],
  'MBy/s': ['By/s', 1e6],
  'GBy/s': ['By/s', 1e9],
  'MiBy/s': ['By/s', 2 ** 20],
  'GiBy/s': ['By/s', 2 ** 30],
  'Mbit/s': ['By/s', 125_000],
  'Gbit/s': ['By/s', 125_000_000],
  '1': ['1', 1],
  '%': ['1', 0.01],
  Hz: ['Hz', 1],
  kHz: ['Hz', 1e3],
  MHz: ['Hz', 1e6],
  J: ['J', 1],
  mJ: ['J', 1e-3],
  uJ: ['J', 1e-6],
  W: ['W', 1],
  mW: ['W', 1e-3],
};

/** What a value in `from` is multiplied with to be in `to`; undefined if one is not the other. */
export function conversion(from: string, to: string): number | undefined {
  if (from === to) return 1;
  const a = FACTORS[from];
  const b = FACTORS[to];
  if (!a || !b || a[0] !== b[0]) return undefined;
  // One division, so that 1000 MHz is exactly 1e9 Hz.
  return b[1] === 1 ? a[1] : a[1] / b[1];
}
