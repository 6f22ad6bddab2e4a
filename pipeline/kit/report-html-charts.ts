/** Evidence as pictures: what a signal did on the guilty thing and on its peers, and a value against its threshold. */
import { labelName, metricName } from '../wire/prometheus-text-names.ts';
import type { ReportTopology } from './report.ts';
import { clockTime, esc, num, quantity, scaleFor } from './report-html-text.ts';
import { type History, type Line, plain } from './report-series.ts';
import type { EntityName, Evidence } from './verdict.ts';

export interface ChartSpan {
  readonly fromMs: number;
  readonly toMs: number;
  /** When it began and when it was seen; drawn as lines where they lie inside. */
  readonly beganMs: number;
  readonly endedMs: number;
}

export interface ChartTopic {
  readonly signal: string;
  readonly entity: EntityName;
  readonly evidence: readonly Evidence[];
  /** Horizontal lines beside thresholds: `before`, `during`. */
  readonly levels?: readonly { readonly label: string; readonly value: number }[];
}

const W = 460;
const H = 168;
const LEFT = 46;
const RIGHT = 8;
const TOP = 10;
const BOTTOM = 22;

/** The lines of a signal on an entity, and those of the same on its peers. */
export function linesFor(
  history: History,
  topology: ReportTopology,
  signal: string,
  entity: EntityName,
): { own: Line[]; peers: Line[] } {
  const all = history.lines(signal);
  const is = matcher(entity, topology);
  let own = all.filter((line) => is(line));
  // A router repeats what its replicas say; beside them it is noise.
  const workers = own.filter((line) => line.ids.role !== 'router' && line.ids.role !== 'frontend');
  if (entity.kind === 'service' && workers.length > 0) own = workers;
  if (own.length === 0) return { own: [], peers: [] };
  const alike = new Set(own.map((line) => plain(line.attributes)));
  const onGpu = own[0]!.ids.gpu !== undefined;
  const peers = all.filter(
    (line) =>
      !own.includes(line) &&
      alike.has(plain(line.attributes)) &&
      (line.ids.gpu !== undefined) === onGpu &&
      (onGpu || line.ids.role === own[0]!.ids.role),
  );
  return { own, peers };
}

function matcher(entity: EntityName, topology: ReportTopology): (line: Line) => boolean {
  const { kind, id } = entity;
  const gpus = new Set(
    topology.gpus
      .filter((g) => (kind === 'rank' ? g.rank === id : kind === 'replica' ? g.replica === id : false))
      .map((g) => g.id),
  );
  switch (kind) {
    case 'gpu':
      return (line) => line.ids.gpu === id;
    case 'rank':
      // Without a GPU of its own, a rank is shown as its replica.
      return gpus.size > 0
        ? (line) => line.ids.gpu !== undefined && gpus.has(line.ids.gpu)
        : (line) => line.ids.gpu === undefined && line.ids.replica === (entity.replica ?? id.split('/')[0]);
    case 'replica':
    case 'engine':
    case 'router':
    case 'frontend':
    case 'target':
      return (line) =>
        line.ids.gpu === undefined ? line.ids.replica === id : gpus.has(line.ids.gpu) && line.ids.nic === undefined;
    case 'node':
      return (line) => line.ids.node === id && line.ids.gpu === undefined;
    case 'nic':
      return (line) =>
        line.ids.nic !== undefined && id.endsWith(line.ids.nic) && (!entity.node || line.ids.node === entity.node);
    case 'service':
    case 'pool':
      return (line) => line.ids.gpu === undefined && line.ids.service === (entity.service ?? id);
    default:
      return (line) =>
        line.ids.gpu === undefined && line.ids.replica !== undefined && line.ids.replica === entity.replica;
  }
}

interface Drawn {
  readonly line: Line;
  readonly values: Float64Array;
  readonly change: number;
}

/** A chart of a signal; undefined where nothing was recorded of it. */
export function chart(
  topic: ChartTopic,
  history: History,
  topology: ReportTopology,
  span: ChartSpan,
): string | undefined {
  const { own, peers } = linesFor(history, topology, topic.signal, topic.entity);
  if (own.length === 0) return undefined;
  const { startMs, stepMs, count } = history.span();
  const from = Math.max(0, Math.floor((span.fromMs - startMs) / stepMs));
  const to = Math.min(count, Math.ceil((span.toMs - startMs) / stepMs) + 1);
  if (to - from < 2) return undefined;
  const cut = (line: Line) => line.values().subarray(from, to);
  const began = Math.max(0, Math.round((span.beganMs - startMs) / stepMs) - from);
  const drawn: Drawn[] = own
    .map((line) => {
      const values = cut(line);
      return { line, values, change: changeAt(values, began) };
    })
    .filter((d) => d.values.some((v) => !Number.isNaN(v)))
    .sort((a, b) => b.change - a.change);
  if (drawn.length === 0) return undefined;
  // Of many lines of one thing (reasons, sensors) those that tell something.
  const words = topic.evidence.map((e) => e.note ?? '').join(' ');
  const named = drawn.filter((d) =>
    Object.values(d.line.attributes).some((v) => String(v) !== '' && words.includes(String(v))),
  );
  const shown = (named.length > 0 && drawn.length > 2 ? named : drawn).slice(
    0,
    topic.entity.kind === 'service' ? 6 : 2,
  );
  // A line that stood still beside one that did not is no evidence.
  if (topic.entity.kind !== 'service' && shown.length === 2 && shown[0]!.change > 0.1 && shown[1]!.change < 0.05)
    shown.pop();
  const main = shown[0]!;
  const sameAs = plain(main.line.attributes);
  const others = peers.filter((line) => plain(line.attributes) === sameAs).map(cut);
  const band = bandOf(others, to - from);

  const { kind, metric } = main.line;
  const unit = kind === 'rate' ? (metric.unit === 's' ? '1' : `${metric.unit}/s`) : metric.unit;
  let low = 0;
  let high = Number.NEGATIVE_INFINITY;
  const see = (v: number) => {
    if (!Number.isFinite(v)) return;
    if (v > high) high = v;
    if (v < low) low = v;
  };
  for (const d of shown) d.values.forEach(see);
  band?.high.forEach(see);
  const rules = [...thresholds(topic.evidence, main.values), ...(topic.levels ?? [])].filter((r) =>
    Number.isFinite(r.value),
  );
  for (const rule of rules) see(rule.value);
  if (!(high > low)) high = low + 1;
  high += (high - low) * 0.06;

  const scale = scaleFor(unit, Math.max(Math.abs(high), Math.abs(low)));
  const x = (i: number) => LEFT + (i / (to - from - 1)) * (W - LEFT - RIGHT);
  const y = (v: number) => TOP + (1 - (v - low) / (high - low)) * (H - TOP - BOTTOM);
  const timeX = (ms: number) => x((ms - startMs) / stepMs - from);

  const parts: string[] = [];
  for (const tick of ticks(low, high)) {
    const at = y(tick).toFixed(1);
    parts.push(
      `<line class="g" x1="${LEFT}" x2="${W - RIGHT}" y1="${at}" y2="${at}"/><text class="t e" x="${LEFT - 5}" y="${(Number(at) + 3.5).toFixed(1)}">${esc(num(tick / scale.by))}</text>`,
    );
  }
  const fromMs = startMs + from * stepMs;
  const toMs = startMs + (to - 1) * stepMs;
  for (const [share, anchor] of [
    [0, 's'],
    [0.5, 'm'],
    [1, 'e'],
  ] as const) {
    parts.push(
      `<text class="t ${anchor}" x="${(LEFT + share * (W - LEFT - RIGHT)).toFixed(1)}" y="${H - 6}">${clockTime(fromMs + share * (toMs - fromMs))}</text>`,
    );
  }
  const inside = (ms: number) => ms >= fromMs && ms <= toMs;
  const beganX = inside(span.beganMs) ? timeX(span.beganMs) : LEFT;
  const endedX = inside(span.endedMs) ? timeX(span.endedMs) : W - RIGHT;
  parts.unshift(
    `<rect class="w" x="${beganX.toFixed(1)}" y="${TOP}" width="${Math.max(0, endedX - beganX).toFixed(1)}" height="${H - TOP - BOTTOM}"/>`,
  );
  if (band) {
    parts.push(
      `<path class="band" d="${area(band.low, band.high, x, y)}"/>`,
      `<path class="med" d="${path(band.middle, x, y)}"/>`,
    );
  }
  const taken: number[] = [];
  for (const rule of rules) {
    const at = y(rule.value).toFixed(1);
    let text = Math.max(TOP + 8, Number(at) - 3);
    for (const other of taken.sort((a, b) => b - a)) if (Math.abs(other - text) < 11) text = other - 11;
    taken.push(text);
    parts.push(
      `<line class="th" x1="${LEFT}" x2="${W - RIGHT}" y1="${at}" y2="${at}"/><text class="t e thl" x="${W - RIGHT - 2}" y="${text.toFixed(1)}">${esc(rule.label)} ${esc(quantity(rule.value, unit))}</text>`,
    );
  }
  shown.forEach((d, i) => {
    parts.push(`<path class="own o${i}" d="${path(d.values, x, y)}"/>`);
  });
  if (inside(span.beganMs))
    parts.push(
      `<line class="mark" x1="${beganX.toFixed(1)}" x2="${beganX.toFixed(1)}" y1="${TOP}" y2="${H - BOTTOM}"/>`,
    );

  const names = shown.map((d, i) => `<span class="k o${i}">${esc(nameOf(d.line, shown, topic.entity), 60)}</span>`);
  if (band)
    names.push(`<span class="k peers">${others.length} peer${others.length === 1 ? '' : 's'} (range, median)</span>`);
  const title = `${topic.signal}, ${what(kind)}${scale.unit ? `, ${scale.unit}` : ''}`;
  return `<svg viewBox="0 0 ${W} ${H}" role="img" aria-label="${esc(`${title} over time`)}">${parts.join('')}</svg><p class="keys"><span class="unit">${what(kind)}${scale.unit ? `, ${esc(scale.unit, 20)}` : ''}</span>${names.join('')}</p><code class="q">${esc(query(main.line), 300)}</code>`;
}

const what = (kind: Line['kind']) => (kind === 'rate' ? 'rate' : kind === 'mean' ? 'mean per observation' : 'level');

/** The attribute that tells this line from the others of the chart, or the entity. */
function nameOf(line: Line, shown: readonly Drawn[], entity: EntityName): string {
  const differing = Object.entries(line.attributes).filter(([name, value]) =>
    shown.some((d) => String(d.line.attributes[name]) !== String(value)),
  );
  const who = entity.kind === 'service' ? (line.ids.replica ?? entity.id) : entity.id;
  return [who, ...differing.slice(0, 2).map(([, value]) => String(value))].join(' ');
}

/** How much the level changes where it began, in parts of the whole range. */
function changeAt(values: Float64Array, at: number): number {
  const mean = (list: Float64Array) => {
    let sum = 0;
    let n = 0;
    for (const v of list) {
      if (Number.isNaN(v)) continue;
      sum += v;
      n++;
    }
    return n > 0 ? sum / n : Number.NaN;
  };
  const a = mean(values.subarray(0, at));
  const b = mean(values.subarray(at));
  if (Number.isNaN(a) || Number.isNaN(b)) return 0;
  return Math.abs(a - b) / Math.max(Math.abs(a), Math.abs(b), 1e-12);
}

/** A share of time, a ratio to what is usual, a setting: not a value of the signal itself. */
const isRelative = (e: Evidence): boolean =>
  /share|fraction|ratio|lost|fitted|setting|usual|against|times|\bover\b| \/ |^(mean|q\d+|max) \//i.test(e.note ?? '');

/** Thresholds in the unit of what is drawn; a share or a ratio of it has no place on the chart. */
function thresholds(evidence: readonly Evidence[], values: Float64Array): { label: string; value: number }[] {
  const out: { label: string; value: number }[] = [];
  const seen = values.filter((v) => Number.isFinite(v));
  if (seen.length === 0) return out;
  const low = Math.min(...seen);
  const high = Math.max(...seen);
  const room = Math.max(high - low, Math.abs(high) * 0.05);
  for (const e of evidence) {
    if (isRelative(e)) continue;
    if (e.value < low - room || e.value > high + room) continue;
    if (Math.abs(e.threshold) > Math.max(Math.abs(high) * 20, 1e-9)) continue;
    out.push({ label: e.comparison === '>=' ? 'at least' : 'at most', value: e.threshold });
    if (e.baseline && out.length < 3) out.push({ label: 'baseline', value: e.baseline.median });
  }
  return out.slice(0, 3);
}

function bandOf(lists: readonly Float64Array[], length: number) {
  if (lists.length === 0) return undefined;
  const low = new Float64Array(length).fill(Number.NaN);
  const high = new Float64Array(length).fill(Number.NaN);
  const middle = new Float64Array(length).fill(Number.NaN);
  for (let i = 0; i < length; i++) {
    const at = lists
      .map((list) => list[i] ?? Number.NaN)
      .filter((v) => !Number.isNaN(v))
      .sort((a, b) => a - b);
    if (at.length === 0) continue;
    low[i] = at[0]!;
    high[i] = at[at.length - 1]!;
    middle[i] = at[at.length >> 1]!;
  }
  return middle.some((v) => !Number.isNaN(v)) ? { low, high, middle } : undefined;
}

type Place = (n: number) => number;

/** A gap longer than this many buckets is drawn as a gap: slow scrapes leave empty buckets in between. */
const BRIDGE = 8;

function path(values: Float64Array, x: Place, y: Place): string {
  let d = '';
  let last = Number.NEGATIVE_INFINITY;
  values.forEach((v, i) => {
    if (Number.isNaN(v)) return;
    d += `${i - last > BRIDGE ? 'M' : 'L'}${x(i).toFixed(1)} ${y(v).toFixed(1)}`;
    last = i;
  });
  return d;
}

function area(low: Float64Array, high: Float64Array, x: Place, y: Place): string {
  const there: number[] = [];
  high.forEach((v, i) => {
    if (!Number.isNaN(v)) there.push(i);
  });
  const up = there.map((i) => `${x(i).toFixed(1)} ${y(high[i]!).toFixed(1)}`);
  const down = there.reverse().map((i) => `${x(i).toFixed(1)} ${y(low[i]!).toFixed(1)}`);
  return `M${[...up, ...down].join('L')}Z`;
}

function ticks(low: number, high: number): number[] {
  const rough = (high - low) / 3;
  const size = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * size).find((s) => s >= rough) ?? rough;
  const out: number[] = [];
  for (let t = Math.ceil(low / step) * step; t <= high && out.length < 8; t += step)
    out.push(Math.abs(t) < step / 1e6 ? 0 : t);
  return out;
}

/** What to ask Prometheus to see the same, with the names that the `prometheus` exporter gives. */
export function query(line: Line): string {
  const name = metricName(line.metric, 'UnderscoreEscapingWithSuffixes');
  const { ids } = line;
  const labels: [string, string | undefined][] =
    ids.gpu !== undefined
      ? [['hw_id', ids.gpu]]
      : [
          ['job', ids.service],
          ['instance', ids.replica],
          ['host_name', ids.node],
          ['hw_nic_device', ids.nic],
        ];
  for (const [key, value] of Object.entries(line.attributes)) {
    if (typeof value === 'string' && value.length < 60)
      labels.push([labelName(key, 'UnderscoreEscapingWithSuffixes'), value]);
    if (labels.length > 6) break;
  }
  const selector = labels
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => `${key}=${JSON.stringify(value)}`)
    .join(', ');
  if (line.kind === 'rate') return `rate(${name}{${selector}}[1m])`;
  if (line.kind === 'mean') return `rate(${name}_sum{${selector}}[1m]) / rate(${name}_count{${selector}}[1m])`;
  return `${name}{${selector}}`;
}

/** A value, its threshold and its baseline on one scale. */
export function gauge(e: Evidence): string {
  const unit = unitOf(e);
  const base = isRelative(e) ? undefined : e.baseline;
  const top =
    Math.max(Math.abs(e.value), Math.abs(e.threshold), base ? Math.abs(base.median) + base.scale : 0, 1e-12) * 1.12;
  const at = (v: number) => `${Math.min(100, Math.max(0, (Math.abs(v) / top) * 100)).toFixed(1)}%`;
  const pair = [quantity(e.value, unit), `${e.comparison === '>=' ? '≥' : '≤'} ${quantity(e.threshold, unit)}`];
  const baseline = base
    ? `<i class="bl" style="left:${at(Math.max(0, base.median - base.scale))};width:${at(2 * base.scale)}"></i>`
    : '';
  return `<div class="ev${e.holds ? '' : ' no'}"><span class="v">${esc(pair[0], 40)}</span><div class="bar"><b style="width:${at(e.value)}"></b>${baseline}<i class="tl" style="left:${at(e.threshold)}"></i></div><span class="c">${esc(pair[1], 40)}</span><small>${esc(
    [
      e.note ?? '',
      e.window_s > 0 ? `over ${num(e.window_s)} s` : '',
      e.baseline
        ? `usual ${quantity(e.baseline.median, unit)} ± ${quantity(e.baseline.scale, unit)} (n ${e.baseline.n})`
        : '',
      e.holds ? '' : 'does not hold now',
    ]
      .filter((w) => w !== '')
      .join('; '),
    240,
  )}</small></div>`;
}

/** Shares are shown in percent. */
const unitOf = (e: Evidence): string => (e.unit !== undefined && e.unit !== '1' ? e.unit : '');
