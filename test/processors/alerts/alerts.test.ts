import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { resolve } from '../../../config/schema.ts';
import { RetryableError } from '../../../pipeline/errors.ts';
import { manualClock } from '../../../pipeline/kit/clock.ts';
import { alertOf, incidentRecord } from '../../../pipeline/kit/verdict.ts';
import { gauge, logsBatch, metricsBatch, nanosFromMs, resource, type Series, scope } from '../../../pipeline/model.ts';
import { alerts } from '../../../processors/alerts/index.ts';
import { sink, testContext } from '../../kit/harness.ts';

const folder = mkdtempSync(join(tmpdir(), 'enginelight-alerts-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** 2026-01-03, a Saturday, 00:00 UTC. */
const T = Date.UTC(2026, 0, 3);
const RULE = `
  - alert: Full
    severity: warning
    by: [service, replica]
    for: 30s
    keep_firing_for: 40s
    labels: { team: infra }
    when: { signal: inference.kv.usage, above: 0.9, clear: 0.8 }
    annotations: { summary: '{{ $labels.replica }} is {{ $value | humanizePercentage }} full' }`;

let files = 0;
function rulesFile(text: string): string {
  const path = join(folder, `rules-${files++}.yaml`);
  writeFileSync(path, text);
  return path;
}

async function start(options: object = {}, rules = `rules:${RULE}`, at = T) {
  const clock = manualClock(at);
  const context = testContext({ id: 'alerts', kind: 'processor', clock });
  const out = sink();
  const config = resolve(alerts.config, { default_rules: false, rule_files: [rulesFile(rules)], ...options });
  const stage = await alerts.start(config, out, context);
  const series = new Map<string, Series>();
  return {
    clock,
    context,
    out,
    stage,
    async set(replica: string, value: number, name = 'inference.kv.usage', service = 'chat') {
      const key = `${replica}|${name}|${service}`;
      const one = series.get(key) ?? {
        resource: resource({ 'service.name': service, 'service.instance.id': replica, 'host.name': `n-${replica}` }),
        scope: scope('test'),
        metric: gauge(name, '1'),
        attributes: {},
      };
      series.set(key, one);
      await stage.consume(
        metricsBatch([{ series: one, time: nanosFromMs(clock.now()), startTime: 0n, flags: 0, value }]),
      );
    },
    /** A sample every ten seconds for so many seconds. */
    async hold(replica: string, value: number, seconds: number) {
      for (let s = 0; s < seconds; s += 10) {
        await this.set(replica, value);
        await clock.advance(10_000);
      }
    },
    alerts: () => out.logs().flatMap((r) => alertOf(r) ?? []),
    active: () =>
      out
        .points()
        .filter((p) => p.series.metric.name === 'enginelight_alert_active' && p.time === nanosFromMs(clock.now()))
        .map((p) => `${p.series.attributes['alertname']} ${p.series.attributes['alertstate']} ${p.flags}`),
  };
}

describe('an alert', () => {
  test('is pending, fires after `for`, stays while it is between both bounds, and is over after `keep_firing_for`', async () => {
    const a = await start();
    await a.hold('r0', 0.95, 20);
    expect(a.active()).toEqual(['Full pending 0']);
    await a.hold('r0', 0.95, 20);
    expect(a.active()).toContain('Full firing 0');
    const [fired] = a.alerts();
    expect(fired).toMatchObject({
      name: 'Full',
      severity: 'warning',
      ends_at: null,
      labels: { alertname: 'Full', severity: 'warning', team: 'infra', service: 'chat', replica: 'r0', node: 'n-r0' },
      annotations: { summary: 'r0 is 95% full' },
      value: 0.95,
    });
    await a.hold('r0', 0.85, 120);
    expect(a.alerts()).toHaveLength(1);
    await a.hold('r0', 0.5, 30);
    expect(a.alerts()).toHaveLength(1);
    await a.hold('r0', 0.5, 20);
    expect(a.alerts()).toHaveLength(2);
    expect(a.alerts()[1]?.ends_at).not.toBeNull();
    expect(a.active()).toEqual([]);
  });

  test('that is pending is forgotten as soon as its condition is false', async () => {
    const a = await start();
    await a.hold('r0', 0.95, 20);
    await a.hold('r0', 0.1, 10);
    await a.hold('r0', 0.95, 20);
    expect(a.alerts()).toEqual([]);
  });

  test('does not end because data is missing, but does when its entity stays away', async () => {
    const a = await start();
    await a.hold('r0', 0.95, 50);
    await a.clock.advance(240_000);
    expect(a.alerts()).toHaveLength(1);
    await a.clock.advance(240_000);
    expect(a.alerts().at(-1)?.ends_at).not.toBeNull();
  });

  test('is said again in time', async () => {
    const a = await start({ repeat_interval: '1m' });
    await a.hold('r0', 0.95, 240);
    expect(a.alerts().length).toBeGreaterThanOrEqual(3);
    expect(new Set(a.alerts().map((x) => x.starts_at)).size).toBe(1);
  });

  test('names the open incident of its service', async () => {
    const a = await start();
    const root = { detector: 'thermal-throttle', entity: { kind: 'gpu', id: 'G', service: 'chat' } };
    const incident = { id: 'i1', service: 'chat', severity: 'critical', state: 'open', summary: 'GPU G is hot', root };
    await a.stage.consume(logsBatch([incidentRecord(incident as never, T)]));
    await a.hold('r0', 0.95, 50);
    expect(a.alerts()[0]?.annotations['incident']).toBe('i1: GPU G is hot');
  });

  test('can be about an incident, while it is open', async () => {
    const rule = `rules:
  - alert: Incident
    severity: critical
    by: [service, incident, gpu]
    for: 0s
    keep_firing_for: 0s
    when: { signal: enginelight_incident_open, where: { severity: critical }, above: 0 }
`;
    const a = await start({}, rule);
    const entity = { kind: 'gpu', id: 'GPU-1', service: 'chat', node: 'n1' };
    const incident = { id: 'i1', service: 'chat', severity: 'warning', state: 'open', summary: 's' };
    const say = (more: object) =>
      a.stage.consume(
        logsBatch([incidentRecord({ ...incident, root: { detector: 'd', entity }, ...more } as never, a.clock.now())]),
      );
    await say({});
    await a.clock.advance(10_000);
    expect(a.alerts()).toEqual([]);
    await say({ severity: 'critical' });
    await a.clock.advance(10_000);
    expect(a.alerts()[0]).toMatchObject({
      labels: { service: 'chat', incident: 'i1', gpu: 'GPU-1', node: 'n1' },
      annotations: { incident: 'i1: s' },
    });
    await say({ severity: 'critical', state: 'resolved' });
    await a.clock.advance(10_000);
    expect(a.alerts().at(-1)?.ends_at).not.toBeNull();
    const gauge = a.out.points().filter((p) => p.series.metric.name === 'enginelight_incident_open');
    expect(gauge.map((p) => [p.series.attributes['severity'], p.flags])).toEqual([
      ['warning', 0],
      ['warning', 1],
      ['critical', 0],
      ['critical', 1],
    ]);
  });

  test('is handed on again when the next stage had no room', async () => {
    const a = await start();
    await a.hold('r0', 0.95, 20);
    a.out.failWith(new RetryableError('full'));
    await a.clock.advance(10_000);
    a.out.failWith(undefined);
    await a.hold('r0', 0.95, 20);
    expect(a.alerts()).toHaveLength(1);
  });
});

describe('quiet', () => {
  const loud = (a: Awaited<ReturnType<typeof start>>) => a.alerts().map((x) => x.suppressed);

  test('silences keep an alert quiet with their reason, until they end', async () => {
    const silence = {
      match: { replica: '~r.' },
      ends_at: new Date(T + 90_000).toISOString(),
      comment: 'Kim swaps fans',
    };
    const a = await start({ silences: [silence] });
    await a.hold('r0', 0.95, 120);
    expect(loud(a)).toEqual(['silence: Kim swaps fans', undefined]);
  });

  test('maintenance comes back on its days, also over midnight and in its time zone', async () => {
    const window = { from: '23:00', to: '02:00', days: ['fri'], comment: 'backups' };
    const a = await start({ maintenance: [window] });
    await a.hold('r0', 0.95, 50);
    const b = await start({ maintenance: [{ ...window, days: ['sat'] }] });
    await b.hold('r0', 0.95, 50);
    // 00:00 UTC is 19:00 of the day before in New York.
    const c = await start({
      maintenance: [{ ...window, from: '18:00', to: '20:00', timezone: 'America/New_York' }],
    });
    await c.hold('r0', 0.95, 50);
    expect([loud(a), loud(b), loud(c)]).toEqual([['maintenance: backups'], [undefined], ['maintenance: backups']]);
  });

  test('an alert that explains another keeps it quiet, where the labels named agree', async () => {
    const a = await start(
      {},
      `rules:${RULE}
  - alert: Down
    severity: critical
    by: [service, replica]
    for: 0s
    when: { signal: up, below: 1 }
inhibit:
  - { source: { alertname: Down }, target: { severity: [warning, info] }, equal: [service, replica] }
`,
    );
    for (let i = 0; i < 6; i++) {
      await a.set('r0', 0, 'up');
      await a.set('r0', 0.95);
      await a.set('r1', 0.95);
      await a.clock.advance(10_000);
    }
    const full = a.alerts().filter((x) => x.name === 'Full');
    expect(full.map((x) => [x.labels['replica'], x.suppressed])).toEqual([
      ['r0', 'inhibited by Down'],
      ['r1', undefined],
    ]);
  });
});

describe('restarts', () => {
  test('what fires goes on firing with its beginning, and what no longer is true ends', async () => {
    const storage = { directory: join(folder, 'state') };
    const a = await start({ storage });
    await a.hold('r0', 0.95, 50);
    const { starts_at } = a.alerts()[0]!;
    await a.stage.stop();

    const b = await start({ storage }, `rules:${RULE}`, a.clock.now() + 30_000);
    await b.hold('r0', 0.95, 20);
    expect(b.alerts().map((x) => [x.starts_at, x.ends_at])).toEqual([[starts_at, null]]);
    await b.hold('r0', 0.1, 60);
    expect(b.alerts().at(-1)).toMatchObject({ starts_at });
    expect(b.alerts().at(-1)?.ends_at).not.toBeNull();
    await b.stage.stop();
  });

  test('a damaged file costs the memory, not the start', async () => {
    const directory = join(folder, 'broken');
    const a = await start({ storage: { directory } });
    await a.stage.stop();
    expect(JSON.parse(readFileSync(join(directory, 'alerts.json'), 'utf8'))).toEqual({ version: 1, alerts: [] });
    for (const text of ['{"version":1,"alerts":[1,null,{"rule":"Full","severity":"warning"}]}', '{"vers', '[]', '{}']) {
      writeFileSync(join(directory, 'alerts.json'), text);
      const b = await start({ storage: { directory } });
      await b.hold('r0', 0.95, 50);
      expect(b.alerts()).toHaveLength(1);
    }
  });
});

describe('rules that can never fire', () => {
  const twoRules = `rules:${RULE}
  - alert: Blind
    when: { signal: hw.temperature, above: 80 }
`;
  test('are reported at run time, and no longer once somebody exposes the signal', async () => {
    const a = await start({ blind_after: '1m' }, twoRules);
    await a.hold('r0', 0.5, 120);
    expect(a.context.statuses.at(-1)).toMatchObject({ status: 'recoverable_error' });
    expect(a.context.log.records.filter((r) => r.level === 'warn').map((r) => JSON.stringify(r))).toEqual([
      expect.stringContaining('Blind (hw.temperature)'),
    ]);
    expect(a.context.measured.gauges.get('alerts_rules_blind')?.()).toBe(1);
    const last = a.out.points().filter((p) => p.series.metric.name === 'enginelight_alert_rule_blind');
    expect(last.at(-1)?.series.attributes).toMatchObject({ rule: 'Blind', missing: 'hw.temperature' });
    await a.set('r0', 40, 'hw.temperature');
    await a.clock.advance(10_000);
    expect(a.context.statuses.at(-1)).toMatchObject({ status: 'ok' });
  });

  test('are refused at load when no source could give the signal, with the nearest name and the place', () => {
    const path = rulesFile('rules:\n  - alert: Typo\n    when: { signal: inference.kv.usge, above: 0.9 }\n');
    const config = resolve(alerts.config, {
      rule_files: [path],
      disabled: ['EngineDwon'],
      parameters: { kv_presure: 0.8 },
      silences: [{ ends_at: 'tomorrow', comment: '' }],
      maintenance: [{ from: '25:00', to: '02:00', timezone: 'Mars/Base', comment: '' }],
    });
    const messages = alerts.validate!(config).map((m) => m.message);
    expect(messages.join('\n')).toContain(`${path}:3:21: there is no signal inference.kv.usge`);
    expect(messages.join('\n')).toContain('did you mean inference.kv.usage?');
    expect(messages.slice(1)).toEqual([
      'there is no rule EngineDwon; did you mean EngineDown?',
      'no rule file has a parameter kv_presure; did you mean kv_pressure?',
      '"tomorrow" is no time; write 2026-05-01T18:00:00Z',
      'there is no time zone "Mars/Base"; write UTC or Europe/Berlin',
      '"25:00" is no time of day; write 02:00',
    ]);
  });
});

describe('bad input', () => {
  test('hostile labels are cut and cleaned, and limits hold', async () => {
    const a = await start({ limits: { series: 50, alerts: 20 } });
    for (let round = 0; round < 6; round++) {
      for (let i = 0; i < 100; i++) await a.set(`${i}\u0000\u001b[31m${'x'.repeat(1000)}`, 0.95);
      await a.clock.advance(10_000);
    }
    expect(a.alerts()).toHaveLength(20);
    for (const { labels } of a.alerts()) {
      // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there
      expect(labels['replica']).not.toMatch(/[\u0000-\u001f]/);
      expect(labels['replica']!.length).toBeLessThan(250);
    }
    expect(a.context.measured.gauges.get('alerts_series')?.()).toBe(50);
    expect(a.context.measured.counters.get('alerts_refused')).toBeGreaterThan(0);
  });

  test('a clock that goes back, and samples that do, change nothing that was said', async () => {
    const a = await start();
    await a.hold('r0', 0.95, 50);
    await a.clock.setTime(T);
    await a.hold('r0', 0.95, 50);
    expect(a.alerts().filter((x) => x.ends_at !== null)).toEqual([]);
  });
});
