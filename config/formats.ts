/** The kinds of text that options take. Each check says what is wrong in one clause, in Go's words where it has them. */
import { type AnySchema, parseDuration, parseSize } from './schema.ts';

/** What is wrong with a text (or a bare number) for the format of a schema; undefined if nothing is. */
export function checkFormat(schema: AnySchema, value: string | number): string | undefined {
  switch (schema.format) {
    case 'duration':
      return duration(schema, value);
    case 'size':
      return parseSize(value) === undefined
        ? `invalid size ${quote(value)}: write bytes or a unit, such as 4MiB`
        : undefined;
    case 'endpoint':
      return typeof value === 'string' ? endpoint(value) : undefined;
    case 'http_url':
      return typeof value === 'string' ? httpUrl(value) : undefined;
    case 'path':
      if (value === '') return 'the path is empty';
      return String(value).includes('\0') ? 'a path cannot contain a NUL character' : undefined;
    default:
      return undefined;
  }
}

const quote = (value: string | number): string => JSON.stringify(String(value));

function duration(schema: AnySchema, value: string | number): string | undefined {
  const ms = parseDuration(value);
  if (ms === undefined) {
    const text = String(value);
    if (/^[+-]?\d+(\.\d*)?$/.test(text)) {
      return `time: missing unit in duration ${quote(text)}: write ${text}s for seconds, ${text}ms for milliseconds`;
    }
    const unit = /^[+-]?\d+(?:\.\d*)?([^\d.+-][^\d]*)/.exec(text)?.[1];
    const why = unit === undefined ? 'invalid duration' : `unknown unit ${quote(unit)} in duration`;
    return `time: ${why} ${quote(text)}: units are ns, us, ms, s, m, h, d, as in 1m30s`;
  }
  const { minimum, maximum } = schema as { minimum?: string; maximum?: string };
  const least = minimum === undefined ? 0 : (parseDuration(minimum) ?? 0);
  if (ms < least) return `must be at least ${minimum ?? '0'}, found ${value}`;
  if (maximum !== undefined && ms > (parseDuration(maximum) ?? Infinity))
    return `must be at most ${maximum}, found ${value}`;
  return undefined;
}

function endpoint(text: string): string | undefined {
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(text)) {
    return `expected host:port without a scheme, found ${quote(text)}: write ${text.replace(/^[^:]+:\/\//, '')}`;
  }
  const match = /^(\[[^\]]*\]|[^:[\]]*):([^:]*)$/.exec(text);
  if (!match) {
    const why = (text.match(/:/g)?.length ?? 0) > 1 ? 'too many colons in address' : 'missing port in address';
    const remedy = why.startsWith('too')
      ? 'put an IPv6 address in brackets, as in [::1]:4317'
      : `write ${text || 'host'}:PORT`;
    return `address ${text}: ${why}; ${remedy}`;
  }
  const port = match[2]!;
  if (!/^\d{1,5}$/.test(port) || Number(port) > 65535) {
    return `invalid port ${quote(port)} in ${quote(text)}: expected a number from 0 to 65535`;
  }
  return undefined;
}

function httpUrl(text: string): string | undefined {
  if (/^https?:\/\/[^/?#]/i.test(text)) {
    if (URL.canParse(text)) return undefined;
    return `invalid URL ${quote(text)}: host or port cannot be read`;
  }
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(text)?.[1];
  if (scheme !== undefined && !/^https?$/i.test(scheme)) {
    return `unsupported scheme ${quote(scheme)} in ${quote(text)}: expected http or https`;
  }
  if (scheme !== undefined) return `no host in ${quote(text)}`;
  return `invalid URL ${quote(text)}: write http://${text.replace(/^\/+/, '') || 'host:port'}`;
}
