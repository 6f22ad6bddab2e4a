/** Which exposition format a scraper gets, as Prometheus' own client libraries decide it. */
import type { Escaping } from '../../pipeline/wire/prometheus-text-names.ts';
import type { ExpositionFormat } from '../../pipeline/wire/prometheus-text-write.ts';

const ESCAPINGS: readonly string[] = ['allow-utf-8', 'underscores', 'dots', 'values'];

interface Clause {
  type: string;
  q: number;
  parameters: Map<string, string>;
}

function clauses(accept: string): Clause[] {
  const found: Clause[] = [];
  for (const part of accept.split(',')) {
    const [type = '', ...rest] = part.split(';').map((p) => p.trim());
    const parameters = new Map<string, string>();
    for (const text of rest) {
      const equals = text.indexOf('=');
      if (equals > 0) {
        parameters.set(
          text.slice(0, equals).trim().toLowerCase(),
          text
            .slice(equals + 1)
            .trim()
            .replace(/^"|"$/g, ''),
        );
      }
    }
    const q = parameters.has('q') ? Number(parameters.get('q')) : 1;
    if (type !== '' && q > 0) found.push({ type: type.toLowerCase(), q, parameters });
  }
  // Sorting is stable: equal weights keep the order in which they were named.
  return found.sort((a, b) => b.q - a.q);
}

/**
 * The best format that an Accept header allows; text 0.0.4 when it allows none, because a page is more use than a refusal.
 * Names beyond the old characters are quoted only in versions 1.0.0, and only for a scraper that says it can read them.
 */
export function negotiate(accept: string | undefined, openMetrics: boolean): ExpositionFormat {
  for (const { type, parameters } of clauses(accept ?? '')) {
    const version = parameters.get('version') ?? '';
    const asked = parameters.get('escaping') ?? '';
    const escaping = (utf8: boolean): Escaping =>
      ESCAPINGS.includes(asked) && (utf8 || asked !== 'allow-utf-8') ? (asked as Escaping) : 'underscores';
    if (openMetrics && type === 'application/openmetrics-text') {
      if (version === '1.0.0') return { kind: 'openmetrics', version, escaping: escaping(true) };
      if (version === '0.0.1' || version === '') {
        return { kind: 'openmetrics', version: '0.0.1', escaping: escaping(false) };
      }
    }
    if (type === 'text/plain') {
      if (version === '1.0.0') return { kind: 'text', version, escaping: escaping(true) };
      if (version === '0.0.4' || version === '') return { kind: 'text', version: '0.0.4', escaping: escaping(false) };
    }
    if (type === '*/*' || type === 'text/*') break;
  }
  return { kind: 'text', version: '0.0.4', escaping: 'underscores' };
}
