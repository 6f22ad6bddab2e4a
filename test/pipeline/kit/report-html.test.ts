import { readFileSync } from 'node:fs';
import { Ajv } from 'ajv';
import { describe, expect, it } from 'vitest';
import { type Report, reportBuilder, reportOf } from '../../../pipeline/kit/report.ts';
import { reportHtml } from '../../../pipeline/kit/report-html.ts';
import { clockTime, duration, esc, quantity } from '../../../pipeline/kit/report-html-text.ts';
import { createHistory } from '../../../pipeline/kit/report-series.ts';
import { alertRecord, findingRecord, incidentRecord, insufficientRecord } from '../../../pipeline/kit/verdict.ts';
import { logsBatch } from '../../../pipeline/model.ts';
import { aFinding, anIncident, clocks, GPU, T } from '../../kit/incident.ts';

const schema = JSON.parse(readFileSync(new URL('../../../config/report.schema.json', import.meta.url), 'utf8'));

function report(over: { finding?: object; incident?: object } = {}): Report {
  const builder = reportBuilder();
  builder.add(
    logsBatch([
      findingRecord(aFinding(over.finding), T),
      incidentRecord(anIncident(over.incident), T + 20_000),
      insufficientRecord(
        {
          detector: 'kv-transfer-bound',
          entity: { kind: 'service', id: 'chat' },
          entities: 4,
          missing: ['inference.pd.queue'],
          enable: 'Switch the hook on.',
        },
        T,
      ),
      alertRecord(
        {
          name: 'HighTTFT',
          severity: 'critical',
          labels: { service: 'chat' },
          starts_at: new Date(T).toISOString(),
          ends_at: null,
          annotations: { summary: 'TTFT is high' },
        },
        { kind: 'service', id: 'chat' },
        T,
      ),
    ]),
  );
  return builder.build({ lines: 10, skipped: 1 });
}

const history = (gpus = 8) => {
  const kept = createHistory({ full: 'grow' });
  for (const batch of clocks({ gpus, seconds: 1200, everyS: 5, slow: GPU.id })) kept.add(batch);
  return kept;
};

describe('the JSON report', () => {
  const validate = new Ajv({ strict: false, validateFormats: false }).compile(schema);

  it('is what its published schema says', () => {
    expect(validate(JSON.parse(JSON.stringify(report()))) || validate.errors).toBe(true);
  });

  it('of nothing is what the schema says, too', () => {
    expect(validate(JSON.parse(JSON.stringify(reportBuilder().build()))) || validate.errors).toBe(true);
  });

  it('without its root is refused by the schema', () => {
    const broken = JSON.parse(JSON.stringify(report()));
    delete broken.incidents[0].root;
    expect(validate(broken)).toBe(false);
  });
});

describe('the HTML report', () => {
  it('says first what broke, then what to do, then shows the proof', () => {
    const html = reportHtml(report(), { history: history() });
    const order = ['<h1>', 'What to do', 'Timeline', 'Evidence', 'Other causes', 'What could not be judged'];
    const places = order.map((words) => html.indexOf(words));
    expect(places.every((place) => place > 0)).toBe(true);
    expect([...places].sort((a, b) => a - b)).toEqual(places);
    for (const words of ['kubectl cordon', 'capacity while drained', 'hw.gpu.clock of that GPU', 'Switch the hook on.'])
      expect(html).toContain(words);
  });

  it('needs nothing from outside: no script, no address, no file', () => {
    const html = reportHtml(report(), { history: history() });
    expect(html).not.toMatch(/<script|<link|<img|<iframe|@import|url\(|\son[a-z]+=|https?:\/\//i);
    expect(html).toContain("default-src 'none'");
  });

  it('draws the guilty line, its peers, and the query that shows the same', () => {
    const html = reportHtml(report(), { history: history() });
    expect(html).toMatch(/<path class="own o0" d="[ML][^"N]+"/);
    expect(html).toContain('7 peers (range, median)');
    expect(html).toContain('hw_gpu_clock_hertz{hw_id=&quot;GPU-3&quot;');
    expect(html).not.toMatch(/NaN|undefined|\[object/);
  });

  it('draws the causal path from bar to bar', () => {
    const html = reportHtml(report(), { history: history() });
    expect(html.match(/class="arrow"/g)).toHaveLength(1);
    expect(html).toContain('root: thermal-throttle');
  });

  it('says that nothing was wrong when nothing was', () => {
    expect(reportHtml(reportBuilder().build())).toContain('No incident in this time');
  });

  it('escapes what strangers wrote, wherever it is shown', () => {
    const evil = `</style></script><img src=x onerror=alert(1)>"' onload="x"\u001b[31m\u202e`;
    const entity = { kind: 'gpu' as const, id: evil, service: evil, replica: evil, node: evil };
    const html = reportHtml(
      report({
        finding: { entity, summary: evil, would_change_my_mind: evil, detector: evil },
        incident: {
          service: evil,
          summary: evil,
          ambiguous: evil,
          quality: [evil],
          path: [{ detector: evil, entity }],
          root: { ...anIncident().root, detector: evil, entity },
        },
      }),
      { history: history() },
    );
    expect(html).not.toContain('<img');
    expect(html).not.toContain('\u001b');
    expect(html).not.toContain('\u202e');
    expect(html).toContain('\\x1b[31m');
    expect(html.match(/<\/style>/g)).toHaveLength(1);
  });

  it('stays small when a label is 10⁵ characters long', () => {
    const long = 'x'.repeat(100_000);
    const html = reportHtml(report({ incident: { service: long, summary: long }, finding: { summary: long } }));
    expect(html.length).toBeLessThan(60_000);
    expect(html).toContain('(100,000 characters)');
  });

  it('of 32 GPUs over 20 minutes is below 1.5 MiB', () => {
    expect(Buffer.byteLength(reportHtml(report(), { history: history(32) }))).toBeLessThan(1.5 * 2 ** 20);
  });

  it('of hundreds of incidents and 10⁴ findings is below 1.5 MiB and says how many it leaves out', () => {
    const builder = reportBuilder();
    const incidents = Array.from({ length: 300 }, (_, i) => incidentRecord(anIncident({ id: `i${i}` }), T));
    const findings = Array.from({ length: 10_000 }, (_, i) => findingRecord(aFinding({ id: `x${i}` }), T));
    builder.add(logsBatch([...incidents, ...findings]));
    const html = reportHtml(builder.build(), { history: history(32) });
    expect(Buffer.byteLength(html)).toBeLessThan(1.5 * 2 ** 20);
    expect(html).toContain('more in the JSON report');
  });
});

describe('the part of a report about one incident', () => {
  it('has its findings and no others', () => {
    const builder = reportBuilder();
    builder.add(
      logsBatch([
        findingRecord(aFinding(), T),
        findingRecord(aFinding({ id: 'other' }), T),
        incidentRecord(anIncident(), T),
      ]),
    );
    const full = builder.build();
    expect(reportOf(full, full.incidents[0]!).findings.map((f) => f.id)).toEqual(['f1']);
  });

  it('a builder forgets what was over long ago, and keeps what is open', () => {
    const builder = reportBuilder();
    const over = new Date(T + 1000).toISOString();
    builder.add(
      logsBatch([
        findingRecord(aFinding({ ended_at: over, state: 'resolved' }), T),
        findingRecord(aFinding({ id: 'open' }), T),
        incidentRecord(anIncident({ state: 'resolved', impact: { ...anIncident().impact, ended_at: over } }), T),
        incidentRecord(anIncident({ id: 'open' }), T),
      ]),
    );
    builder.forget(T + 2000);
    const kept = builder.build();
    expect(kept.findings.map((f) => f.id)).toEqual(['open']);
    expect(kept.incidents.map((i) => i.id)).toEqual(['open']);
  });
});

describe('text of a report', () => {
  it.each([
    ['<a href="x">&\'', '&lt;a href=&quot;x&quot;&gt;&amp;&#39;'],
    ['two\nlines', 'two lines'],
    ['bell\u0007', 'bell\\x07'],
    ['half \ud800 pair', 'half \ufffd pair'],
  ])('%j is shown as %j', (text, shown) => expect(esc(text)).toBe(shown));

  it.each([
    [1_410_000_000, 'Hz', '1.41 GHz'],
    [0.0475, 's', '47.5 ms'],
    [3 * 2 ** 30, 'By', '3 GiB'],
    [0.07, '1', '0.07'],
    [256, '{request}', '256 request'],
  ])('%d %s reads %s', (n, unit, shown) => expect(quantity(n, unit)).toBe(shown));

  it('times are short', () => {
    expect(clockTime(T)).toBe('12:00:00');
    expect([40_000, 160_000, 7_260_000].map(duration)).toEqual(['40 s', '2 min 40 s', '2 h 1 min']);
  });
});
