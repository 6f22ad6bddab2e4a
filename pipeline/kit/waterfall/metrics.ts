/**
 * A waterfall where only histograms are: means of parts add up to the mean, so they can be set against the mean time to first
 * token; percentiles do not add up, so there is no tail minus median here.
 */
import { type AnyValue, type Batch, isHistogramPoint, isStale, type Series } from '../../model.ts';
import type { Part } from './parts.ts';

/** Whose metrics they are: the frontend's, those of engines that only fill the cache, of engines that answer. */
type Group = 'front' | 'prefill' | 'answer';
const groupOf = (role: AnyValue | undefined): Group =>
  role === 'frontend' || role === 'router' ? 'front' : role === 'prefill' ? 'prefill' : 'answer';

const QUEUE = 'inference.request.queue.duration';
const PREFILL = 'inference.request.prefill.duration';
const ROUTER = 'inference.router.queue.duration';
const TRANSFER = 'inference.kv.transfer.duration';
/** Which signal of whom is which part, where one engine does all, and where prefill and decode are apart. */
const WHOLE: readonly (readonly [string, Group, MeanRow['part']])[] = [
  [ROUTER, 'front', 'router_queue'],
  [QUEUE, 'answer', 'queue'],
  [PREFILL, 'answer', 'prefill'],
  [TRANSFER, 'answer', 'transfer'],
];
const SPLIT: typeof WHOLE = [
  [ROUTER, 'front', 'router_queue'],
  [QUEUE, 'prefill', 'queue'],
  [PREFILL, 'prefill', 'prefill'],
  [TRANSFER, 'prefill', 'transfer'],
  [TRANSFER, 'answer', 'transfer'],
  [QUEUE, 'answer', 'decode_queue'],
  [PREFILL, 'answer', 'first_step'],
];
const NAMES: ReadonlySet<string> = new Set([QUEUE, PREFILL, ROUTER, TRANSFER]);
const TTFT = 'gen_ai.server.time_to_first_token';

export interface MeanRow {
  readonly part: Part;
  /** Mean milliseconds per request that had it, and how many did. */
  readonly mean: number;
  readonly count: number;
}

export interface MeanWaterfall {
  readonly service: string;
  readonly ttft: number;
  readonly requests: number;
  readonly rows: readonly MeanRow[];
  /** What the parts leave of the mean; below 0 if they are measured over other requests. */
  readonly remainder: number;
}

export interface Means {
  add(batch: Batch): void;
  finish(): readonly MeanWaterfall[];
}

interface Last {
  readonly count: number;
  readonly sum: number;
}

export function collectMeans(): Means {
  const last = new Map<Series, Last>();
  const services = new Map<string, Map<string, { count: number; sum: number }>>();
  return {
    add(batch) {
      if (batch.signal !== 'metrics') return;
      for (const point of batch.items) {
        const { series } = point;
        const { name, temporality } = series.metric;
        if ((name !== TTFT && !NAMES.has(name)) || !isHistogramPoint(point) || isStale(point)) continue;
        const count = Number(point.count);
        const { sum } = point;
        if (sum === undefined || !Number.isFinite(sum)) continue;
        const before = temporality === 1 ? undefined : last.get(series);
        last.set(series, { count, sum });
        // The first point of a counter says nothing of the recording.
        if (temporality !== 1 && !before) continue;
        const reset = before !== undefined && count < before.count;
        const n = before === undefined || reset ? count : count - before.count;
        const s = before === undefined || reset ? sum : sum - before.sum;
        if (n <= 0 || s < 0) continue;
        const service = String(series.resource.attributes['service.name'] ?? 'unknown service');
        let of = services.get(service);
        if (!of) {
          of = new Map();
          services.set(service, of);
        }
        const key = `${name}|${groupOf(series.resource.attributes['inference.role'])}`;
        const total = of.get(key) ?? { count: 0, sum: 0 };
        of.set(key, { count: total.count + n, sum: total.sum + s });
      }
    },
    finish() {
      const out: MeanWaterfall[] = [];
      for (const [service, of] of services) {
        const mean = (name: string, group: Group) => {
          const found = of.get(`${name}|${group}`);
          return found && { ms: (1000 * found.sum) / found.count, ...found };
        };
        // A frontend's TTFT has the engines' in it; without one, a decode engine's lacks what its prefill engine did.
        const [front, legs, whole] = [mean(TTFT, 'front'), mean(TTFT, 'prefill'), mean(TTFT, 'answer')];
        const answered = front ?? whole;
        if (!answered) continue;
        const ttft = front?.ms ?? answered.ms + (legs?.ms ?? 0);
        const rows: MeanRow[] = [];
        let explained = 0;
        for (const [name, group, part] of legs ? SPLIT : WHOLE) {
          const found = mean(name, group);
          if (!found) continue;
          rows.push({ part, mean: found.ms, count: found.count });
          // Of a part that only some requests have, this is the share of one request.
          explained += (1000 * found.sum) / Math.max(answered.count, found.count);
        }
        out.push({ service, ttft, requests: answered.count, rows, remainder: ttft - explained });
      }
      return out;
    },
  };
}
