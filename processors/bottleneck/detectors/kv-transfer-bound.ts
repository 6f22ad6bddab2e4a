import { t } from '../../../config/schema.ts';
import { median } from '../../../pipeline/kit/stats/robust.ts';
import { defineDetector } from '../detector.ts';
import { percent, seconds } from '../readings.ts';

export default defineDetector({
  id: 'kv-transfer-bound',
  class: 'symptom',
  canBeRoot: true,
  family: 'disaggregation',
  scope: ['pair', 'replica'],
  pace: 'slow',
  meaning: 'Handing the KV cache from prefill to decode delays the first token.',
  rule: 'mean transfer time (waiting included) ≥ share × TTFT ∧ ≥ factor × baseline; sub-cause: backpressure (waiting for room), bandwidth, volume or latency',
  signals: [
    'inference.kv.transfer.duration',
    'inference.kv.transfer.io',
    'inference.kv.transfer.count',
    'inference.pd.queue',
    'gen_ai.server.time_to_first_token',
    'inference.requests.waiting',
    'inference.kv.usage',
  ],
  needs: [
    { grade: 'A', signals: ['hook.kv_transfer'] },
    { grade: 'B', signals: ['inference.kv.transfer.duration'] },
    { grade: 'C', signals: ['inference.pd.queue'] },
  ],
  enable:
    'The hook’s kv_transfer events, or the connector’s transfer metrics (NIXL in vLLM; SGLang and Dynamo have them on).',
  params: {
    share: t.number({ description: 'Share of TTFT spent in the hand-off.', default: 0.2, minimum: 0, maximum: 1 }),
    factor: t.number({ description: 'Hand-off time over its usual.', default: 1.8, minimum: 1 }),
    floor: t.duration({ description: 'Hand-offs faster than this are never the limit.', default: '20ms' }),
    transfers: t.integer({ description: 'Fewest transfers in the window.', default: 8, minimum: 1 }),
  },
  not: [
    'the first transfer of a pair: connecting takes seconds',
    'a receiver without room: its KV is the root (tag backpressure)',
  ],
  remedies: ['K1', 'K2'],
  wouldChangeMyMind:
    'Transfers of equal size over other pairs are as slow, or the time is spent waiting for pre-allocation.',
  evaluate(view) {
    const p = view.params;
    const service = view.related('service')[0];
    const ttft = service
      ? view
          .on(service)
          .pooled('replica', (e) => e.attributes['role'] !== 'prefill')
          .histogram('gen_ai.server.time_to_first_token')
          ?.mean(view.wf)
      : undefined;
    if (view.entity.kind === 'pair') {
      const list = (view.events.transfers(view.entity)?.since(view.now - 120_000, (x) => x.end) ?? []).filter(
        (x) => !x.failed,
      );
      if (list.length < p.transfers) return view.hold();
      const wires = list.map((x) => x.end - x.start);
      const waits = list.map((x) => x.waitMs ?? 0);
      const total = (wires.reduce((a, b) => a + b, 0) + waits.reduce((a, b) => a + b, 0)) / list.length / 1000;
      const waitShare = waits.reduce((a, b) => a + b, 0) / Math.max(1e-9, total * 1000 * list.length);
      const rates = list.filter((x) => x.end > x.start && x.bytes > 0).map((x) => (x.bytes * 1000) / (x.end - x.start));
      const rate = rates.length > 0 ? median(rates) : undefined;
      const base = view.baseline('transfer', total, 20);
      const usualRate = rate === undefined ? undefined : view.baseline('transfer.rate', rate, 20);
      const peer = view.peer('transfer', (v) => {
        const other = (v.events.transfers(v.entity)?.since(v.now - 120_000, (x) => x.end) ?? []).filter(
          (x) => !x.failed,
        );
        return other.length >= p.transfers
          ? other.reduce((a, x) => a + x.end - x.start + (x.waitMs ?? 0), 0) / other.length
          : undefined;
      });
      const reference = base?.median ?? (peer && peer.median > 0 ? peer.median / 1000 : undefined);
      if (reference === undefined) return view.hold();
      const slower = rate !== undefined && usualRate ? rate / usualRate.median : undefined;
      const sub = waitShare >= 0.5 ? 'backpressure' : slower !== undefined && slower <= 0.7 ? 'bandwidth' : 'volume';
      return view.judge({
        all: [
          view.atLeast(
            'hook.kv_transfer',
            total,
            Math.max(p.floor / 1000, reference * p.factor),
            `mean hand-off (s) over ${list.length} transfers`,
          ),
          ...(ttft
            ? [view.atLeast('gen_ai.server.time_to_first_token', total / ttft.value, p.share, 'hand-off / TTFT')]
            : []),
        ],
        support: [slower === undefined ? undefined : view.atMost('hook.kv_transfer', slower, 0.7, 'rate / usual rate')],
        counter: [
          view.counterEvidence(
            'transfers wait for room at the receiver',
            sub === 'backpressure' || undefined,
            `${percent(waitShare)} of the time is waiting`,
          ),
        ],
        grade: 'A',
        tags: [sub],
        intensity: total,
        summary: `${view.entity.id}: handing over KV takes ${seconds(total)} (usually ${seconds(reference)})${sub === 'backpressure' ? ', mostly waiting for room at the receiver' : rate !== undefined ? ` at ${(rate / 1e9).toFixed(1)} GB/s` : ''}.`,
      });
    }
    const mean = view.histogram('inference.kv.transfer.duration')?.mean(view.wf, p.transfers);
    const prealloc = view.gauge('inference.pd.queue', { queue: 'prealloc' })?.mean(view.wf);
    const inTransfer = view.gauge('inference.pd.queue', { queue: 'transfer' })?.mean(view.wf);
    const backpressure = prealloc !== undefined && prealloc.value >= 1 && prealloc.value > 2 * (inTransfer?.value ?? 0);
    if (!mean) {
      if (!inTransfer) return view.missing('inference.kv.transfer.duration');
      const base = view.baseline('transfer.queue', inTransfer.value);
      if (!base) return view.hold();
      return view.judge({
        all: [
          view.atLeast(
            'inference.pd.queue',
            { ...inTransfer, baseline: base },
            Math.max(2, base.median * p.factor * 1.5),
          ),
        ],
        grade: 'C',
        tags: [backpressure ? 'backpressure' : 'bandwidth'],
        intensity: inTransfer.value,
        summary: `Replica ${view.entity.id}: ${Math.round(inTransfer.value)} requests are in KV transfer, usually ${base.median.toFixed(1)}.`,
      });
    }
    const base = view.baseline('transfer', mean.value);
    if (!base) return view.hold();
    return view.judge({
      all: [
        view.atLeast(
          'inference.kv.transfer.duration',
          { ...mean, baseline: base },
          Math.max(p.floor / 1000, base.median * p.factor, base.median + 4 * base.scale),
        ),
        ...(ttft
          ? [
              view.atLeast(
                'gen_ai.server.time_to_first_token',
                mean.value / ttft.value,
                p.share * 0.5,
                'transfer / TTFT',
              ),
            ]
          : []),
      ],
      counter: [
        view.counterEvidence(
          'transfers wait for room at the receiver',
          backpressure || undefined,
          `${Math.round(prealloc?.value ?? 0)} waiting for pre-allocation`,
        ),
      ],
      grade: 'B',
      tags: [backpressure ? 'backpressure' : 'bandwidth'],
      intensity: mean.value,
      summary: `Replica ${view.entity.id}: a KV transfer takes ${seconds(mean.value)}, usually ${seconds(base.median)}.`,
    });
  },
});
