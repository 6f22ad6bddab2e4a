/** Text and numbers of strangers, made safe and short for an HTML page. */

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};
/** Control characters, and those that turn the direction of the text around them. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const INVISIBLE = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g;

/** Halves of a pair, as cutting leaves them. */
const LONE = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

/** Escaped for text and for attributes in quotes; what is longer than `max` characters is cut and says so. */
export function esc(text: unknown, max = 400): string {
  let shown = String(text ?? '');
  let more = '';
  if (shown.length > max) {
    more = `… (${shown.length.toLocaleString('en-US')} characters)`;
    shown = shown.slice(0, max);
  }
  return (
    shown
      .replace(LONE, '\ufffd')
      .replace(INVISIBLE, (c) =>
        c === '\n' || c === '\t' ? ' ' : `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`,
      )
      .replace(/[&<>"']/g, (c) => ENTITIES[c]!) + more
  );
}

const SCALES: Readonly<Record<string, readonly (readonly [number, string])[]>> = {
  Hz: [
    [1e9, 'GHz'],
    [1e6, 'MHz'],
    [1e3, 'kHz'],
    [1, 'Hz'],
  ],
  s: [
    [1, 's'],
    [1e-3, 'ms'],
    [1e-6, 'µs'],
  ],
  By: [
    [2 ** 40, 'TiB'],
    [2 ** 30, 'GiB'],
    [2 ** 20, 'MiB'],
    [2 ** 10, 'KiB'],
    [1, 'B'],
  ],
  'By/s': [
    [1e9, 'GB/s'],
    [1e6, 'MB/s'],
    [1e3, 'kB/s'],
    [1, 'B/s'],
  ],
  W: [
    [1e3, 'kW'],
    [1, 'W'],
  ],
};

const WORDS: Readonly<Record<string, string>> = { '1': '', Cel: '°C', '%': '%' };

/** How numbers of about this size are written: divided by `by`, followed by `unit`. */
export function scaleFor(unit: string, size: number): { readonly by: number; readonly unit: string } {
  const scales = SCALES[unit];
  if (!scales) return { by: 1, unit: WORDS[unit] ?? unit.replace(/[{}]/g, '') };
  const found = scales.find(([by]) => size >= by) ?? scales[scales.length - 1]!;
  return { by: found[0], unit: found[1] };
}

/** A number with three or four digits that count. */
export function num(n: number): string {
  if (!Number.isFinite(n)) return '–';
  const size = Math.abs(n);
  if (size === 0) return '0';
  if (size >= 1e7) return n.toExponential(2);
  if (size < 0.001) return n.toExponential(1);
  if (size >= 1000) return Math.round(n).toLocaleString('en-US');
  return String(Number(n.toPrecision(3)));
}

/** A number with its unit, in the unit's best size. Not escaped: units of strangers are to be escaped by the caller. */
export function quantity(n: number, unit = ''): string {
  const scale = scaleFor(unit, Math.abs(n));
  return `${num(n / scale.by)}${scale.unit === '' ? '' : ` ${scale.unit}`}`;
}

export const pct = (share: number): string => `${Math.round(share * 100)} %`;

/** `14:01:52`, UTC. */
export const clockTime = (ms: number): string => (Number.isFinite(ms) ? new Date(ms).toISOString().slice(11, 19) : '–');

/** `2 min 40 s`. */
export function duration(ms: number): string {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return s % 60 === 0 ? `${s / 60} min` : `${Math.floor(s / 60)} min ${s % 60} s`;
  const minutes = Math.round(s / 60);
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
