/**
 * The daemon's own log: structured lines on stderr, one a record, never one an item. The same message from the same
 * component is written a few times and then summarised ("and 41 more in 60 s"), so that a broken peer can neither flood
 * the log nor vanish from it.
 */
import { describeError } from '../errors.ts';
import type { Clock } from './clock.ts';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';
export type LogFields = Readonly<Record<string, unknown>>;

/** Messages: a capital, one sentence, a full stop; the values go into fields. `error` is shown with its causes. */
export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** A logger whose every record also carries these fields. */
  with(fields: LogFields): Logger;
}

export interface LogRecordOut {
  readonly time: number;
  readonly level: LogLevel;
  readonly message: string;
  readonly fields: LogFields;
}

export interface LogOptions {
  readonly clock: Clock;
  readonly level?: LogLevel;
  readonly encoding?: 'console' | 'json';
  readonly write?: (line: string) => void;
  /** Records of one message and component that are written in full within `windowMs`; 0 = all. */
  readonly burst?: number;
  readonly windowMs?: number;
}

const RANK: Record<LogLevel, number> = { debug: 0, info: 1, warn: 2, error: 3 };

/** Makes the root logger. `flush` writes what the summaries still hold; call it before the process ends. */
export function createLogger(options: LogOptions): Logger & { flush(): void } {
  const { clock, level = 'info', encoding = 'console', burst = 5, windowMs = 60_000 } = options;
  const write = options.write ?? ((line: string) => process.stderr.write(`${line}\n`));
  const encode = encoding === 'json' ? encodeJson : encodeConsole;
  const repeats = new Map<string, { until: number; seen: number; last: LogRecordOut }>();

  const summarise = (key: string, entry: { until: number; seen: number; last: LogRecordOut }) => {
    repeats.delete(key);
    const more = entry.seen - burst;
    if (more > 0) {
      write(
        encode({
          ...entry.last,
          time: clock.now(),
          fields: { ...entry.last.fields, repeated: more, in_seconds: windowMs / 1000 },
        }),
      );
    }
  };

  const emit = (record: LogRecordOut) => {
    if (RANK[record.level] < RANK[level]) return;
    if (burst <= 0) return write(encode(record));
    const key = `${record.level}|${record.fields['component'] ?? ''}|${record.fields['target'] ?? ''}|${record.message}`;
    let entry = repeats.get(key);
    if (entry && record.time >= entry.until) {
      summarise(key, entry);
      entry = undefined;
    }
    if (!entry) {
      entry = { until: record.time + windowMs, seen: 0, last: record };
      repeats.set(key, entry);
      const opened = entry;
      clock.after(windowMs, () => repeats.get(key) === opened && summarise(key, opened));
    }
    entry.seen++;
    entry.last = record;
    if (entry.seen <= burst) write(encode(record));
  };

  const make = (base: LogFields): Logger => ({
    debug: (message, fields) => emit({ time: clock.now(), level: 'debug', message, fields: { ...base, ...fields } }),
    info: (message, fields) => emit({ time: clock.now(), level: 'info', message, fields: { ...base, ...fields } }),
    warn: (message, fields) => emit({ time: clock.now(), level: 'warn', message, fields: { ...base, ...fields } }),
    error: (message, fields) => emit({ time: clock.now(), level: 'error', message, fields: { ...base, ...fields } }),
    with: (fields) => make({ ...base, ...fields }),
  });
  return {
    ...make({}),
    flush() {
      for (const [key, entry] of [...repeats]) summarise(key, entry);
    },
  };
}

function plain(value: unknown): unknown {
  if (value instanceof Error) return describeError(value);
  if (typeof value === 'bigint') return value.toString();
  return value;
}

function encodeJson(record: LogRecordOut): string {
  const out: Record<string, unknown> = {
    time: new Date(record.time).toISOString(),
    level: record.level,
    message: record.message,
  };
  for (const [key, value] of Object.entries(record.fields)) if (value !== undefined) out[key] = plain(value);
  return JSON.stringify(out, (_key, value) => plain(value));
}

// Control characters and escape sequences from peers must not reach a terminal.
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/g;

function encodeConsole(record: LogRecordOut): string {
  const fields = Object.entries(record.fields)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => {
      const text =
        typeof value === 'object' && !(value instanceof Error)
          ? JSON.stringify(value, (_k, v) => plain(v))
          : String(plain(value));
      return `${key}=${/[\s"=]/.test(text) ? JSON.stringify(text) : text}`;
    })
    .join(' ');
  const line = `${new Date(record.time).toISOString()} ${record.level.toUpperCase().padEnd(5)} ${record.message}${fields && ` ${fields}`}`;
  return line.replace(CONTROL, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`);
}

/** A logger that keeps its records, for tests. */
export function memoryLogger(): Logger & { readonly records: LogRecordOut[] } {
  const records: LogRecordOut[] = [];
  const make = (base: LogFields): Logger => {
    const put = (level: LogLevel) => (message: string, fields?: LogFields) =>
      void records.push({ time: 0, level, message, fields: { ...base, ...fields } });
    return {
      debug: put('debug'),
      info: put('info'),
      warn: put('warn'),
      error: put('error'),
      with: (f) => make({ ...base, ...f }),
    };
  };
  return { ...make({}), records };
}
