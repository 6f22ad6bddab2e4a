import { t } from '../../../config/schema.ts';
import { defineDetector } from '../detector.ts';
import { lastValue, valueAt } from '../rings.ts';
import type { Channel } from '../store.ts';

/** Whether a counter grew at all lately. */
const moves = ({ ring, histogram }: Channel): boolean =>
  histogram ? histogram.size > 1 : ring.size > 1 && valueAt(ring, 0) !== lastValue(ring);

export default defineDetector({
  id: 'telemetry-untrustworthy',
  class: 'context',
  family: 'telemetry',
  scope: ['replica', 'target', 'gpu'],
  pace: 'slow',
  meaning: 'What is told about an entity contradicts itself: verdicts about it are worth less.',
  rule: 'counters that went back ≥ resets times within ten minutes (two processes behind one address; not one alone among others), or samples refused because time went back, or two sources for one series',
  signals: [],
  needs: [{ grade: 'B', signals: [] }],
  enable: 'Scrape each process by its own address.',
  params: {
    resets: t.integer({ description: 'Decreases of one counter within ten minutes.', default: 3, minimum: 2 }),
    late: t.integer({ description: 'Samples refused because time did not advance.', default: 20, minimum: 1 }),
  },
  persist: { k: 2, n: 3 },
  not: ['one restart', 'a series that ended', 'a rate that calls itself a counter'],
  remedies: ['O1'],
  wouldChangeMyMind: 'The process really restarted that often (then it is a crash loop).',
  evaluate(view) {
    const p = view.params;
    let resets = 0;
    let late = 0;
    let signal = '';
    const moving = new Set<string>();
    const back = new Set<string>();
    for (const channel of view.channels()) {
      let n = 0;
      for (const at of channel.resets) if (at >= view.now - 600_000) n++;
      if (channel.kind !== 'gauge' && moves(channel)) moving.add(channel.signal);
      if (n >= p.resets) back.add(channel.signal);
      if (n > resets) {
        resets = n;
        signal = channel.signal;
      }
      late = Math.max(late, channel.ring.late, channel.histogram?.late ?? 0);
    }
    // Two processes behind one address swap all their counters, and cannot share a GPU’s id; one that goes back alone is a rate
    // that calls itself a counter.
    if (back.size === 1 && (moving.size > 1 || view.entity.kind === 'gpu')) resets = 0;
    const uptime = view.gauge('process.uptime')?.last();
    const young = uptime !== undefined && uptime.value < 600;
    return view.judge({
      all: [],
      any: [
        view.atLeast(signal || 'up', resets, p.resets, 'decreases of a counter in ten minutes'),
        view.atLeast('up', late, p.late, 'samples whose time did not advance'),
      ],
      counter: [
        view.counterEvidence('the process is young', young || undefined, `up for ${Math.round(uptime?.value ?? 0)} s`),
      ],
      grade: 'B',
      severity: 'info',
      tags: [resets >= p.resets ? 'aliased' : 'time'],
      intensity: Math.max(resets / p.resets, late / p.late),
      summary: `${view.entity.kind} ${view.entity.id}: ${resets >= p.resets ? `a counter went back ${resets} times in ten minutes: two processes behind one address, or restarts` : `${late} samples came with a time that did not advance`}.`,
    });
  },
});
