/** Why an alert tells nobody although it fires: a silence, a maintenance window, or another alert that explains it. */
import type { Inhibition, LabelMatch } from '../../pipeline/kit/rules/rule.ts';

export type Labels = Readonly<Record<string, string>>;

export interface Silence {
  readonly match: LabelMatch;
  /** Milliseconds since the epoch; ±Infinity where it has no such end. */
  readonly startsMs: number;
  readonly endsMs: number;
  readonly comment: string;
}

/** A window that comes back: from `from` to `to`, minutes after midnight in `timezone`, on the days on which it begins. */
export interface Maintenance {
  readonly match: LabelMatch;
  /** 0 is Sunday. */
  readonly days: ReadonlySet<number>;
  readonly from: number;
  /** At or before `from`: on the day after. */
  readonly to: number;
  readonly timezone: string;
  readonly comment: string;
}

const DAYS = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'] as const;
export type Day = (typeof DAYS)[number];
export const DAY_NAMES: readonly Day[] = DAYS;

/** Whether labels fit: each named label has one of the values; a label that is not there is empty text. */
export function fits(match: LabelMatch, labels: Labels): boolean {
  for (const label in match) {
    const value = labels[label] ?? '';
    if (
      !match[label]!.some((wanted) => (wanted.startsWith('~') ? whole(wanted.slice(1)).test(value) : wanted === value))
    )
      return false;
  }
  return true;
}

const patterns = new Map<string, RegExp>();

function whole(pattern: string): RegExp {
  let found = patterns.get(pattern);
  if (!found) {
    found = new RegExp(`^(?:${pattern})$`, 'u');
    patterns.set(pattern, found);
  }
  return found;
}

/** `02:30` to minutes after midnight; undefined if it is no time of day. */
export function minutesOf(text: string): number | undefined {
  const match = /^([01]?\d|2[0-4]):([0-5]\d)$/.exec(text);
  if (!match) return undefined;
  const minutes = Number(match[1]) * 60 + Number(match[2]);
  return minutes <= 1440 ? minutes : undefined;
}

const formats = new Map<string, Intl.DateTimeFormat>();

/** Day of the week and minute of the day in a time zone. Throws a RangeError for a zone that does not exist. */
export function localTime(ms: number, timezone: string): { day: number; minute: number } {
  let format = formats.get(timezone);
  if (!format) {
    format = new Intl.DateTimeFormat('en-US', {
      timeZone: timezone,
      weekday: 'short',
      hour: '2-digit',
      minute: '2-digit',
      hourCycle: 'h23',
    });
    formats.set(timezone, format);
  }
  const parts = Object.fromEntries(format.formatToParts(ms).map((p) => [p.type, p.value]));
  return {
    day: DAYS.indexOf(parts['weekday']!.toLowerCase() as Day),
    minute: Number(parts['hour']) * 60 + Number(parts['minute']),
  };
}

export function isOpen(window: Maintenance, now: number): boolean {
  const { day, minute } = localTime(now, window.timezone);
  if (window.to > window.from) return window.days.has(day) && minute >= window.from && minute < window.to;
  // Over midnight: it began today, or yesterday.
  return (window.days.has(day) && minute >= window.from) || (window.days.has((day + 6) % 7) && minute < window.to);
}

/** What keeps an alert quiet by the clock; undefined if nothing does. */
export function quietBy(
  labels: Labels,
  silences: readonly Silence[],
  windows: readonly Maintenance[],
  now: number,
): string | undefined {
  for (const s of silences) {
    if (now >= s.startsMs && now < s.endsMs && fits(s.match, labels)) return `silence: ${s.comment}`;
  }
  for (const w of windows) if (fits(w.match, labels) && isOpen(w, now)) return `maintenance: ${w.comment}`;
  return undefined;
}

/**
 * Which of the alerts that fire are explained by another that fires, by the name of that one. An alert that fits both sides of
 * an inhibition is not silenced by others that do, as otherwise two of them would silence each other.
 */
export function inhibited<T extends { readonly labels: Labels; readonly inhibitable: boolean }>(
  firing: readonly T[],
  inhibitions: readonly Inhibition[],
): Map<T, string> {
  const out = new Map<T, string>();
  for (const { source, target, equal } of inhibitions) {
    const key = (labels: Labels) => equal.map((label) => labels[label] ?? '').join('\u0000');
    const sources = new Map<string, string>();
    for (const alert of firing) {
      if (fits(source, alert.labels) && !fits(target, alert.labels))
        sources.set(key(alert.labels), alert.labels['alertname'] ?? '');
    }
    if (sources.size === 0) continue;
    for (const alert of firing) {
      if (!alert.inhibitable || out.has(alert) || !fits(target, alert.labels)) continue;
      const by = sources.get(key(alert.labels));
      if (by !== undefined) out.set(alert, `inhibited by ${by}`);
    }
  }
  return out;
}
