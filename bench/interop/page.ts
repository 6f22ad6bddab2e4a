/**
 * A page whose numbers are known: what a check compares with. Every scrape gets the next page, and every page says its
 * number, so that whatever arrives on the other side can be compared with exactly what was served.
 */

/** One series of the page and its value. `histogram` and `summary` are as OTLP has them: counts per bucket. */
export interface Truth {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value?: number;
  readonly histogram?: {
    readonly bounds: readonly number[];
    readonly counts: readonly number[];
    readonly sum: number;
    readonly count: number;
  };
  readonly summary?: { readonly quantiles: readonly (readonly [number, number])[]; sum: number; count: number };
}

export const PAGE_NUMBER = 'interop_page_number';

const BOUNDS = [0.001, 0.01, 0.1, 0.25, 0.5, 1, 2.5, 10, 60];
const MODEL = 'meta-llama/Llama-3.1-8B-Instruct';

const text = (v: number) =>
  Number.isNaN(v) ? 'NaN' : v === Number.POSITIVE_INFINITY ? '+Inf' : v === Number.NEGATIVE_INFINITY ? '-Inf' : `${v}`;
const escaped = (v: string) => v.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('"', '\\"');
const labelled = (labels: Readonly<Record<string, string>>) =>
  `{${Object.entries(labels)
    .map(([k, v]) => `${k}="${escaped(v)}"`)
    .join(',')}}`;

/** The `n`-th page: about 1,000 samples, among them values and labels that are easily spoilt on the way. */
export function pageNumber(n: number): { text: string; truth: Truth[] } {
  let state = n + 1;
  const random = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  const lines: string[] = [];
  const truth: Truth[] = [];
  const family = (name: string, type: string) =>
    lines.push(
      `# HELP ${name} The ${name} of a bench, with "quotes" and a \\\\ in its help.`,
      `# TYPE ${name} ${type}`,
    );
  const number = (name: string, type: string, all: readonly (readonly [Record<string, string>, number])[]) => {
    family(name, type);
    for (const [labels, value] of all) {
      lines.push(`${name}${Object.keys(labels).length ? labelled(labels) : ''} ${text(value)}`);
      truth.push({ name, labels, value });
    }
  };
  number(PAGE_NUMBER, 'gauge', [[{}, n]]);
  const engines = Array.from({ length: 8 }, (_, e) => ({ engine: `${e}`, model_name: MODEL }));
  for (const name of ['vllm:num_requests_running', 'vllm:num_requests_waiting']) {
    number(
      name,
      'gauge',
      engines.map((l) => [l, Math.floor(random() * 100)]),
    );
  }
  number(
    'vllm:kv_cache_usage_perc',
    'gauge',
    engines.map((l) => [l, random()]),
  );
  for (const name of ['vllm:prompt_tokens_total', 'vllm:generation_tokens_total', 'vllm:num_preemptions_total']) {
    number(
      name,
      'counter',
      engines.map((l, e) => [l, 1e6 * e + 1000 * n + Math.floor(random() * 1000)]),
    );
  }
  number('interop_values', 'gauge', [
    [{ what: 'zero' }, 0],
    [{ what: 'largest exact integer' }, Number.MAX_SAFE_INTEGER],
    [{ what: 'beyond it' }, 2 ** 63],
    [{ what: 'tiny' }, 5e-324],
    [{ what: 'huge' }, 1.7976931348623157e308],
    [{ what: 'third' }, 1 / 3],
    [{ what: 'negative' }, -17.25],
    [{ what: 'not a number' }, Number.NaN],
    [{ what: 'infinite' }, Number.POSITIVE_INFINITY],
    [{ what: 'minus infinite' }, Number.NEGATIVE_INFINITY],
    [{ what: 'a "quoted" one' }, 1 + n],
    [{ what: 'back\\slash' }, 2 + n],
    [{ what: 'two\nlines' }, 3 + n],
    [{ what: 'größer 推理 🔥' }, 4 + n],
  ]);
  for (const name of ['vllm:time_to_first_token_seconds', 'vllm:e2e_request_latency_seconds', 'interop_seconds']) {
    family(name, 'histogram');
    for (const labels of engines) {
      const counts = Array.from({ length: BOUNDS.length + 1 }, (_, i) => n * (i + 1) + Math.floor(random() * 3));
      let cumulative = 0;
      BOUNDS.forEach((bound, i) => {
        cumulative += counts[i]!;
        lines.push(`${name}_bucket${labelled({ ...labels, le: `${bound}` })} ${cumulative}`);
      });
      const count = cumulative + counts.at(-1)!;
      const sum = count * 0.37;
      lines.push(`${name}_bucket${labelled({ ...labels, le: '+Inf' })} ${count}`);
      lines.push(`${name}_sum${labelled(labels)} ${text(sum)}`, `${name}_count${labelled(labels)} ${count}`);
      truth.push({ name, labels, histogram: { bounds: BOUNDS, counts, sum, count } });
    }
  }
  family('interop_rpc_seconds', 'summary');
  for (const service of ['a', 'b']) {
    const quantiles = [0.5, 0.9, 0.99].map((q) => [q, q * (n + 1)] as const);
    for (const [q, v] of quantiles) lines.push(`interop_rpc_seconds{service="${service}",quantile="${q}"} ${text(v)}`);
    lines.push(`interop_rpc_seconds_sum{service="${service}"} ${text(n * 1.5)}`);
    lines.push(`interop_rpc_seconds_count{service="${service}"} ${n + 7}`);
    truth.push({
      name: 'interop_rpc_seconds',
      labels: { service },
      summary: { quantiles, sum: n * 1.5, count: n + 7 },
    });
  }
  return { text: `${lines.join('\n')}\n`, truth };
}

/** Pages one after the other; `hold` keeps showing the same one. */
export function pages(): { page(): string; served(): number; hold(): number } {
  let next = 1;
  let held = false;
  return {
    page: () => pageNumber(held ? next : next++).text,
    served: () => next - 1,
    hold() {
      held = true;
      return next;
    },
  };
}
