/** Text for the cells of a terminal: safe, cut to a width, numbers short. */

export const CODES = {
  bold: '1',
  dim: '2',
  red: '31',
  green: '32',
  yellow: '33',
  magenta: '35',
  cyan: '36',
  reverse: '7',
} as const;
export type Style = keyof typeof CODES;
export type Paint = (style: Style, text: string) => string;

export const painter =
  (colour: boolean): Paint =>
  (style, text) =>
    colour && text !== '' ? `\x1b[${CODES[style]}m${text}\x1b[0m` : text;

/**
 * What a terminal shows as text, one column a character: control characters, those that change the direction of text, combining
 * and wide ones become `?`. Long before a label of 10⁵ characters is looked at whole, it is cut.
 */
export function safe(text: string, most = 500): string {
  let out = '';
  for (const c of text.slice(0, most)) {
    const code = c.codePointAt(0)!;
    const isNarrow =
      (code >= 0x20 && code < 0x7f) ||
      (code > 0xa0 && code < 0x300 && code !== 0xad) ||
      (code >= 0x370 && code < 0x483) ||
      (code >= 0x2010 && code < 0x2028) ||
      (code >= 0x2030 && code < 0x2060) ||
      (code >= 0x2190 && code < 0x2200) ||
      (code >= 0x2500 && code < 0x25a0);
    out += isNarrow ? c : code === 0x0a || code === 0x09 ? ' ' : '?';
  }
  return out;
}

/** Exactly `width` columns. The end of a name tells names apart, so it stays. */
export function sized(text: string, width: number, right = false): string {
  const shown = safe(text);
  if (width <= 0) return '';
  if (shown.length > width) {
    if (width < 6) return shown.slice(0, width);
    const tail = Math.floor((width - 1) / 3);
    return `${shown.slice(0, width - 1 - tail)}…${shown.slice(shown.length - tail)}`;
  }
  return right ? shown.padStart(width) : shown.padEnd(width);
}

/** Breaks between words, at most `width` columns a line. */
export function wrapped(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of safe(text, 4000).split(/ +/)) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = '';
    }
    line = line === '' ? word : `${line} ${word}`;
    while (line.length > width) {
      lines.push(line.slice(0, width));
      line = line.slice(width);
    }
  }
  if (line !== '') lines.push(line);
  return lines;
}

type Maybe = number | null;
export const count = (n: Maybe): string =>
  n === null ? '-' : n >= 10_000 ? `${(n / 1000).toFixed(0)}k` : String(Math.round(n));
export const share = (n: Maybe): string => (n === null ? '-' : `${Math.round(n * 100)}%`);
export const seconds = (s: Maybe): string => {
  if (s === null) return '-';
  if (s < 0.0995) return `${(s * 1000).toFixed(s < 0.00995 ? 1 : 0)}ms`;
  if (s < 0.9995) return `${Math.round(s * 1000)}ms`;
  return s < 99.95 ? `${s.toFixed(s < 9.995 ? 2 : 1)}s` : `${Math.round(s)}s`;
};
export const clock = (hz: Maybe): string => (hz === null ? '-' : `${Math.round(hz / 1e6)}MHz`);
export const gib = (bytes: Maybe): string => (bytes === null ? '-' : `${(bytes / 2 ** 30).toFixed(0)}G`);
export const perSecond = (bytes: Maybe): string =>
  bytes === null ? '-' : `${(bytes / 1e9).toFixed(bytes < 1e10 ? 1 : 0)}GB/s`;

const BARS = '▁▂▃▄▅▆▇█';

/** The newest `width` values as bars from 0 to the largest; gaps are blanks. */
export function sparkline(values: readonly Maybe[], width: number): string {
  const shown = values.slice(-width);
  const most = Math.max(...shown.map((v) => v ?? 0), 0);
  const bars = shown.map((v) => (v === null ? ' ' : BARS[most > 0 ? Math.min(7, Math.floor((v / most) * 8)) : 0]!));
  return bars.join('').padStart(width);
}

/** A share of 1 as a bar. */
export function bar(value: Maybe, width: number): string {
  if (value === null) return ' '.repeat(width);
  const full = Math.round(Math.min(1, Math.max(0, value)) * width);
  return '█'.repeat(full) + '░'.repeat(width - full);
}
