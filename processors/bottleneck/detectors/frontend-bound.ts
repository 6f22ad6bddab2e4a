import { t } from '../../../config/schema.ts';
import { defineDetector } from '../detector.ts';
import { derived, percent, seconds } from '../readings.ts';

export default defineDetector({
  id: 'frontend-bound',
  class: 'root',
  family: 'phase',
  scope: ['router', 'frontend', 'service'],
  pace: 'slow',
  meaning: 'The processes in front of the engine core (API server, tokenizer, gateway) cannot keep up.',
  rule: 'TTFT outside − TTFT inside ≥ max(floor, share × TTFT outside), beyond usual ∧ the engines do not queue ∧ routing itself does not explain it; a busy API process (≥ core) corroborates',
  signals: [
    'gen_ai.server.time_to_first_token',
    'inference.requests.waiting',
    'inference.requests.running',
    'process.cpu.time',
    'inference.router.decision.duration',
    'inference.router.queue.duration',
    'inference.request.queue.duration',
    'inference.request.prefill.duration',
  ],
  needs: [
    { grade: 'B', signals: ['gen_ai.server.time_to_first_token'] },
    { grade: 'C', signals: ['process.cpu.time'] },
  ],
  enable:
    'Two vantage points are needed: TTFT at a router or client, and TTFT at the engines. The CPU time of the API process corroborates.',
  params: {
    floor: t.duration({ description: 'A difference below this is never the limit.', default: '50ms' }),
    share: t.number({ description: 'Difference over the outer TTFT.', default: 0.3, minimum: 0, maximum: 1 }),
    factor: t.number({ description: 'Difference over its usual.', default: 2, minimum: 1 }),
    waiting: t.number({ description: 'Most requests waiting per engine.', default: 1, minimum: 0 }),
    core: t.number({ description: 'Busy share of a core by an API process.', default: 0.9, minimum: 0 }),
  },
  not: [
    'the network between them',
    'a queue in the router: router-overhead',
    'downloads of images',
    'engines that queue',
  ],
  remedies: ['H3'],
  wouldChangeMyMind: 'The router’s own decision or queue time explains the difference.',
  evaluate(view) {
    const p = view.params;
    const isService = view.entity.kind === 'service';
    const services = isService ? [view.entity] : view.related('service');
    const service = services[0];
    if (!service) return view.hold();
    const outside = view.topology.related(service, 'router').length + view.topology.related(service, 'frontend').length;
    // Where a router tells TTFT it is judged there; the service is judged by what its engines tell of themselves.
    if (isService && outside > 0) return view.hold();
    const engines = view.on(service).pooled('replica', (e) => e.attributes['role'] !== 'prefill');
    const members = view.on(service).related('replica').length;
    const inner = engines.histogram('gen_ai.server.time_to_first_token')?.mean(view.wf);
    const waiting = engines.gauge('inference.requests.waiting')?.mean(view.wf);
    const queue = engines.histogram('inference.request.queue.duration')?.mean(view.wf);
    const prefill = engines.histogram('inference.request.prefill.duration')?.mean(view.wf);
    if (!inner) return view.missing('gen_ai.server.time_to_first_token');
    let outer = isService ? inner : view.histogram('gen_ai.server.time_to_first_token')?.mean(view.wf);
    if (!outer) return view.missing('gen_ai.server.time_to_first_token');
    const split = view
      .on(service)
      .related('replica')
      .some((e) => e.attributes['role'] === 'prefill');
    let core = 0;
    for (const e of view.on(service).related('replica')) {
      const cpu = view.on(e).counter('process.cpu.time')?.rate(view.wf)?.value;
      if (cpu !== undefined) core = Math.max(core, cpu);
    }
    let difference: number;
    let words: string;
    if (isService) {
      // What an engine's TTFT holds beside queueing and prefill is spent before and behind the core. In a split service it is the hand-off.
      if (split || !queue || !prefill) return view.missing('gen_ai.server.time_to_first_token (at a router or client)');
      difference = Math.max(0, inner.value - queue.value - prefill.value);
      words = 'TTFT beside queue and prefill (s)';
    } else {
      const decision = view.histogram('inference.router.decision.duration')?.mean(view.wf)?.value ?? 0;
      const held = view.histogram('inference.router.queue.duration')?.mean(view.wf)?.value ?? 0;
      // In a split service the prompt is processed before the decode replica knows of the request.
      const before = split
        ? view
            .on(service)
            .pooled('replica', (e) => e.attributes['role'] === 'prefill')
            .histogram('gen_ai.server.time_to_first_token')
            ?.mean(view.wf)
        : undefined;
      if (split && !before) return view.missing('gen_ai.server.time_to_first_token (of the prefill replicas)');
      difference = Math.max(0, outer.value - inner.value - (before?.value ?? 0) - Math.max(decision, held));
      words = 'TTFT outside − TTFT inside (s), without routing';
    }
    outer = outer.value > 0 ? outer : { ...outer, value: 1e-9 };
    const gap = derived('gen_ai.server.time_to_first_token', words, difference, [outer, inner], outer.of);
    const { course: _course, ...told } = gap;
    const base = view.baseline('frontend.gap', difference, 16);
    // Vantage points that always differ (a hand-off, another clock) are told from a change by their own past; until it is
    // known only a busy API process speaks.
    if (!base && (isService || split || core < p.core)) return view.hold();
    const threshold = Math.max(
      p.floor / 1000,
      p.share * outer.value,
      base ? base.median * p.factor : 0,
      base ? base.median + 4 * base.scale : 0,
    );
    return view.judge({
      all: [
        view.atLeast('gen_ai.server.time_to_first_token', base ? { ...told, baseline: base } : told, threshold),
        view.atMost(
          'inference.requests.waiting',
          waiting ? waiting.value / Math.max(1, members) : undefined,
          p.waiting,
          'waiting per engine',
        ),
      ],
      support: [
        core > 0 ? view.atLeast('process.cpu.time', core, p.core, 'cores of the busiest API process') : undefined,
      ],
      grade: isService ? 'C' : 'B',
      intensity: difference,
      summary: `${isService ? 'Service' : view.entity.kind === 'router' ? 'Router' : 'Frontend'} ${view.entity.id}: ${seconds(difference)} (${percent(difference / outer.value)}) of TTFT passes in front of the engines${base ? `, usually ${seconds(base.median)}` : ''}${core >= p.core ? `; an API process uses ${core.toFixed(2)} cores` : ''}.`,
    });
  },
});
