import { t } from '../../../config/schema.ts';
import { defineDetector } from '../detector.ts';
import { seconds } from '../readings.ts';

/** Anything that only a working engine moves; which of them move between finishes is learned per engine. */
const PROGRESS = [
  'inference.tokens.generated',
  'inference.tokens.prompt',
  'inference.step.duration',
  'inference.requests.finished',
];
const PROGRESS_HISTOGRAMS = ['inference.step.tokens', 'inference.inter_token.latency', 'inference.step.duration'];

export default defineDetector({
  id: 'engine-stall',
  class: 'symptom',
  canBeRoot: true,
  family: 'lifecycle',
  scope: 'replica',
  pace: 'fast',
  meaning: 'An engine answers and has running requests, but makes no progress.',
  rule: 'running > 0 ∧ no token, step or finish for ≥ max(idle, 3 scrapes, factor × the longest pause seen while running) on fresh scrapes',
  signals: [
    'inference.requests.running',
    'inference.requests.waiting',
    'inference.kv.usage',
    ...PROGRESS,
    ...PROGRESS_HISTOGRAMS,
    'inference.engine.state',
  ],
  needs: [{ grade: 'B', signals: ['inference.requests.running', 'inference.tokens.generated'] }],
  enable: 'Scrape the engine’s own metrics.',
  params: {
    idle: t.duration({ description: 'Shortest time without progress.', default: '14s' }),
    factor: t.number({
      description: 'The same, as a multiple of the longest pause this engine has shown while running.',
      default: 2,
    }),
  },
  persist: { k: 1, n: 1 },
  not: [
    'an idle engine: nothing is running',
    'sleep or pause',
    'a saturated engine whose health check times out while tokens flow',
    'engines that count tokens at the end of a request: their pauses are learned',
  ],
  remedies: ['T4', 'L2'],
  wouldChangeMyMind: 'Any progress counter moves.',
  evaluate(view) {
    const p = view.params;
    const running = view.gauge('inference.requests.running');
    const tokens = view.counter('inference.tokens.generated');
    if (!running || !tokens) return view.hold();
    // Old samples say nothing about now: an engine that cannot be scraped is another detector's case.
    if (!running.fresh || !tokens.fresh) return view.hold();
    const now = running.last();
    if (!now || now.value < 1) return view.clear();
    const sleeping = view.gauge('inference.engine.state', { state: 'sleeping' })?.last();
    if (sleeping && sleeping.value > 0) return view.clear();
    let idle = Number.POSITIVE_INFINITY;
    for (const signal of PROGRESS) {
      const c = view.counter(signal);
      if (!c) continue;
      const since = c.idleFor();
      if (since !== undefined) idle = Math.min(idle, since);
    }
    for (const signal of PROGRESS_HISTOGRAMS) {
      const h = view.histogram(signal);
      if (!h) continue;
      const course = h.means(600_000);
      const last = course.t.at(-1);
      if (last !== undefined) idle = Math.min(idle, view.now - h.age - last);
    }
    if (!Number.isFinite(idle)) return view.hold();
    // Running since: a request that just began cannot have stalled.
    const busySince = running.samples(600_000);
    let start = busySince.t.length;
    while (start > 0 && busySince.v[start - 1]! >= 1) start--;
    const busyFor = busySince.t.length > start ? busySince.t.at(-1)! - busySince.t[start]! : 0;
    const pause = Math.min(idle, busyFor);
    const past = view.past('pause', 3_600_000);
    const cutoff = view.now - pause - 30_000;
    let longest = 0;
    past.t.forEach((at, i) => {
      if (at < cutoff) longest = Math.max(longest, past.v[i]!);
    });
    const needed = Math.max(p.idle, 2.6 * tokens.step, p.factor * longest);
    view.baseline('pause', pause);
    const frozen = Math.min(
      running.identical(),
      view.gauge('inference.kv.usage')?.identical() ?? Number.POSITIVE_INFINITY,
    );
    return view.judge({
      all: [
        view.atLeast('inference.tokens.generated', pause, needed, 'milliseconds without progress while running'),
        view.atLeast('inference.requests.running', now, 1),
      ],
      support: [
        view.atLeast('inference.kv.usage', Number.isFinite(frozen) ? frozen : undefined, 4, 'identical samples'),
      ],
      counter: [
        view.counterEvidence(
          'the engine was just restarted or is loading',
          view.happened(/restart|deploy/, 120_000),
          'change within two minutes',
        ),
      ],
      grade: 'B',
      discrete: true,
      severity: 'critical',
      intensity: pause / 1000,
      summary: `Replica ${view.entity.id} has ${Math.round(now.value)} running requests and made no progress for ${seconds(pause / 1000)}, while its metrics still answer.`,
    });
  },
});
