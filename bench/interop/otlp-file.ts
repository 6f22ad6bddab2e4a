/** Reads the lines of OTLP JSON that a Collector's (or our) file exporter wrote, with nothing of our own codecs. */
import { existsSync, readFileSync } from 'node:fs';
import { PAGE_NUMBER, pageNumber, type Truth } from './page.ts';

export interface Seen extends Truth {
  readonly time: string;
  readonly resource: Readonly<Record<string, string>>;
  /** As the metric came: gauge, sum … */
  readonly type: string;
  /** "No recorded value". */
  readonly stale: boolean;
}

interface KeyValue {
  readonly key: string;
  readonly value?: { readonly stringValue?: string; readonly intValue?: string | number; readonly boolValue?: boolean };
}
interface DataPoint {
  readonly attributes?: readonly KeyValue[];
  readonly timeUnixNano: string;
  readonly flags?: number;
  readonly asDouble?: number | string;
  readonly asInt?: number | string;
  readonly explicitBounds?: readonly (number | string)[];
  readonly bucketCounts?: readonly (number | string)[];
  readonly sum?: number | string;
  readonly count?: number | string;
  readonly quantileValues?: readonly { readonly quantile?: number; readonly value?: number | string }[];
}
interface Data {
  readonly dataPoints?: readonly DataPoint[];
}
interface MetricJson {
  readonly name: string;
  readonly gauge?: Data;
  readonly sum?: Data;
  readonly histogram?: Data;
  readonly exponentialHistogram?: Data;
  readonly summary?: Data;
}
interface RequestJson {
  readonly resourceMetrics?: readonly {
    readonly resource?: { readonly attributes?: readonly KeyValue[] };
    readonly scopeMetrics?: readonly { readonly metrics?: readonly MetricJson[] }[];
  }[];
}

const record = (list: readonly KeyValue[] = []) =>
  Object.fromEntries(
    list.map(({ key, value }) => [key, `${value?.stringValue ?? value?.intValue ?? value?.boolValue ?? ''}`]),
  );
const named: Readonly<Record<string, number>> = {
  NaN: Number.NaN,
  Infinity: Number.POSITIVE_INFINITY,
  '-Infinity': Number.NEGATIVE_INFINITY,
};
const num = (v: number | string | undefined) => (typeof v === 'string' ? (named[v] ?? Number(v)) : (v ?? 0));

/** Every point of a file; a last line that is not complete yet is left out. */
export function readOtlpFile(path: string): Seen[] {
  const seen: Seen[] = [];
  if (!existsSync(path)) return seen;
  const text = readFileSync(path, 'utf8');
  for (const line of text.slice(0, text.lastIndexOf('\n') + 1).split('\n')) {
    if (line === '') continue;
    for (const r of (JSON.parse(line) as RequestJson).resourceMetrics ?? []) {
      const resource = record(r.resource?.attributes);
      for (const metric of r.scopeMetrics?.flatMap((s) => s.metrics ?? []) ?? []) {
        for (const type of ['gauge', 'sum', 'histogram', 'exponentialHistogram', 'summary'] as const) {
          for (const point of metric[type]?.dataPoints ?? []) seen.push(seenOf(metric.name, type, point, resource));
        }
      }
    }
  }
  return seen;
}

function seenOf(name: string, type: string, p: DataPoint, resource: Readonly<Record<string, string>>): Seen {
  const base = {
    name,
    type,
    resource,
    labels: record(p.attributes),
    time: p.timeUnixNano,
    stale: ((p.flags ?? 0) & 1) !== 0,
  };
  const count = num(p.count);
  if (type === 'histogram') {
    const bounds = (p.explicitBounds ?? []).map(num);
    return { ...base, histogram: { bounds, counts: (p.bucketCounts ?? []).map(num), sum: num(p.sum), count } };
  }
  if (type === 'summary') {
    const quantiles = (p.quantileValues ?? []).map((q) => [q.quantile ?? 0, num(q.value)] as const);
    return { ...base, summary: { quantiles, sum: num(p.sum), count } };
  }
  return { ...base, value: num(p.asDouble ?? p.asInt) };
}

const keyOf = ({ name, labels }: Truth) => JSON.stringify([name, Object.entries(labels).sort()]);
const shown = ({ value, histogram, summary }: Truth) =>
  JSON.stringify({ value, histogram, summary }, (_k, v) =>
    typeof v === 'number' && !Number.isFinite(v) ? `${v}` : Object.is(v, -0) ? '-0' : v,
  );

export interface Comparison {
  readonly pages: number;
  readonly values: number;
  readonly wrong: readonly string[];
}

/** What arrived, value by value, beside the pages that were served; series that the page does not have are nobody's business. */
export function compareWithPages(seen: readonly Seen[]): Comparison {
  const scrapes = new Map<string, Seen[]>();
  for (const one of seen) {
    const key = `${one.resource['service.instance.id']} ${one.time}`;
    const list = scrapes.get(key);
    if (list) list.push(one);
    else scrapes.set(key, [one]);
  }
  const wrong: string[] = [];
  let values = 0;
  let count = 0;
  for (const points of scrapes.values()) {
    const page = points.find((p) => p.name === PAGE_NUMBER && !p.stale)?.value;
    if (page === undefined) continue;
    count++;
    const { truth } = pageNumber(page);
    const byKey = new Map(points.map((p) => [keyOf(p), p]));
    for (const one of truth) {
      const found = byKey.get(keyOf(one));
      values++;
      if (!found) wrong.push(`page ${page}: ${keyOf(one)} did not arrive`);
      else if (shown(found) !== shown(one))
        wrong.push(`page ${page}: ${keyOf(one)} is ${shown(found)}, was ${shown(one)}`);
    }
  }
  return { pages: count, values, wrong };
}
