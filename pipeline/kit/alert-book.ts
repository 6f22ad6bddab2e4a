/** Which alerts there are now, by what their log records said: what exporters that tell people keep between two sends. */
import { createHash } from 'node:crypto';
import type { LogRecord } from '../model.ts';
import { type Alert, alertOf } from './verdict.ts';

export interface BookedAlert {
  /** Sixteen hexadecimal digits that stand for the labels. */
  readonly fingerprint: string;
  readonly alert: Alert;
  /** When it was last said, milliseconds. */
  readonly heardMs: number;
  /** When it ended; NaN while it fires. */
  readonly endedMs: number;
}

export interface AlertBook {
  /** Takes the alerts out of records; returns those that are new, ended, or became quiet or loud. */
  take(records: readonly LogRecord[], now: number): BookedAlert[];
  /** Ends alerts that nobody has said for `forgetMs`, forgets what ended before `now - keepMs`; returns what ended. */
  expire(now: number, forgetMs: number, keepMs: number): BookedAlert[];
  all(): Iterable<BookedAlert>;
  readonly size: number;
  /** Alerts that were refused by the limit. */
  readonly refused: number;
}

export const fingerprintOf = (labels: Readonly<Record<string, string>>): string =>
  createHash('sha256')
    .update(JSON.stringify(Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1))))
    .digest('hex')
    .slice(0, 16);

export const isFiring = (booked: BookedAlert): boolean => Number.isNaN(booked.endedMs);

export function createAlertBook(limit: number): AlertBook {
  const alerts = new Map<string, BookedAlert>();
  let refused = 0;
  return {
    get size() {
      return alerts.size;
    },
    get refused() {
      return refused;
    },
    all: () => alerts.values(),
    take(records, now) {
      const news: BookedAlert[] = [];
      for (const record of records) {
        const alert = alertOf(record);
        if (!alert) continue;
        const fingerprint = fingerprintOf(alert.labels);
        const before = alerts.get(fingerprint);
        if (!before && alerts.size >= limit) {
          refused++;
          continue;
        }
        const endedMs = alert.ends_at === null ? Number.NaN : Date.parse(alert.ends_at);
        const booked: BookedAlert = { fingerprint, alert, heardMs: now, endedMs };
        // The end of what was never heard of is no news.
        if (!before && !isFiring(booked)) continue;
        alerts.set(fingerprint, booked);
        const same =
          before !== undefined &&
          isFiring(before) === isFiring(booked) &&
          before.alert.starts_at === alert.starts_at &&
          (before.alert.suppressed === undefined) === (alert.suppressed === undefined);
        if (!same) news.push(booked);
      }
      return news;
    },
    expire(now, forgetMs, keepMs) {
      const ended: BookedAlert[] = [];
      for (const [fingerprint, booked] of alerts) {
        if (!isFiring(booked)) {
          if (now - booked.endedMs > keepMs) alerts.delete(fingerprint);
        } else if (now - booked.heardMs > forgetMs) {
          const over = { ...booked, endedMs: now };
          alerts.set(fingerprint, over);
          ended.push(over);
        }
      }
      return ended;
    },
  };
}
