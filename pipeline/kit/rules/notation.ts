/**
 * Series in the notation of Prometheus' rule tests: `1 2 3`, `0.99x20` (once and twenty times more), `0+3x20`, `10-1x5`,
 * `_` (no sample), `_x5`, `stale`.
 */
import type { Sample } from './rule.ts';

const MAX_SAMPLES = 20_000;
const NUMBER = String.raw`[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?`;
const STEP = new RegExp(`^(${NUMBER})(?:([+-])((?:\\d+(?:\\.\\d*)?|\\.\\d+)(?:[eE][+-]?\\d+)?))?x(\\d+)$`);
const SINGLE = new RegExp(`^${NUMBER}$`);

/** The samples of a text; a text that says what is wrong with it otherwise. */
export function readNotation(text: string): readonly Sample[] | string {
  const out: Sample[] = [];
  for (const part of text.trim().split(/\s+/)) {
    if (part === '') continue;
    const gap = /^_(?:x(\d+))?$/.exec(part);
    const step = STEP.exec(part);
    if (gap) {
      const times = Number(gap[1] ?? 1);
      if (out.length + times > MAX_SAMPLES) return tooMany;
      for (let i = 0; i < times; i++) out.push(undefined);
    } else if (part === 'stale') out.push('stale');
    else if (SINGLE.test(part)) out.push(Number(part));
    else if (step) {
      const [, first, sign, by, times] = step;
      if (out.length + Number(times) > MAX_SAMPLES) return tooMany;
      const change = by === undefined ? 0 : Number(by) * (sign === '-' ? -1 : 1);
      for (let i = 0; i <= Number(times); i++) out.push(Number(first) + i * change);
    } else return `"${part}" is no value: write 0.99x20, 0+3x20, 5, _ or stale`;
    if (out.length > MAX_SAMPLES) return tooMany;
  }
  return out;
}

const tooMany = `more than ${MAX_SAMPLES} samples`;
