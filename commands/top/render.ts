/** The screen of `enginelight top` as lines: a pure function of the state, what is looked at, and the size. */
import type { LiveGpu, LiveIncident, LiveReplica, LiveSnapshot } from '../../pipeline/kit/live-types.ts';
import { entityWords, type Severity } from '../../pipeline/kit/verdict.ts';
import {
  bar,
  clock,
  count,
  gib,
  type Paint,
  perSecond,
  safe,
  seconds,
  share,
  sized,
  sparkline,
  wrapped,
} from './text.ts';

export type Tab = 'replicas' | 'gpus' | 'incidents';
export const TABS: readonly Tab[] = ['replicas', 'gpus', 'incidents'];

export interface View {
  readonly tab: Tab;
  /** The row that is selected, by id: rows come and go. */
  readonly selected: string | undefined;
  /** Lines of what is drilled into; undefined shows the list. */
  readonly detail: readonly string[] | undefined;
  /** First line of the detail that is shown. */
  readonly scroll: number;
  /** Said instead of the keys: why nothing new comes. */
  readonly trouble: string | undefined;
}

export interface Size {
  readonly columns: number;
  readonly rows: number;
}

interface Column<T> {
  readonly title: string;
  readonly width: number;
  readonly right?: boolean;
  /** Lower ones stay longer as the terminal gets narrow. */
  readonly rank: number;
  readonly of: (row: T, width: number) => string;
  readonly paint?: (row: T, paint: Paint, text: string) => string;
}

const COLOUR: Record<Severity, 'red' | 'yellow' | 'cyan'> = { critical: 'red', warning: 'yellow', info: 'cyan' };
const MARK: Record<Severity, string> = { critical: '‼', warning: '!', info: 'i' };

const mark: Column<{ readonly trouble: Severity | null }> = {
  title: '',
  width: 1,
  rank: 0,
  of: (r) => (r.trouble === null ? '' : MARK[r.trouble]),
  paint: (r, paint, text) => (r.trouble === null ? text : paint(COLOUR[r.trouble], text)),
};

const PHASES = ['queue', 'prefill', 'transfer', 'decode'] as const;

/** `qqppppdd`: how the time of a request is shared, a letter a phase; what exists has at least one. */
export function phaseBar(phases: LiveReplica['phases'], width: number): string {
  const parts = PHASES.map((p) => ({ letter: p[0]!, s: phases[p] ?? 0 }));
  const all = parts.reduce((sum, { s }) => sum + s, 0);
  if (all <= 0) return '';
  const cells = parts.map(({ s }) => (s > 0 ? Math.max(1, Math.round((s / all) * width)) : 0));
  // The largest gives or takes what rounding left over.
  const largest = cells.indexOf(Math.max(...cells));
  cells[largest]! += width - cells.reduce((a, b) => a + b, 0);
  return parts.map(({ letter }, i) => letter.repeat(Math.max(0, cells[i]!))).join('');
}
const PHASE_STYLE = { q: 'red', p: 'yellow', t: 'magenta', d: 'green' } as const;
const paintPhases = (paint: Paint, text: string): string =>
  text.replace(/q+|p+|t+|d+/g, (run) => paint(PHASE_STYLE[run[0] as 'q' | 'p' | 't' | 'd'], run));

const REPLICAS: readonly Column<LiveReplica>[] = [
  mark,
  { title: 'REPLICA', width: 16, rank: 0, of: (r) => r.id },
  { title: 'ROLE', width: 8, rank: 7, of: (r) => r.role ?? '' },
  { title: 'RUN', width: 4, right: true, rank: 1, of: (r) => (r.up === false ? 'DOWN' : count(r.running)) },
  { title: 'WAIT', width: 4, right: true, rank: 1, of: (r) => count(r.waiting) },
  { title: 'KV', width: 4, right: true, rank: 1, of: (r) => share(r.kv) },
  { title: 'TTFTp50', width: 7, right: true, rank: 2, of: (r) => seconds(r.ttft_p50) },
  { title: 'p95', width: 6, right: true, rank: 2, of: (r) => seconds(r.ttft_p95) },
  { title: 'ITLp50', width: 6, right: true, rank: 3, of: (r) => seconds(r.itl_p50) },
  {
    title: 'PHASES',
    width: 12,
    rank: 4,
    of: (r, width) => phaseBar(r.phases, width),
    paint: (_r, paint, text) => paintPhases(paint, text),
  },
  { title: 'TTFT', width: 16, rank: 5, of: (r, width) => sparkline(r.trend.ttft, width) },
  { title: 'ITL', width: 16, rank: 8, of: (r, width) => sparkline(r.trend.itl, width) },
  { title: 'OUT tok/s', width: 9, right: true, rank: 6, of: (r) => count(r.output_rate) },
  { title: 'IN tok/s', width: 9, right: true, rank: 9, of: (r) => count(r.prompt_rate) },
  { title: 'ENGINE', width: 8, rank: 10, of: (r) => r.engine ?? '' },
  { title: 'NODE', width: 14, rank: 11, of: (r) => r.node ?? '' },
  { title: 'SERVICE', width: 14, rank: 12, of: (r) => r.service ?? '' },
  { title: 'MODEL', width: 24, rank: 13, of: (r) => r.model ?? '' },
];

const GPUS: readonly Column<LiveGpu>[] = [
  mark,
  { title: 'NODE', width: 12, rank: 0, of: (g) => g.node ?? '' },
  {
    title: 'GPU',
    width: 12,
    rank: 0,
    of: (g) => (g.index === null ? g.id : `${g.index} ${g.id.replace(/^GPU-/, '')}`),
  },
  { title: 'RANK', width: 10, rank: 4, of: (g) => g.rank ?? g.replica ?? '' },
  { title: 'UTIL', width: 4, right: true, rank: 1, of: (g) => share(g.utilization) },
  { title: 'CLOCK', width: 7, right: true, rank: 1, of: (g) => clock(g.clock) },
  {
    title: 'HELD',
    width: 5,
    right: true,
    rank: 2,
    of: (g) => (g.throttle === null || g.throttle < 0.005 ? '' : share(g.throttle)),
  },
  { title: 'POWER', width: 5, right: true, rank: 1, of: (g) => (g.power === null ? '-' : `${Math.round(g.power)}W`) },
  {
    title: 'TEMP',
    width: 5,
    right: true,
    rank: 1,
    of: (g) => (g.temperature === null ? '-' : `${Math.round(g.temperature)}°C`),
  },
  {
    title: 'MEM',
    width: 9,
    right: true,
    rank: 3,
    of: (g) => (g.memory_limit === null ? gib(g.memory_used) : `${gib(g.memory_used)}/${gib(g.memory_limit)}`),
  },
  { title: 'BY', width: 12, rank: 6, of: (g) => g.throttle_reason ?? '' },
  { title: 'UTIL', width: 10, rank: 5, of: (g, width) => bar(g.utilization, width) },
  { title: 'IO', width: 8, right: true, rank: 7, of: (g) => perSecond(g.io) },
  { title: 'ERR/s', width: 6, right: true, rank: 8, of: (g) => (g.link_errors ? g.link_errors.toPrecision(2) : '') },
  { title: 'MODEL', width: 20, rank: 9, of: (g) => g.model ?? '' },
];

const INCIDENTS: readonly Column<LiveIncident>[] = [
  {
    ...(mark as unknown as Column<LiveIncident>),
    of: (i) => MARK[i.severity],
    paint: (i, paint, text) => paint(COLOUR[i.severity], text),
  },
  { title: 'SINCE', width: 8, rank: 0, of: (i) => i.started_at.slice(11, 19) },
  { title: 'STATE', width: 8, rank: 1, of: (i) => (i.state === 'open' ? 'open' : 'over') },
  { title: 'SERVICE', width: 12, rank: 3, of: (i) => i.service },
  { title: 'ROOT', width: 22, rank: 0, of: (i) => i.root.detector },
  { title: 'WHERE', width: 22, rank: 1, of: (i) => entityWords(i.root.entity) },
  { title: 'SURE', width: 4, right: true, rank: 2, of: (i) => share(i.root.probability) },
  { title: 'WHAT', width: 60, rank: 4, of: (i) => i.summary },
];

export type Row = { readonly id: string };
/** The rows of a tab, in the order shown. */
export function rowsOf(state: LiveSnapshot, tab: Tab): readonly Row[] {
  return tab === 'replicas' ? state.replicas : tab === 'gpus' ? state.gpus : state.incidents;
}

/** The columns that sized, in order; the last takes what is left. */
function chosen<T>(columns: readonly Column<T>[], width: number): { column: Column<T>; width: number }[] {
  const byRank = columns.map((c, i) => ({ c, i })).sort((a, b) => a.c.rank - b.c.rank || a.i - b.i);
  const taken = new Set<Column<T>>();
  let left = width;
  for (const { c } of byRank) {
    if (c.width + 1 > left + 1) continue;
    taken.add(c);
    left -= c.width + 1;
  }
  const list = columns.filter((c) => taken.has(c)).map((column) => ({ column, width: column.width }));
  // Names of replicas and what happened get the room that is left.
  const wide =
    list.findLast(({ column }) => column.title === 'WHAT') ??
    list.find(({ column }) => /REPLICA|GPU|WHERE/.test(column.title));
  if (wide && left > 0) wide.width += Math.min(left, wide.column.title === 'WHAT' ? left : 24);
  return list;
}

/** A table; the selected row is marked, also without colour. */
function table<T extends Row>(
  columns: readonly Column<T>[],
  rows: readonly T[],
  from: number,
  height: number,
  selected: string | undefined,
  width: number,
  paint: Paint,
): string[] {
  const list = chosen(columns, width - 1);
  const lines = [paint('dim', ` ${list.map(({ column: c, width: w }) => sized(c.title, w, c.right)).join(' ')}`)];
  for (const row of rows.slice(from, from + height)) {
    const isSelected = row.id === selected;
    const cells = list.map(({ column: c, width: w }) => {
      const text = sized(c.of(row, w), w, c.right);
      return isSelected || !c.paint ? text : c.paint(row, paint, text);
    });
    const line = `${isSelected ? '>' : ' '}${cells.join(' ')}`;
    lines.push(isSelected ? paint('reverse', line) : line);
  }
  return lines;
}

function list(state: LiveSnapshot, view: View, height: number, width: number, paint: Paint): string[] {
  const rows = rowsOf(state, view.tab);
  const omitted = state.omitted[view.tab];
  const room = Math.max(1, height - 1 - (omitted > 0 ? 1 : 0));
  const at = Math.max(
    0,
    rows.findIndex((r) => r.id === view.selected),
  );
  const from = Math.max(0, Math.min(at - Math.floor(room / 2), rows.length - room));
  const lines =
    view.tab === 'replicas'
      ? table(REPLICAS, state.replicas, from, room, view.selected, width, paint)
      : view.tab === 'gpus'
        ? table(GPUS, state.gpus, from, room, view.selected, width, paint)
        : table(INCIDENTS, state.incidents, from, room, view.selected, width, paint);
  if (rows.length === 0) lines.push(` ${EMPTY[view.tab]}`);
  if (omitted > 0) lines.push(paint('dim', ` and ${omitted} more that are not sent`));
  return lines;
}
const EMPTY: Record<Tab, string> = {
  replicas: 'No replica is seen yet. Does a `normalize` processor come before the exporter?',
  gpus: 'No GPU is seen. Add nvidia_gpu, amd_gpu or a dcgm-exporter target.',
  incidents: 'No incident.',
};

/** Exactly `size.rows` lines of at most `size.columns` columns. */
export function render(state: LiveSnapshot, view: View, size: Size, paint: Paint): string[] {
  const { columns, rows } = size;
  const { counts } = state;
  const style = state.worst === null ? 'green' : COLOUR[state.worst];
  const head = `enginelight  ${counts.replicas} replicas  ${counts.gpus} GPUs  ${counts.nodes} nodes  ${counts.open} open`;
  const time = `${state.time.slice(11, 19)}Z`;
  const top = head.length + time.length < columns ? head + time.padStart(columns - head.length) : head;
  const tabs = TABS.map((tab, i) => {
    const text = `${i + 1} ${tab}${tab === 'incidents' && counts.open > 0 ? ` (${counts.open})` : ''}`;
    return tab === view.tab ? `[${text}]` : ` ${text} `;
  }).join(' ');
  const verdict = wrapped(state.verdict, columns).slice(0, rows >= 20 ? 3 : 1);
  const lines = [
    paint('bold', sized(top, columns)),
    ...verdict.map((line) => paint(style, line)),
    sized(tabs, columns).trimEnd(),
  ];
  const height = Math.max(1, rows - lines.length - 1);
  if (view.detail) lines.push(...view.detail.slice(view.scroll, view.scroll + height));
  else lines.push(...list(state, view, height, columns, paint));
  const body = lines.slice(0, Math.max(0, rows - 1));
  while (body.length < rows - 1) body.push('');
  const keys = view.detail ? 'esc back  ↑↓ scroll  q quit' : '↑↓ select  enter detail  tab 1 2 3 view  q quit';
  body.push(
    view.trouble ? paint('yellow', sized(view.trouble, columns)) : paint('dim', sized(keys, columns).trimEnd()),
  );
  return body.map((line) => clip(line, columns)).slice(-rows);
}

/** Cut to columns without cutting a colour in two. */
function clip(line: string, columns: number): string {
  let shown = 0;
  let out = '';
  for (let i = 0; i < line.length; i++) {
    if (line[i] === '\x1b') {
      const end = line.indexOf('m', i);
      out += line.slice(i, end + 1);
      i = end;
    } else if (shown < columns) {
      out += line[i];
      shown++;
    }
  }
  return out;
}

/** Everything once, for a pipe: no colour, no cutting to a screen. */
export function plainText(state: LiveSnapshot, width: number, paint: Paint): string {
  const lines = [`${state.time}  ${safe(state.verdict, 4000)}`, ''];
  const add = (title: string, part: string[]) => lines.push(title, ...part.map((line) => line.trimEnd()), '');
  const all = Number.MAX_SAFE_INTEGER;
  if (state.incidents.length > 0) add('INCIDENTS', table(INCIDENTS, state.incidents, 0, all, undefined, width, paint));
  if (state.replicas.length > 0) add('REPLICAS', table(REPLICAS, state.replicas, 0, all, undefined, width, paint));
  if (state.gpus.length > 0) add('GPUS', table(GPUS, state.gpus, 0, all, undefined, width, paint));
  return `${lines.join('\n').trimEnd()}\n`;
}
