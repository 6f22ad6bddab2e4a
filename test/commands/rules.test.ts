import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { rules } from '../../commands/rules.ts';
import { test as testCommand } from '../../commands/test.ts';
import { loadCatalog } from '../../config/catalog.ts';
import { alerts } from '../../processors/alerts/index.ts';
import { runCommand } from '../kit/command.ts';

const folder = mkdtempSync(join(tmpdir(), 'enginelight-rules-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const registry = { receivers: [], processors: [alerts], exporters: [], extensions: [], catalog: loadCatalog() };

let files = 0;
function file(text: string): string {
  const path = join(folder, `rules-${files++}.yaml`);
  writeFileSync(path, text);
  return path;
}
const RULE = `rules:
  - alert: Full
    by: [service, replica]
    for: 30s
    when: { signal: inference.kv.usage, above: $limit }
    annotations: { summary: '{{ $labels.replica }} is at {{ $value }}' }
parameters: { limit: 90% }
`;
const test_ = (at: string, value: number) => `tests:
  - name: full
    interval: 15s
    series: [{ signal: inference.kv.usage, of: { service: chat, replica: r0 }, values: '${value}x10' }]
    expect: [{ at: ${at}, alert: Full, firing: [{ replica: r0 }] }]
`;

describe('enginelight test', () => {
  test('runs the tests of rule files and says which failed, and how', async () => {
    const good = file(RULE + test_('1m', 0.95));
    const bad = file(RULE + test_('1m', 0.5));
    const early = file(RULE + test_('15s', 0.95));
    expect(await runCommand(testCommand, ['rules', good], { registry })).toMatchObject({
      code: 0,
      out: '1 files, 1 rules: 1 tests passed, 0 failures\n',
    });
    const all = await runCommand(testCommand, [good, bad, early], { registry });
    expect(all.code).toBe(1);
    expect(all.out).toContain(`${bad}: FAILED full\n    at 60s Full {replica=r0} should fire, and does not\n`);
    expect(all.out).toContain(`${early}: FAILED full\n    at 15s Full {replica=r0} should fire, and does not\n`);
  });

  test('says where a rule file is wrong', async () => {
    const wrong = file('rules:\n  - alert: Full\n    when: { signal: inference.kv.usage, above: 95 }\n');
    const ran = await runCommand(testCommand, [wrong], { registry });
    expect(ran.code).toBe(1);
    expect(ran.out).toContain(`${wrong}:3:48: inference.kv.usage is a fraction between 0 and 1`);
  });

  test('names rules that no test sees fire, when asked', async () => {
    const ran = await runCommand(testCommand, ['--untested', file(RULE)], { registry });
    expect(ran).toMatchObject({ code: 1 });
    expect(ran.out).toContain('no test sees these fire: Full');
  });
});

describe('enginelight rules', () => {
  const exprOf = async (when: string, by = '[service, replica]') => {
    const path = file(`rules:\n  - { alert: A, by: ${by}, when: ${when} }\n`);
    const { out, err, code } = await runCommand(rules, ['export', path]);
    return code === 0 && err === '' ? parse(out).groups[0].rules[0].expr : err;
  };

  test('exports with the labels that alerts have here, over the names of our exporters', async () => {
    const { out } = await runCommand(rules, ['export', file(RULE), '--set', 'limit=85%']);
    expect(parse(out).groups[0].rules).toEqual([
      {
        alert: 'Full',
        expr: 'max by (job, instance) (inference_kv_usage_ratio{tier="", pool="", statistic="", state=""}) > 0.85',
        for: '30s',
        keep_firing_for: '1m',
        labels: { severity: 'warning', service: '{{ $labels.job }}', replica: '{{ $labels.instance }}' },
        annotations: { summary: '{{ $labels.instance }} is at {{ $value }}' },
      },
    ]);
  });

  test('says each fold, quotient and condition in PromQL', async () => {
    expect(
      await exprOf(
        '{ signal: inference.requests.failed, window: 5m, divided_by: { signal: inference.requests.finished, window: 5m }, min_count: 20, above: 5% }',
      ),
    ).toBe(
      'sum by (job, instance) (increase(inference_requests_failed_total[5m])) / on (job, instance) (sum by (job, instance) (increase(inference_requests_finished_total[5m])) >= 20) > 0.05',
    );
    expect(
      await exprOf(
        '{ signal: gen_ai.server.time_to_first_token, fold: share_above, threshold: 2s, above: 50% }',
        '[service]',
      ),
    ).toBe(
      '((1 - sum by (job) (increase(gen_ai_server_time_to_first_token_seconds_bucket{le=~"2(\\\\.0)?"}[1m])) / on (job) sum by (job) (increase(gen_ai_server_time_to_first_token_seconds_count[1m]))) and on (job) sum by (job) (increase(gen_ai_server_time_to_first_token_seconds_count[1m])) >= 20) > 0.5',
    );
    expect(
      await exprOf('{ all: [{ signal: up, below: 1 }, { not: { signal: inference.requests.running, above: 0 } }] }'),
    ).toBe(
      '(min by (job, instance) (up) < 1) unless on (job, instance) (sum by (job, instance) (inference_requests_running{statistic=""}) > 0)',
    );
  });

  test('says what Prometheus cannot', async () => {
    expect(await exprOf('{ not: { signal: up, above: 0 } }')).toContain('left out: A has a `not` outside of an `all`');
  });

  test('writes one file for each of ours, and the tests beside it', async () => {
    const output = join(folder, 'out');
    const ran = await runCommand(rules, ['export', '--output', output, '--tests']);
    expect(ran.code).toBe(0);
    const names = readdirSync(output);
    expect(names).toContain('enginelight-kv.rules.yaml');
    expect(names).toContain('enginelight-kv.tests.yaml');
    expect(parse(readFileSync(join(output, 'enginelight-kv.tests.yaml'), 'utf8')).rule_files).toEqual([
      'enginelight-kv.rules.yaml',
    ]);
    expect(ran.err).not.toContain('left out');
  });

  test('gives inhibitions in the form of Alertmanager', async () => {
    const { out } = await runCommand(rules, ['inhibitions']);
    expect(parse(out).inhibit_rules[1]).toEqual({
      source_matchers: ['alertname="ServiceDown"'],
      target_matchers: ['alertname=~"EngineDown|MetricsBroken"'],
      equal: ['service'],
    });
  });

  test('lists', async () => {
    expect((await runCommand(rules, ['list'])).out).toContain('critical  EngineDown');
    expect((await runCommand(rules, ['lst'])).err).toContain('there is no "rules lst"; there are list, export');
    expect((await runCommand(rules, ['export', '/nowhere.yaml'])).code).toBe(1);
  });
});
