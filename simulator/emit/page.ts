/**
 * A `/metrics` page that is laid out once and filled in at every scrape: the text between the numbers never changes, so
 * the cost of a page is the cost of its numbers. For recordings the text is kept JSON-escaped, ready to be put between
 * quotes.
 */
import type { Histogram } from '../world/histogram.ts';

export type Labels = readonly (readonly [string, string])[];

interface Row {
  readonly kind: 0 | 1 | 2;
  readonly text: string;
  readonly value: (() => number) | null;
  readonly format: (x: number) => string;
  last: number;
  shown: string;
  readonly histogram: (() => Histogram) | null;
  readonly buckets: readonly string[];
  /** The block of this row and those after it up to `until` is left out while this is false. */
  readonly when: (() => boolean) | null;
  readonly dynamic: (() => string) | null;
  readonly until: number;
}

export interface Page {
  /** The page as it is now. */
  text(): string;
  /** Family names that the page can show. */
  readonly families: ReadonlySet<string>;
}

export interface PageBuilder {
  family(name: string, type: string, help: string): void;
  sample(name: string, labels: Labels, value: () => number, format?: (x: number) => string): void;
  /** `created` adds prometheus_client's `_created` gauge. */
  histogram(name: string, labels: Labels, of: () => Histogram): void;
  /** What `inside` adds is shown only while `condition` is true. */
  when(condition: () => boolean, inside: () => void): void;
  raw(text: string): void;
  /** Text that is made anew for every page. */
  dynamic(text: () => string): void;
  build(): Page;
}

export interface PageStyle {
  readonly format: (x: number) => string;
  /** Where `le` goes: in alphabetical order or behind the others. */
  readonly leLast?: boolean;
  /** Order of the histogram's own series. */
  readonly sumFirst?: boolean;
  readonly escaped: boolean;
}

const escapeValue = (v: string) => v.replace(/\\/g, '\\\\').replace(/"/g, '\\"').replace(/\n/g, '\\n');
const jsonEscape = (text: string) => JSON.stringify(text).slice(1, -1);

export function pageBuilder(style: PageStyle): PageBuilder {
  const rows: Row[] = [];
  const families = new Set<string>();
  const encode = style.escaped ? jsonEscape : (t: string) => t;
  const newline = encode('\n');
  const labelText = (labels: Labels): string =>
    labels.length === 0 ? '' : `{${labels.map(([k, v]) => `${k}="${escapeValue(v)}"`).join(',')}}`;
  const row = (r: Partial<Row>): Row => ({
    kind: 0,
    text: '',
    value: null,
    format: style.format,
    last: Number.NaN,
    shown: '',
    histogram: null,
    buckets: [],
    when: null,
    dynamic: null,
    until: 0,
    ...r,
  });
  const withLe = (labels: Labels, le: string): Labels => {
    if (style.leLast) return [...labels, ['le', le]];
    const all = [...labels, ['le', le] as const];
    return all.sort((a, b) => (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0));
  };
  const builder: PageBuilder = {
    family(name, type, help) {
      families.add(name);
      rows.push(row({ text: encode(`# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`) }));
    },
    raw(text) {
      rows.push(row({ text: encode(text) }));
    },
    dynamic(text) {
      rows.push(row({ dynamic: text }));
    },
    sample(name, labels, value, format) {
      rows.push(row({ kind: 1, text: encode(`${name}${labelText(labels)} `), value, format: format ?? style.format }));
    },
    histogram(name, labels, of) {
      const bounds = of().bounds;
      const buckets = [...bounds.map((b) => style.format(b)), '+Inf'].map((le) =>
        encode(`${name}_bucket${labelText(withLe(labels, le))} `),
      );
      const plain = labelText(labels);
      buckets.push(encode(`${name}_count${plain} `), encode(`${name}_sum${plain} `));
      rows.push(row({ kind: 2, histogram: of, buckets }));
    },
    when(condition, inside) {
      const at = rows.length;
      rows.push(row({ when: condition }));
      inside();
      rows[at] = row({ when: condition, until: rows.length });
    },
    build() {
      const text = (): string => {
        let out = '';
        for (let i = 0; i < rows.length; i++) {
          const r = rows[i]!;
          if (r.when) {
            if (!r.when()) i = r.until - 1;
            continue;
          }
          if (r.dynamic) out += encode(r.dynamic());
          else if (r.kind === 0) out += r.text;
          else if (r.kind === 1) {
            const v = r.value!();
            if (v !== r.last) {
              r.last = v;
              r.shown = r.format(v);
            }
            out += r.text + r.shown + newline;
          } else {
            const h = r.histogram!();
            const n = h.counts.length;
            let sum = 0;
            let before = -1;
            let shown = '';
            if (style.sumFirst) out += r.buckets[n + 1]! + style.format(h.sum) + newline;
            for (let b = 0; b < n; b++) {
              sum += h.counts[b]!;
              if (sum !== before) {
                before = sum;
                shown = style.format(sum);
              }
              out += r.buckets[b]! + shown + newline;
            }
            out += r.buckets[n]! + style.format(h.count) + newline;
            if (!style.sumFirst) out += r.buckets[n + 1]! + style.format(h.sum) + newline;
          }
        }
        return out;
      };
      return { text, families };
    },
  };
  return builder;
}
