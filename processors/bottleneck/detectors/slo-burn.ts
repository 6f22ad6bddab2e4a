import { t } from '../../../config/schema.ts';
import type { Entity } from '../../../pipeline/kit/topology.ts';
import { defineDetector } from '../detector.ts';
import { LATENCIES, LATENCY_KINDS, type LatencyKind } from '../impact.ts';
import type { HistogramReading, Measure } from '../measure.ts';
import type { Condition } from '../outcome.ts';
import { derived, overUsual, percent, seconds } from '../readings.ts';

const WORDS: Record<LatencyKind, string> = { ttft: 'TTFT', itl: 'ITL', e2e: 'request time' };

export default defineDetector({
  id: 'slo-burn',
  class: 'symptom',
  family: 'lifecycle',
  scope: 'service',
  pace: 'slow',
  meaning: 'Users of a service wait too long, or get nothing.',
  rule: 'with objectives: bad share (exact buckets) / budget ≥ burn in the short and the long window; without: mean latency over its baseline, less one, ≥ factor − 1 ∧ z ≥ z; or failed / all ≥ errors',
  signals: [...Object.values(LATENCIES).flat(), 'inference.requests.finished', 'inference.requests.failed'],
  needs: [
    { grade: 'B', signals: ['gen_ai.server.time_to_first_token'] },
    { grade: 'B', signals: ['inference.inter_token.latency'] },
    { grade: 'B', signals: ['gen_ai.server.request.duration'] },
  ],
  enable: 'Scrape the engine’s (or the frontend’s) latency histograms; set `slo` for burn rates.',
  params: {
    burn: t.number({ description: 'Burn rate in both windows.', default: 6, minimum: 0 }),
    critical_burn: t.number({ description: 'Burn rate that is critical.', default: 14.4, minimum: 0 }),
    bad: t.integer({ description: 'Fewest bad requests in the short window.', default: 8, minimum: 1 }),
    events: t.integer({ description: 'Fewest requests in the short window.', default: 50, minimum: 1 }),
    factor: t.number({ description: 'Latency over its usual, without objectives.', default: 1.25, minimum: 1 }),
    z: t.number({ description: 'Scales above the usual, without objectives.', default: 4, minimum: 0 }),
    errors: t.number({ description: 'Share of requests that fail.', default: 0.05, minimum: 0, maximum: 1 }),
  },
  persist: { k: 3, n: 5 },
  not: ['a single slow request', 'a threshold inside a bucket: the bound that was used is named'],
  remedies: [],
  wouldChangeMyMind: 'The slow requests are of another kind (longer prompts or answers) at the same latency per token.',
  evaluate(view) {
    const p = view.params;
    const slo = view.slo();
    const conditions: { kind: string; condition: Condition; words: string; severity?: 'critical' }[] = [];
    let saw = false;
    for (const kind of LATENCY_KINDS) {
      const reading = latency(view, kind);
      if (!reading) continue;
      const mean = reading.mean(view.wf, 12);
      if (!mean) continue;
      saw = true;
      const limit = slo?.[kind];
      if (limit !== undefined) {
        const short = reading.above(view.wf, limit, p.events) ?? reading.above(view.ws, limit, p.events);
        if (short) {
          const budget = Math.max(1e-6, 1 - (slo?.objective ?? 0.99));
          view.baseline(`bad.${kind}`, short.value);
          const past = view.past(`bad.${kind}`, 3_600_000).v;
          const long = past.length > 0 ? past.reduce((a, b) => a + b, 0) / past.length : short.value;
          // The long window keeps a spike from paging; while little history exists the short window stands for both.
          const burn =
            Math.min(short.value, past.length >= 12 ? Math.max(long, short.value * 0.25) : short.value) / budget;
          const value: Measure = { ...short, value: short.above >= p.bad ? burn : 0, how: `burn, ${short.how}` };
          conditions.push({
            kind,
            condition: view.atLeast(short.signal, value, p.burn),
            words: `${percent(short.value)} of requests have a ${WORDS[kind]} above ${seconds(short.bound)}`,
            ...(burn >= p.critical_burn && short.above >= p.bad ? { severity: 'critical' as const } : {}),
          });
        }
      }
      const base = view.baseline(`slo.${kind}`, mean.value);
      if (base && base.median > 0 && limit === undefined) {
        const z = (mean.value - base.median) / base.scale;
        // The excess, not the quotient: back at its usual, nothing is left of it.
        const ratio = derived(mean.signal, 'mean / usual, less one', mean.value / base.median - 1, [mean], mean.of);
        conditions.push({
          kind,
          condition: view.atLeast(
            mean.signal,
            z >= p.z
              ? {
                  ...ratio,
                  baseline: base,
                  course: () => {
                    const c = mean.course!();
                    return { t: c.t, v: c.v.map((x) => x / base.median - 1) };
                  },
                }
              : { ...ratio, value: Math.min(ratio.value, 0) },
            overUsual(p.factor, base) - 1,
          ),
          words: `${WORDS[kind]} is ${seconds(mean.value)}, usually ${seconds(base.median)}`,
        });
      }
    }
    const replicas = view.pooled('replica');
    const failed = replicas.counter('inference.requests.failed')?.increase(view.ws);
    const done = replicas.counter('inference.requests.finished')?.increase(view.ws);
    if (failed && done && failed.value + done.value >= 20) {
      saw = true;
      conditions.push({
        kind: 'availability',
        condition: view.atLeast(
          'inference.requests.failed',
          failed.value / (failed.value + done.value),
          p.errors,
          'failed / all',
        ),
        words: `${percent(failed.value / (failed.value + done.value))} of requests fail`,
      });
    }
    if (!saw) return view.hold();
    if (conditions.length === 0) return view.hold();
    const bad = conditions.filter((c) => c.condition.holds);
    const worst = (bad.length > 0 ? bad : conditions).reduce((a, c) =>
      c.condition.margin > a.condition.margin ? c : a,
    );
    return view.judge({
      all: [],
      any: conditions.map((c) => c.condition),
      support: bad.filter((c) => c !== worst).map((c) => c.condition),
      grade: 'B',
      severity: bad.some((c) => c.severity === 'critical') ? 'critical' : 'warning',
      tags: [`slo:${worst.kind}`, ...(slo ? [] : ['baseline'])],
      intensity: worst.condition.margin,
      summary: `Service ${view.entity.id}: ${worst.words}.`,
    });

    function latency(v: typeof view, kind: LatencyKind): HistogramReading | undefined {
      const split = v.related('replica').some((e) => e.attributes['role'] === 'decode');
      for (const signal of LATENCIES[kind]) {
        const outer = v.pooled('frontend').histogram(signal) ?? v.pooled('router').histogram(signal);
        if (outer) return outer;
        const inner = v
          .pooled('replica', (e: Entity) => !split || e.attributes['role'] !== 'prefill')
          .histogram(signal);
        if (inner) return inner;
      }
      return undefined;
    }
  },
});
