/** A line of a log to what it says, whatever it is wrapped in. */
import type { LogPattern } from './patterns.ts';

export interface Match {
  readonly pattern: LogPattern;
  /** The part of the line that matched. */
  readonly text: string;
  readonly groups: Readonly<Record<string, string>>;
}

export interface Unwrapped {
  readonly text: string;
  /** When the runtime that wrote it down says it was, milliseconds; undefined if it does not. */
  readonly timeMs: number | undefined;
}

/** Takes off what container runtimes put around a line: CRI's prefix, Docker's JSON; else a leading RFC 3339 time counts. */
export function unwrap(line: string): Unwrapped {
  const cri = /^(\d{4}-\d\d-\d\dT[\d:.]{8,20}(?:Z|[+-]\d\d:\d\d))(?: (?:stdout|stderr) [FP])? /.exec(line);
  if (cri) return { text: line.slice(cri[0].length), timeMs: timeOf(cri[1]!) };
  if (line.startsWith('{"log":') || (line.startsWith('{') && line.includes('"log":"'))) {
    try {
      const { log, time } = JSON.parse(line) as Record<string, unknown>;
      if (typeof log === 'string') return { text: log, timeMs: typeof time === 'string' ? timeOf(time) : undefined };
    } catch {
      // A line like another.
    }
  }
  return { text: line, timeMs: undefined };
}

function timeOf(text: string): number | undefined {
  const ms = Date.parse(text.replace(/(\.\d{3})\d+/, '$1'));
  return Number.isNaN(ms) ? undefined : ms;
}

const LONGEST = 16_384;

/** The first pattern that matches; undefined for nearly all lines. */
export function match(text: string, patterns: readonly LogPattern[]): Match | undefined {
  for (const pattern of patterns) {
    const at = text.indexOf(pattern.words);
    if (at < 0) continue;
    // Patterns are matched near their words only: a line of a megabyte costs no more than a short one.
    const found = pattern.pattern.exec(text.slice(Math.max(0, at - 256), at + LONGEST));
    if (!found) continue;
    const groups: Record<string, string> = {};
    for (const [name, value] of Object.entries(found.groups ?? {})) {
      if (value !== undefined) groups[name.replaceAll('__', '.')] = value;
    }
    return { pattern, text: found[0].slice(0, 200), groups };
  }
  return undefined;
}

const RANKS: readonly (readonly [RegExp, string])[] = [
  [/\b(?:EngineCore_)?DP(\d{1,4})\b/, 'inference.rank.dp'],
  [/\b(?:Worker_)?TP(\d{1,4})\b/, 'inference.rank.tp'],
  [/\bPP(\d{1,4})\b/, 'inference.rank.pp'],
  [/\bEP(\d{1,4})\b/, 'inference.rank.ep'],
];

/** The ranks that engines put in front of their lines: `(Worker_TP1 pid=7)`, `[2026-05-24 03:51:44 TP0]`. */
export function ranksOf(text: string): Record<string, number> {
  const out: Record<string, number> = {};
  const prefix = /^(?:\([^)]{1,80}\) ?|\[[^\]]{1,80}\] ?){1,3}/.exec(text)?.[0].replaceAll('_', ' ');
  if (!prefix) return out;
  for (const [pattern, attribute] of RANKS) {
    const found = pattern.exec(prefix);
    if (found) out[attribute] = Number(found[1]);
  }
  return out;
}
