import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Dashboard } from '@grafana/grafana-foundation-sdk/dashboard';
import type { Dataquery } from '@grafana/grafana-foundation-sdk/prometheus';
import { afterAll, describe, expect, test } from 'vitest';
import { dashboards } from '../../commands/dashboards.ts';
import { builtInSignals } from '../../config/signals.ts';
import { builtInDashboards, dashboardFromText } from '../../pipeline/kit/dashboards/dashboard.ts';
import { grafanaDashboard } from '../../pipeline/kit/dashboards/grafana.ts';
import { runCommand } from '../kit/command.ts';

const folder = mkdtempSync(join(tmpdir(), 'enginelight-dashboards-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const signals = builtInSignals();

/** Grafana's types, whose enums are plain values in JSON, without the marks that tell their classes apart. */
type Json<T> = T extends string
  ? `${T}`
  : T extends readonly (infer E)[]
    ? readonly Json<E>[]
    : T extends object
      ? { readonly [K in keyof T as K extends `_${string}` ? never : K]: Json<T[K]> }
      : T;
/** What these do not allow does not compile. */
const typed = (json: ReturnType<typeof grafanaDashboard>): Json<Dashboard> => json;
type QueryJson = Extract<
  ReturnType<typeof grafanaDashboard>['panels'][number],
  { targets: unknown }
>['targets'][number];
const typedQuery = (query: QueryJson): Json<Dataquery> => query;

interface GrafanaPanel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly targets?: readonly { readonly expr: string; readonly refId: string; readonly legendFormat: string }[];
  readonly panels?: readonly GrafanaPanel[];
  readonly fieldConfig?: { readonly defaults: { readonly unit: string } };
}
interface Grafana {
  readonly uid: string;
  readonly panels: readonly GrafanaPanel[];
  readonly templating: { readonly list: readonly { readonly name: string; readonly definition?: string }[] };
}

const parse = (text: string) => JSON.parse(text) as Grafana;
const panelsOf = (d: Grafana) => d.panels.flatMap((p) => [p, ...(p.panels ?? [])]).filter((p) => p.type !== 'row');
const rendered = (text: string) => {
  const { dashboard, problems } = dashboardFromText(text, 'mine.yaml', signals);
  expect(problems).toEqual([]);
  return grafanaDashboard(dashboard!, signals) as unknown as Grafana;
};
const HEAD = 'title: Mine\ndescription: Of mine.\n';

describe('the dashboards that come with enginelight', () => {
  const all = builtInDashboards(signals);

  test('are what Grafana has types for', () => {
    for (const { dashboard } of all) {
      const json = grafanaDashboard(dashboard!, signals);
      expect(typed(json).schemaVersion).toBe(42);
      for (const panel of json.panels) {
        if (panel.type === 'row') continue;
        for (const query of panel.targets) expect(typedQuery(query).expr).not.toBe('');
      }
    }
  });

  test('are read without a mistake', () => {
    expect(all.flatMap((d) => d.problems)).toEqual([]);
    expect(all.map((d) => d.dashboard!.name)).toEqual(['hardware', 'incidents', 'replicas', 'services']);
  });

  test.each(
    all.map((d) => [d.dashboard!.name, d.dashboard!] as const),
  )('%s: panels lie apart, and queries use only variables that are there', (_name, dashboard) => {
    const json = grafanaDashboard(dashboard, signals) as unknown as Grafana;
    const panels = panelsOf(json);
    expect(new Set(panels.map((p) => p.id)).size).toBe(panels.length);
    const taken = new Set<string>();
    for (const { gridPos, title } of panels) {
      expect(gridPos.x + gridPos.w, title).toBeLessThanOrEqual(24);
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++) {
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
          expect(taken.has(`${x},${y}`), `${title} lies over another panel`).toBe(false);
          taken.add(`${x},${y}`);
        }
      }
    }
    const variables = new Set(['__rate_interval', 'datasource', ...json.templating.list.map((v) => v.name)]);
    for (const panel of panels) {
      expect(panel.targets!.length, panel.title).toBeGreaterThan(0);
      for (const { expr } of panel.targets!) {
        for (const [, name] of expr.matchAll(/\$(\w+)/g)) expect(variables, expr).toContain(name);
      }
    }
  });
});

describe('a panel', () => {
  test('asks for a signal by the name that it has in Prometheus, within what was chosen', () => {
    const json = rendered(`${HEAD}variables: [{ word: service, signal: inference.requests.running }]
rows:
  - title: A
    panels:
      - title: TTFT
        series: [{ signal: gen_ai.server.time_to_first_token, fold: quantile, quantile: 0.95, by: [replica], legend: '{{replica}} p95' }]
      - { title: Errors, series: [{ signal: inference.requests.failed, fold: rate, by: [service], filters: [] }] }
`);
    const [ttft, errors] = panelsOf(json);
    expect(ttft!.targets![0]).toMatchObject({
      expr: 'histogram_quantile(0.95, sum by (instance, le) (rate(gen_ai_server_time_to_first_token_seconds_bucket{job=~"$service"}[$__rate_interval])))',
      legendFormat: '{{instance}} p95',
    });
    expect(ttft!.fieldConfig!.defaults.unit).toBe('s');
    expect(errors!.targets![0]!.expr).toBe('sum by (job) (rate(inference_requests_failed_total[$__rate_interval]))');
    expect(errors!.fieldConfig!.defaults.unit).toBe('suffix: request/s');
    expect(json.templating.list.map((v) => v.definition)).toEqual([
      undefined,
      'label_values(inference_requests_running{}, job)',
    ]);
  });

  test('of a heatmap asks for the buckets', () => {
    const json = rendered(`${HEAD}rows:
  - title: A
    panels: [{ title: All, kind: heatmap, series: [{ signal: gen_ai.server.time_to_first_token, fold: count }] }]
`);
    expect(panelsOf(json)[0]!.targets![0]!.expr).toBe(
      'sum by (le) (increase(gen_ai_server_time_to_first_token_seconds_bucket[$__rate_interval]))',
    );
  });

  test.each([
    ['an unknown signal', '{ title: A, series: [{ signal: inference.kv.usge }] }', 'did you mean inference.kv.usage?'],
    ['an unknown key', '{ title: A, serie: [] }', 'there is no key "serie"; did you mean series?'],
    ['no series', '{ title: A }', 'a panel needs at least one series'],
    [
      'a fold that says nothing',
      '{ title: A, series: [{ signal: inference.kv.usage, fold: rate }] }',
      'rate needs a counter',
    ],
    [
      'a variable that is not there',
      '{ title: A, series: [{ signal: inference.kv.usage, filters: [gpu] }] }',
      'there is no variable gpu',
    ],
  ])('with %s is refused with its place', (_what, panel, message) => {
    const { dashboard, problems } = dashboardFromText(
      `${HEAD}rows:\n  - title: A\n    panels:\n      - ${panel}\n`,
      'mine.yaml',
      signals,
    );
    expect(dashboard).toBeUndefined();
    expect(problems[0]).toMatchObject({ file: 'mine.yaml', line: 6 });
    expect(problems.map((p) => p.message).join()).toContain(message);
  });

  test('whose file is no YAML is refused with its place', () => {
    const { problems } = dashboardFromText('title: [\n', 'mine.yaml', signals);
    expect(problems.length).toBeGreaterThan(0);
    expect(problems[0]!.line).toBeGreaterThan(0);
  });
});

describe('enginelight dashboards', () => {
  test('writes one file for each, or one to standard output', async () => {
    const ran = await runCommand(dashboards, ['export', '--output', folder]);
    expect(ran.code).toBe(0);
    const files = readdirSync(folder).sort();
    expect(files).toEqual(['hardware', 'incidents', 'replicas', 'services'].map((n) => `enginelight-${n}.json`));
    const one = await runCommand(dashboards, ['export', 'replicas']);
    expect(one.out).toBe(readFileSync(join(folder, 'enginelight-replicas.json'), 'utf8'));
    expect(parse(one.out).uid).toBe('enginelight-replicas');
  });

  test('lists what there is, and says what it does not have', async () => {
    expect((await runCommand(dashboards, [])).out).toMatch(/^hardware +What the hardware does/);
    for (const args of [['export'], ['export', 'nothing'], ['show']]) {
      const ran = await runCommand(dashboards, args);
      expect([ran.code, ran.err]).toEqual([2, expect.stringMatching(/several dashboards|there is no/)]);
    }
  });
});
