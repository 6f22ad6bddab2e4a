/** Matches as log records; the same again and again becomes one record with a number. */
import type { Clock } from '../../pipeline/kit/clock.ts';
import {
  type AnyValue,
  type Attributes,
  type LogRecord,
  nanosFromMs,
  type Resource,
  type Scope,
} from '../../pipeline/model.ts';
import type { Match } from './match.ts';

const SEVERITY: Readonly<Record<number, string>> = { 9: 'INFO', 13: 'WARN', 17: 'ERROR', 21: 'FATAL' };
/** After one record, the same is counted for so long before the next is made. */
const QUIET_MS = 10_000;
const MOST_KEYS = 10_000;

export interface Records {
  /** Nobody took what was made last: the next of the same is made again. */
  unsaid(record: LogRecord): void;
  /** The record, or undefined while the same is only counted. */
  make(match: Match, resource: Resource, timeMs: number | undefined, more?: Attributes): LogRecord | undefined;
}

export function createRecords(scope: Scope, clock: Clock): Records {
  const said = new Map<string, { at: number; kept: number }>();
  const keys = new WeakMap<LogRecord, string>();
  const ids = new WeakMap<Resource, number>();
  let nextId = 0;
  return {
    unsaid(record) {
      said.delete(keys.get(record) ?? '');
    },
    make({ pattern, text, groups }, resource, timeMs, more = {}) {
      const now = clock.now();
      let id = ids.get(resource);
      if (id === undefined) {
        id = nextId++;
        ids.set(resource, id);
      }
      const key = `${id}/${pattern.event}/${groups['error.type'] ?? groups['code'] ?? groups['kernel'] ?? ''}`;
      const before = said.get(key);
      if (before && now - before.at < QUIET_MS) {
        before.kept++;
        return undefined;
      }
      if (said.size >= MOST_KEYS) said.clear();
      said.set(key, { at: now, kept: 0 });
      const attributes: Record<string, AnyValue> = { ...more };
      for (const [name, value] of Object.entries(groups)) {
        attributes[name] = /^\d{1,15}$/.test(value) ? Number(value) : value;
      }
      // How many of the same went before this one without a record.
      if (before && before.kept > 0) attributes['repeated'] = before.kept;
      const record: LogRecord = {
        resource,
        scope,
        time: nanosFromMs(timeMs ?? now),
        observedTime: nanosFromMs(now),
        severityNumber: pattern.severity,
        severityText: SEVERITY[pattern.severity] ?? '',
        body: text,
        attributes,
        droppedAttributesCount: 0,
        flags: 0,
        traceId: '',
        spanId: '',
        eventName: pattern.event,
      };
      keys.set(record, key);
      return record;
    },
  };
}
