/** Rows as aligned text. */
import type { Row } from './replicas.ts';

const MAX_NAME = 36;

const cut = (text: string): string => (text.length > MAX_NAME ? `${text.slice(0, MAX_NAME - 1)}…` : text);
const count = (n: number | undefined): string => (n === undefined ? '-' : String(Math.round(n)));
const percent = (n: number | undefined): string => (n === undefined ? '-' : `${(n * 100).toFixed(0)} %`);
const rate = (n: number | undefined): string => (n === undefined ? '-' : n < 10 ? n.toFixed(1) : n.toFixed(0));
const time = (s: number | undefined): string => {
  if (s === undefined) return '-';
  return s < 1 ? `${(s * 1000).toFixed(s < 0.01 ? 1 : 0)} ms` : `${s.toFixed(s < 10 ? 2 : 1)} s`;
};

const COLUMNS: readonly { title: string; left?: true; of: (row: Row) => string }[] = [
  { title: 'REPLICA', left: true, of: (r) => cut(r.replica) },
  { title: 'ENGINE', left: true, of: (r) => (r.down ? `${r.engine || '?'} (down)` : r.engine || '?') },
  { title: 'MODEL', left: true, of: (r) => cut(r.model) || '-' },
  { title: 'RUNNING', of: (r) => count(r.running) },
  { title: 'WAITING', of: (r) => count(r.waiting) },
  { title: 'KV', of: (r) => percent(r.kv) },
  { title: 'TTFT p50', of: (r) => time(r.ttftP50) },
  { title: 'p95', of: (r) => time(r.ttftP95) },
  { title: 'ITL p50', of: (r) => time(r.itlP50) },
  { title: 'PROMPT tok/s', of: (r) => rate(r.promptRate) },
  { title: 'OUTPUT tok/s', of: (r) => rate(r.outputRate) },
];

// Names come from peers: control characters in them must not reach a terminal.
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/g;

/** Text that a terminal takes as text only. */
export const printable = (text: string): string => text.replace(CONTROL, '?');

/** The lines of the table, without line ends. */
export function table(rows: readonly Row[]): string[] {
  const cells = [COLUMNS.map((c) => c.title), ...rows.map((row) => COLUMNS.map((c) => printable(c.of(row))))];
  const widths = COLUMNS.map((_, i) => Math.max(...cells.map((line) => line[i]!.length)));
  return cells.map((line) =>
    line
      .map((text, i) => (COLUMNS[i]!.left ? text.padEnd(widths[i]!) : text.padStart(widths[i]!)))
      .join('  ')
      .trimEnd(),
  );
}
