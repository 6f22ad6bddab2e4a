import { t } from '../../../config/schema.ts';
import type { Severity } from '../../../pipeline/kit/verdict.ts';
import { defineDetector } from '../detector.ts';
import { gpuWords } from '../readings.ts';

/** What an XID asks for: NVIDIA's catalogue, condensed. Codes that are not listed are the application's. */
const FATAL = new Set([
  46, 48, 61, 62, 64, 74, 79, 95, 109, 110, 119, 120, 136, 140, 143, 144, 145, 146, 147, 148, 149, 150, 154, 155, 156,
  158,
]);
const WORN = new Set([63, 92, 94]);

function severityOf(code: number): Severity {
  return FATAL.has(code) ? 'critical' : WORN.has(code) ? 'warning' : 'info';
}

export default defineDetector({
  id: 'gpu-hw-fault',
  class: 'root',
  family: 'hardware',
  scope: 'gpu',
  pace: 'fast',
  meaning: 'A GPU reported a fault of its hardware or driver.',
  rule: 'an XID event (a counter that grew, a last-value gauge that changed to another code, a kernel log line) within hold; its code decides the severity',
  signals: ['hw.errors', 'hw.status'],
  needs: [
    { grade: 'A', signals: ['event.xid'] },
    { grade: 'B', signals: ['hw.errors'] },
  ],
  enable: 'Run the nvidia_gpu receiver (XID events), or scrape dcgm-exporter with DCGM_FI_DEV_XID_ERRORS.',
  params: {
    hold: t.duration({ description: 'How long an event keeps the finding up.', default: '10m' }),
  },
  persist: { k: 1, n: 1 },
  not: [
    'a last-value gauge that has shown the same code since it was first seen',
    'XIDs of the application: 13, 31, 43, 45',
  ],
  remedies: ['G4'],
  wouldChangeMyMind:
    'The kernel log has no such event at that time, or the code belongs to the application’s own crash.',
  evaluate(view) {
    const p = view.params;
    let code: number | undefined;
    let at = Number.NEGATIVE_INFINITY;
    let grade: 'A' | 'B' = 'B';
    const take = (c: number, when: number, g: 'A' | 'B') => {
      if (!(c > 0) || view.now - when > p.hold) return;
      if (code === undefined || FATAL.has(c) || (!FATAL.has(code) && when > at)) {
        code = c;
        at = when;
        grade = g;
      }
    };
    for (const h of view.events.happenings.since(view.now - p.hold, (e) => e.at)) {
      if (!/xid/i.test(h.kind) || h.entity !== view.entity) continue;
      take(Number(h.attributes['code'] ?? h.attributes['xid'] ?? h.attributes['hw.gpu.xid'] ?? Number.NaN), h.at, 'A');
    }
    for (const type of view.values('hw.errors', 'error.type')) {
      if (!/xid/i.test(type)) continue;
      const counted = view.counter('hw.errors', { 'error.type': type });
      for (const channel of counted?.channels ?? []) {
        const { ring } = channel;
        const named = Number(
          /\d+/.exec(channel.attributes['xid'] ?? channel.attributes['error.code'] ?? type)?.[0] ?? Number.NaN,
        );
        for (let i = ring.size - 1; i > 0; i--) {
          const value = ring.v[(ring.start + i) & (ring.v.length - 1)]!;
          const before = ring.v[(ring.start + i - 1) & (ring.v.length - 1)]!;
          const when = ring.t[(ring.start + i) & (ring.v.length - 1)]!;
          if (view.now - when > p.hold) break;
          if (channel.kind === 'counter' && value > before && Number.isFinite(named)) take(named, when, 'B');
          // The gauge keeps the last code for ever: only a change is an event.
          if (channel.kind !== 'gauge' || !(value > 0)) continue;
          if (Number.isFinite(named) ? value > before : value !== before) {
            take(Number.isFinite(named) ? named : value, when, 'B');
          }
        }
      }
    }
    if (code === undefined) return view.clear();
    const severity = severityOf(code);
    const seconds = Math.round((view.now - at) / 1000);
    return view.judge({
      all: [view.fact('hw.errors', true, `XID ${code} ${seconds} s ago`)],
      grade,
      discrete: true,
      severity,
      intensity: severity === 'critical' ? 3 : severity === 'warning' ? 2 : 1,
      tags: [`xid:${code}`, ...(severity === 'info' ? ['application'] : [])],
      summary: `${gpuWords(view)}${view.entity.attributes['pci_bus_id'] ? ` (${view.entity.attributes['pci_bus_id']})` : ''}: XID ${code}${severity === 'info' ? ', which an application causes' : ''}.`,
    });
  },
});
