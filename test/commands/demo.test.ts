import { describe, expect, it } from 'vitest';
import { createScreen, painter } from '../../commands/demo/screen.ts';
import { widthOf, wrap } from '../../commands/demo/wrap.ts';
import type { EntityName, Incident } from '../../pipeline/kit/verdict.ts';
import { incidentRecord } from '../../pipeline/kit/verdict.ts';
import {
  gauge,
  logsBatch,
  metricsBatch,
  NO_ATTRIBUTES,
  NO_RECORDED_VALUE,
  resource,
  scope,
} from '../../pipeline/model.ts';

describe('a line for a terminal', () => {
  it('is broken between words, and goes on under its text', () => {
    expect(wrap('         why     the clock is low because it is hot', 30, 17)).toBe(
      '         why     the clock is\n                 low because\n                 it is hot',
    );
  });
  it('that fits stays as it is, and so does one for no terminal', () => {
    expect(wrap('short', 30, 4)).toBe('short');
    expect(wrap('a line for a file '.repeat(20), Number.POSITIVE_INFINITY, 4)).toBe('a line for a file '.repeat(20));
  });
  it('keeps a long word whole', () => {
    const id = `GPU-${'a'.repeat(60)}`;
    expect(wrap(`hot ${id} here`, 30, 2)).toBe(`hot\n  ${id}\n  here`);
  });
  it('counts no colours', () => {
    const red = painter(true)('red', 'critical');
    expect(widthOf(red)).toBe(8);
    expect(wrap(`${red} incident`, 17, 2)).toBe(`${red} incident`);
    expect(wrap(painter(true)('dim', '  04:46 and so on'), 14, 3)).toBe('\x1b[2m  04:46 and so\n   on\x1b[0m');
  });
});

describe('the screen of the demo', () => {
  const start = Date.parse('2026-05-01T12:00:00Z');
  const entity: EntityName = { kind: 'gpu', id: 'GPU-1', replica: 'r0', node: 'n0', service: 'chat' };
  const incident = (over: Partial<Incident>): Incident =>
    ({
      id: 'inc-1',
      service: 'chat',
      severity: 'critical',
      state: 'open',
      summary: 'It is hot. Path: a → b.',
      impact: { started_at: '', ended_at: null, slo: 'itl', before: 0.02, during: 0.5, unit: 's' },
      detected_at: '2026-05-01T12:04:39Z',
      root: { detector: 'thermal-throttle', entity, probability: 0.9, grade: 'A', finding: 'f', path: [] },
      roots: [],
      candidates: [],
      path: [
        { detector: 'thermal-throttle', entity },
        { detector: 'slo-burn', entity: { kind: 'service', id: 'chat' } },
      ],
      symptoms: [],
      contexts: [],
      ambiguous: null,
      hypotheses: [],
      shared: null,
      metastable: null,
      remedies: [{ code: 'X', action: 'cool it' }],
      quality: [],
      ...over,
    }) as Incident;
  const screen = (live = false, columns = 80) => {
    let out = '';
    const made = createScreen(
      (text) => {
        out += text;
      },
      painter(false),
      live,
      () => start,
      () => columns,
    );
    const say = (i: Incident, at: number) => made.see(logsBatch([incidentRecord(i, start + at * 1000)]));
    return { ...made, sayIncident: say, text: () => out };
  };

  it('says an incident once, what changes, and that it is over', () => {
    const s = screen();
    s.sayIncident(incident({}), 279);
    s.sayIncident(incident({ severity: 'warning' }), 290);
    s.sayIncident(incident({ state: 'resolved' }), 400);
    expect(s.text()).toBe(`  04:39  critical incident  thermal-throttle on gpu GPU-1 (replica r0, node n0)
         90 % sure
         why     It is hot.
         path    thermal-throttle (gpu GPU-1) -> slo-burn (service chat)
         users   itl 20.0 ms -> 500 ms
         do      cool it
  06:40  over      thermal-throttle on gpu GPU-1 (replica r0, node n0)
`);
  });

  it('counts requests in whole numbers, forgets what ended, and keeps its status to one line', () => {
    const s = screen(true, 40);
    const series = (id: string) => ({
      resource: resource(Object.assign(Object.create(null), { 'service.instance.id': id })),
      scope: scope('t'),
      metric: gauge('inference.requests.running', '{request}'),
      attributes: NO_ATTRIBUTES,
    });
    const [a, b] = [series('a'), series('b')];
    const point = (of: typeof a, value: number, flags = 0) => ({ series: of, time: 1n, startTime: 0n, flags, value });
    s.see(metricsBatch([point(a, 10.25), point(b, 3.5)]));
    s.tick(61);
    expect(s.text()).toContain('  01:01  14 requests running, 0 waiting');
    s.see(metricsBatch([point(b, 0, NO_RECORDED_VALUE)]));
    s.tick(62);
    const last = s.text().split('\x1b[2K').at(-1)!;
    expect(last).toContain('10 requests running');
    expect(last.length).toBeLessThan(40);
  });
});
