import { describe, expect, it } from 'vitest';
import { resolve } from '../../config/schema.ts';
import { consoleOn } from '../../exporters/console/index.ts';
import { type Finding, findingRecord } from '../../pipeline/kit/verdict.ts';
import {
  type Attributes,
  gauge,
  type HistogramPoint,
  logsBatch,
  type Metric,
  metricsBatch,
  NO_ATTRIBUTES,
  NO_RECORDED_VALUE,
  type NumberPoint,
  type Point,
  resource,
  scope,
  sum,
} from '../../pipeline/model.ts';
import { testContext } from '../kit/harness.ts';
import { records } from '../kit/parts.ts';

const by = scope('test');

/** One replica whose series keep their identity, as a scraper's do. */
function replica(attributes: Attributes) {
  const about = resource(attributes);
  const series = new Map<string, NumberPoint['series']>();
  const of = (metric: Metric, labels: Attributes) => {
    const key = metric.name + JSON.stringify(labels);
    const made = series.get(key) ?? { resource: about, scope: by, metric, attributes: labels };
    series.set(key, made);
    return made;
  };
  const number = (metric: Metric, value: number, labels: Attributes = NO_ATTRIBUTES, flags = 0): NumberPoint => ({
    series: of(metric, labels),
    time: 1n,
    startTime: 0n,
    flags,
    value,
  });
  const histogram = (name: string, bucketCounts: number[]): HistogramPoint => {
    const metric: Metric = { ...gauge(name, 's'), type: 'histogram', temporality: 2 };
    const count = bucketCounts.reduce((a, b) => a + b, 0);
    const bounds = new Float64Array([0.1, 0.2, 0.4]);
    return {
      series: of(metric, NO_ATTRIBUTES),
      time: 1n,
      startTime: 0n,
      flags: 0,
      count,
      bounds,
      bucketCounts: new Float64Array(bucketCounts),
    };
  };
  return {
    running: (n: number, labels?: Attributes, flags?: number) =>
      number(gauge('inference.requests.running', '{request}'), n, labels, flags),
    kv: (n: number) => number(gauge('inference.kv.usage', '1'), n),
    output: (n: number) => number(sum('inference.tokens.generated', '{token}'), n),
    ttft: (counts: number[]) => histogram('gen_ai.server.time_to_first_token', counts),
    up: (n: number) => number(gauge('up', '1'), n),
  };
}

async function screen(options: unknown = {}) {
  let text = '';
  let first = true;
  const definition = consoleOn({ write: (more) => (text += more) });
  const context = testContext({ kind: 'exporter', id: 'console' });
  const stage = await definition.start(resolve(definition.config, options), context);
  const clock = context.clock as ReturnType<typeof import('../../pipeline/kit/clock.ts').manualClock>;
  return {
    stage,
    give: (...points: Point[]) => stage.consume(metricsBatch(points)),
    written: () => text,
    /** What was written since the last call, after one interval. */
    async next() {
      text = '';
      await clock.advance(first ? 3000 : 5000);
      first = false;
      return text;
    },
  };
}

const cells = (line: string | undefined) => line?.split(/ {2,}/);

describe('console', () => {
  it('shows one line for each replica, in natural order, with what the engine says and a dash for what it does not', async () => {
    const s = await screen();
    const r10 = replica({ 'service.instance.id': 'r10', 'inference.engine': 'vllm' });
    const r2 = replica({ 'service.instance.id': 'r2', 'inference.engine': 'sglang' });
    s.give(r10.running(3, { model_name: 'llama' }), r10.kv(0.256), r2.running(1));
    const lines = (await s.next()).split('\n');
    expect(cells(lines[1])).toEqual(
      'REPLICA|ENGINE|MODEL|RUNNING|WAITING|KV|TTFT p50|p95|ITL p50|PROMPT tok/s|OUTPUT tok/s'.split('|'),
    );
    expect(cells(lines[2])).toEqual(['r2', 'sglang', '-', '1', '-', '-', '-', '-', '-', '-', '-']);
    expect(cells(lines[3])).toEqual(['r10', 'vllm', 'llama', '3', '-', '26 %', '-', '-', '-', '-', '-']);
  });

  it('shows rates and quantiles of what happened since the last table, also across a restart of the engine', async () => {
    const s = await screen();
    const r = replica({ 'service.instance.id': 'r', 'inference.engine': 'vllm' });
    s.give(r.output(1_000_000), r.ttft([500, 0, 0, 0]));
    expect(await s.next()).toContain('vllm');
    s.give(r.output(1_000_500), r.ttft([500, 10, 0, 0]));
    let line = (await s.next()).split('\n')[2];
    expect(cells(line)?.slice(6)).toEqual(['150 ms', '195 ms', '-', '-', '100']);
    s.give(r.output(250), r.ttft([0, 0, 2, 0]));
    line = (await s.next()).split('\n')[2];
    expect(cells(line)?.slice(6)).toEqual(['300 ms', '390 ms', '-', '-', '50']);
  });

  it('adds up the series of one replica and leaves out the ones that ended', async () => {
    const s = await screen();
    const r = replica({ 'service.instance.id': 'r', 'inference.engine': 'vllm' });
    s.give(r.running(2, { model_name: 'a' }), r.running(3, { model_name: 'b' }));
    expect(cells((await s.next()).split('\n')[2])?.[3]).toBe('5');
    s.give(r.running(0, { model_name: 'b' }, NO_RECORDED_VALUE));
    expect(cells((await s.next()).split('\n')[2])?.[3]).toBe('2');
  });

  it('marks a replica that cannot be scraped and forgets one that is gone', async () => {
    const s = await screen();
    const r = replica({ 'service.instance.id': 'r', 'inference.engine': 'vllm' });
    s.give(r.running(2), r.up(1));
    await s.next();
    s.give(r.up(0));
    expect(await s.next()).toContain('vllm (down)');
    let text = '';
    for (let i = 0; i < 62; i++) text = (await s.next()) || text;
    expect(text).toContain('No inference engine seen yet');
  });

  it('says once how to point it at an engine while there is none, and a failed scrape is not an engine', async () => {
    const s = await screen({ hint: 'Try http://HOST:PORT.' });
    s.give(replica({ 'service.instance.id': '127.0.0.1:8000' }).up(0));
    expect(await s.next()).toBe('No inference engine seen yet after 3 s; still looking. Try http://HOST:PORT.\n');
    expect(await s.next()).toBe('');
  });

  it('writes a line for a finding that fires and one when it is resolved, not for one that is repeated or pending', async () => {
    const s = await screen();
    const finding = {
      id: 'f1',
      detector: 'thermal-throttle',
      class: 'root',
      entity: { kind: 'gpu', id: 'GPU-1', node: 'n3' },
      severity: 'critical',
      state: 'pending',
      summary: 'The GPU runs at 62 % of its clock because it is too hot.',
    } as Finding;
    const give = (f: Finding) => s.stage.consume(logsBatch([findingRecord(f, 1000)]));
    give(finding);
    expect(s.written()).toBe('');
    give({ ...finding, state: 'firing' });
    give({ ...finding, state: 'firing' });
    give({ ...finding, state: 'resolved' });
    s.stage.consume(records(2));
    expect(s.written().replaceAll(/^\S+ /gm, '')).toBe(
      'critical: thermal-throttle on gpu GPU-1 (node n3): The GPU runs at 62 % of its clock because it is too hot.\n' +
        'resolved: thermal-throttle on gpu GPU-1 (node n3): The GPU runs at 62 % of its clock because it is too hot.\n',
    );
  });

  it("does not let a peer's names reach the terminal as control characters", async () => {
    const s = await screen();
    s.give(replica({ 'service.instance.id': 'r\u001b[2J', 'inference.engine': 'vllm' }).running(1));
    expect(await s.next()).toContain('r?[2J');
  });

  it('takes nothing after it was stopped', async () => {
    const s = await screen();
    await s.stage.stop();
    await s.stage.stop();
    expect(() => s.give(replica({}).running(1))).toThrow('stopping');
    expect(await s.next()).toBe('');
  });
});
