/**
 * Templates of annotations, the part of Prometheus' language that rules need: `{{ $labels.replica }}`, `{{ $value }}` and the
 * filters below. The same text works in an exported rule file.
 */

const FILTERS: Readonly<Record<string, (value: number) => string>> = {
  humanize: (v) => humanize(v, 1000, ['', 'k', 'M', 'G', 'T', 'P']),
  humanize1024: (v) => humanize(v, 1024, ['', 'ki', 'Mi', 'Gi', 'Ti', 'Pi']),
  humanizePercentage: (v) => `${significant(v * 100)}%`,
  humanizeDuration: duration,
};

const HOLE = /\{\{-?\s*(.*?)\s*-?\}\}/g;
const VARIABLE = /^\$(value|labels\.([a-zA-Z_][a-zA-Z0-9_]*))(?:\s*\|\s*([a-zA-Z0-9]+))?$/;

/** What is wrong with a template; undefined if nothing is. */
export function templateMistake(text: string): string | undefined {
  for (const [, inner] of text.matchAll(HOLE)) {
    const match = VARIABLE.exec(inner!);
    if (!match) return `{{ ${inner} }} is not understood: write {{ $labels.NAME }} or {{ $value | humanize }}`;
    if (match[3] !== undefined && !Object.hasOwn(FILTERS, match[3])) {
      return `there is no filter "${match[3]}"; there are ${Object.keys(FILTERS).join(', ')}`;
    }
  }
  return undefined;
}

/** Fills a template in. A label that is not there is empty; what cannot be understood stays as it is. */
export function fillTemplate(text: string, labels: Readonly<Record<string, string>>, value: number): string {
  return text.replace(HOLE, (whole, inner: string) => {
    const match = VARIABLE.exec(inner);
    if (!match) return whole;
    const [, what, label, filter] = match;
    if (what !== 'value') return Object.hasOwn(labels, label!) ? labels[label!]! : '';
    return filter !== undefined && Object.hasOwn(FILTERS, filter) ? FILTERS[filter]!(value) : String(value);
  });
}

const significant = (v: number): string => (Number.isFinite(v) ? String(Number(v.toPrecision(4))) : String(v));

function humanize(v: number, base: number, prefixes: readonly string[]): string {
  let at = 0;
  while (Math.abs(v) >= base && at < prefixes.length - 1) {
    v /= base;
    at++;
  }
  return `${significant(v)}${prefixes[at]}`;
}

function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return String(seconds);
  if (Math.abs(seconds) < 1) return `${significant(seconds * 1000)}ms`;
  if (Math.abs(seconds) < 60) return `${significant(seconds)}s`;
  const whole = Math.round(Math.abs(seconds));
  const parts = [
    [Math.floor(whole / 86_400), 'd'],
    [Math.floor(whole / 3600) % 24, 'h'],
    [Math.floor(whole / 60) % 60, 'm'],
    [whole % 60, 's'],
  ] as const;
  const first = parts.findIndex(([n]) => n > 0);
  return `${seconds < 0 ? '-' : ''}${parts
    .slice(first)
    .map(([n, unit]) => `${n}${unit}`)
    .join(' ')}`;
}
