/**
 * Pages of metrics for the tests: a small reader of the text format that keeps series from one reading to the next, and
 * shows points as lines again. Independent of the product's own reader on purpose.
 */
import {
  type Attributes,
  isHistogramPoint,
  isStale,
  isSummaryPoint,
  type Metric,
  type MetricType,
  nanosFromMs,
  type Point,
  type Resource,
  resource,
  type Series,
  scope,
} from '../../../pipeline/model.ts';

const SCOPE = scope('test');

export interface Target {
  readonly resource: Resource;
  /** Points of a page; series of an earlier page are the same objects. */
  read(page: string, timeMs?: number): Point[];
  /** Points that end the series of a page. */
  end(page: string, timeMs?: number): Point[];
}

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)(?:\s+\d+)?$/;

function labelsOf(text: string): Record<string, string> {
  const out: Record<string, string> = {};
  for (const [, name, value] of text.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) {
    if (value !== '') out[name!] = value!;
  }
  return out;
}

const key = (name: string, labels: Attributes) =>
  `${name}|${Object.keys(labels)
    .sort()
    .map((k) => `${k}=${String(labels[k])}`)
    .join(',')}`;

/** One scraped target. */
export function target(attributes: Attributes = {}): Target {
  const about = resource(attributes);
  const metrics = new Map<string, Metric>();
  const seen = new Map<string, Series>();
  const seriesOf = (name: string, type: MetricType, monotonic: boolean, labels: Attributes): Series => {
    const id = `${type}${key(name, labels)}`;
    let series = seen.get(id);
    if (!series) {
      const mid = `${name}|${type}|${monotonic}`;
      let metric = metrics.get(mid);
      if (!metric) {
        const temporality = type === 'sum' || type === 'histogram' ? 2 : 0;
        metric = { name, description: '', unit: '', type, temporality, monotonic, metadata: {} };
        metrics.set(mid, metric);
      }
      series = { resource: about, scope: SCOPE, metric, attributes: labels };
      seen.set(id, series);
    }
    return series;
  };

  const read = (page: string, timeMs = 1_700_000_000_000): Point[] => {
    const time = nanosFromMs(timeMs);
    const types = new Map<string, string>();
    const points: Point[] = [];
    const groups = new Map<string, { name: string; type: string; labels: Record<string, string>; rows: string[][] }>();
    const base = { time, startTime: 0n, flags: 0 };
    for (const line of page.split('\n').map((l) => l.trim())) {
      const type = /^# TYPE (\S+) (\S+)/.exec(line);
      if (type) types.set(type[1]!, type[2]!);
      const match = line.startsWith('#') ? null : LINE.exec(line);
      if (!match) continue;
      const [, name, labelText = '', value] = match as unknown as [string, string, string | undefined, string];
      const labels = labelsOf(labelText);
      const part = /^(.*)_(bucket|sum|count)$/.exec(name);
      const family = part && /histogram|summary/.test(types.get(part[1]!) ?? '') ? part[1]! : undefined;
      const own = types.get(name) === 'summary' ? name : family;
      if (own !== undefined) {
        const { le, quantile, ...rest } = labels;
        const id = key(own, rest);
        const group = groups.get(id) ?? { name: own, type: types.get(own)!, labels: rest, rows: [] };
        group.rows.push([part?.[1] === own ? part[2]! : 'quantile', le ?? quantile ?? '', value]);
        groups.set(id, group);
        continue;
      }
      if (name.endsWith('_created')) continue;
      const declared = types.get(name) ?? types.get(name.replace(/_total$/, ''));
      const counter = declared === 'counter';
      const series = seriesOf(name, counter ? 'sum' : 'gauge', counter, labels);
      points.push({ ...base, series, value: Number(value) });
    }
    for (const { name, type, labels, rows } of groups.values()) {
      const of = (what: string) => Number(rows.find((r) => r[0] === what)?.[2] ?? Number.NaN);
      if (type === 'summary') {
        const quantiles = rows
          .filter((r) => r[0] === 'quantile')
          .map((r) => ({ quantile: Number(r[1]), value: Number(r[2]) }));
        const series = seriesOf(name, 'summary', false, labels);
        points.push({ ...base, series, count: of('count'), sum: of('sum'), quantiles });
        continue;
      }
      const buckets = rows.filter((r) => r[0] === 'bucket');
      const bounds = Float64Array.from(buckets.map((r) => Number(r[1])).filter(Number.isFinite));
      const counts = buckets.map((r) => Number(r[2]));
      const bucketCounts = Float64Array.from(counts.map((c, i) => c - (i > 0 ? counts[i - 1]! : 0)));
      const series = seriesOf(name, 'histogram', false, labels);
      points.push({ ...base, series, count: of('count'), sum: of('sum'), bounds, bucketCounts });
    }
    return points;
  };

  return {
    resource: about,
    read,
    end: (page, timeMs) =>
      read(page, timeMs).map((p) =>
        'value' in p
          ? { ...p, flags: 1, value: 0 }
          : { ...p, flags: 1, count: 0, bounds: new Float64Array(0), bucketCounts: new Float64Array(0) },
      ) as Point[],
  };
}

/** Points as text, sorted: `name{attribute=value} value unit`, and what the resource says beyond `but`. */
export function shown(points: readonly Point[], but: Attributes = {}): string[] {
  return points
    .map((p) => {
      const { metric, attributes, resource: about } = p.series;
      const list = Object.entries(attributes)
        .map(([k, v]) => `${k}=${String(v)}`)
        .sort();
      const who = Object.entries(about.attributes)
        .filter(([k, v]) => but[k] !== v)
        .map(([k, v]) => `${k}=${String(v)}`)
        .sort();
      return `${metric.name}${list.length > 0 ? `{${list.join(',')}}` : ''} ${valueText(p)} ${kindText(metric)}${who.length > 0 ? ` @ ${who.join(' ')}` : ''}`;
    })
    .sort();
}

const round = (n: number) => Number(n.toPrecision(12));

function valueText(p: Point): string {
  if (isStale(p)) return 'stale';
  if (isHistogramPoint(p)) {
    const le = p.bounds.length === 0 ? '' : ` le=${[...p.bounds].join('|')}`;
    return `n=${p.count} sum=${p.sum === undefined ? '' : round(p.sum)}${le}`;
  }
  if (isSummaryPoint(p)) {
    return `n=${p.count} sum=${round(p.sum)} ${p.quantiles.map((q) => `q${q.quantile}=${round(q.value)}`).join(' ')}`.trim();
  }
  return 'value' in p ? String(round(Number(p.value))) : 'exponential';
}

const kindText = (m: Metric): string => `${m.unit} ${m.type === 'sum' ? (m.monotonic ? 'counter' : 'updown') : m.type}`;
