import { mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type BadLine, readRecordings } from '../../../pipeline/kit/recording-files.ts';
import { isHistogramPoint, isNumberPoint, type Point, type Span } from '../../../pipeline/model.ts';
import type { RecordingLine } from '../../../pipeline/wire/recording.ts';

const FIXTURES = fileURLToPath(new URL('../../fixtures/bench/', import.meta.url));
const dumps: Record<string, string> = JSON.parse(
  readFileSync(new URL('../../fixtures/pickle/python.json', import.meta.url), 'utf8'),
);
let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'enginelight-others-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const WRITTEN = Date.parse('2026-05-01T12:00:00Z');
function write(name: string, content: string | Buffer): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  utimesSync(path, WRITTEN / 1000, WRITTEN / 1000);
  return path;
}

async function read(path: string) {
  const bad: BadLine[] = [];
  const lines: RecordingLine[] = [];
  for await (const line of readRecordings([path], (b) => bad.push(b))) lines.push(line);
  const batches = lines.flatMap((l) => (l.kind === 'batch' ? l.batches : []));
  const points: Point[] = batches.flatMap((b) => (b.signal === 'metrics' ? b.items : []));
  const spans: Span[] = batches.flatMap((b) => (b.signal === 'traces' ? b.items : []));
  const last = (name: string) => points.findLast((p) => p.series.metric.name === name);
  const value = (name: string) => {
    const p = last(name);
    return p && isNumberPoint(p) ? Number(p.value) : undefined;
  };
  const mean = (name: string) => {
    const p = last(name);
    return p && isHistogramPoint(p) ? p.sum! / Number(p.count) : Number.NaN;
  };
  const count = (name: string) => {
    const p = last(name);
    return p && isHistogramPoint(p) ? Number(p.count) : 0;
  };
  return { bad, lines, points, spans, last, value, mean, count };
}

const TTFT = 'gen_ai.server.time_to_first_token';
const ITL = 'inference.inter_token.latency';
const E2E = 'gen_ai.server.request.duration';
const mean = (xs: readonly number[]) => xs.reduce((a, b) => a + b, 0) / xs.length;

describe('results of load generators are recordings', () => {
  test('guidellm: every request at its time, levels one after the other', async () => {
    const got = await read(join(FIXTURES, 'guidellm.json'));
    expect(got.bad).toEqual([]);
    const report = JSON.parse(readFileSync(join(FIXTURES, 'guidellm.json'), 'utf8'));
    const own = report.benchmarks.map((b: { requests: { successful: object[] } }) => b.requests.successful);
    // The report says of how many requests it keeps six: what is known of all is used, not what is known of the six.
    const completed = report.benchmarks.map((b: { metrics: { request_totals: { successful: number } } }) =>
      Number(b.metrics.request_totals.successful),
    );
    expect(got.value('inference.requests.finished')).toBe(completed[0] + completed[1]);
    expect(got.spans).toHaveLength(own[0].length + own[1].length);
    const first = own[0][0];
    expect(got.spans[0]!.attributes['gen_ai.server.time_to_first_token']).toBeCloseTo(
      first.time_to_first_token_ms / 1000,
      6,
    );
    expect(got.points[0]!.series.resource.attributes['service.name']).toBe('tiny');
    const times = got.lines.map((l) => l.timeMs);
    expect(times).toEqual([...times].sort((a, b) => a - b));
  });

  test('guidellm: where all requests are kept, each counts in the second in which it happened', async () => {
    const report = JSON.parse(readFileSync(join(FIXTURES, 'guidellm.json'), 'utf8'));
    for (const b of report.benchmarks)
      for (const m of Object.values(b.metrics)) delete (m as { successful?: object }).successful;
    const got = await read(write('all.json', JSON.stringify(report)));
    const own = report.benchmarks.flatMap((b: { requests: { successful: object[] } }) => b.requests.successful);
    expect(got.value('inference.requests.finished')).toBe(own.length);
    expect(got.value('inference.tokens.generated')).toBeCloseTo(
      own.reduce((sum: number, r: { output_tokens: number }) => sum + r.output_tokens, 0),
      6,
    );
    expect(got.mean(TTFT) * 1000).toBeCloseTo(
      mean(own.map((r: { time_to_first_token_ms: number }) => r.time_to_first_token_ms)),
      6,
    );
    // One stream, then eight: six requests at once at most are kept of the second level.
    const running = got.points
      .filter((p) => p.series.metric.name === 'inference.requests.running')
      .map((p) => (isNumberPoint(p) ? Number(p.value) : 0));
    expect(Math.max(...running.slice(0, 5))).toBeLessThanOrEqual(1.001);
    expect(Math.max(...running)).toBeGreaterThan(2);
  });

  test('AIPerf: records and summaries, with the gaps between outputs', async () => {
    const got = await read(join(FIXTURES, 'aiperf.jsonl'));
    expect(got.bad).toEqual([]);
    const records = readFileSync(join(FIXTURES, 'aiperf.jsonl'), 'utf8')
      .trim()
      .split('\n')
      .map((l) => JSON.parse(l));
    expect(got.value('inference.requests.finished')).toBe(records.length);
    expect(got.mean(E2E) * 1000).toBeCloseTo(mean(records.map((r) => r.metrics.request_latency.value)), 6);
    const gaps = records.flatMap((r) => r.metrics.inter_chunk_latency?.value ?? []);
    expect(got.count(ITL)).toBe(gaps.length);
    expect(got.mean(ITL) * 1000).toBeCloseTo(mean(gaps), 6);
    const summary = await read(join(FIXTURES, 'aiperf-summary.json'));
    expect(summary.bad).toEqual([]);
    expect(summary.value('inference.requests.finished')).toBe(120);
    expect(summary.mean(E2E)).toBeCloseTo(0.1722419, 6);
    expect(summary.lines.at(-1)!.timeMs).toBe(Date.parse('2026-12-01T15:32:20.918Z'));
    expect(summary.points[0]!.series.resource.attributes['service.name']).toBe('tiny');
  });

  test('SGLang: with and without the single requests; several results in a file follow one another', async () => {
    const text = readFileSync(join(FIXTURES, 'sglang-details.jsonl'), 'utf8');
    const result = JSON.parse(text);
    const got = await read(write('details.jsonl', text));
    expect(got.bad).toEqual([]);
    expect(got.mean(TTFT)).toBeCloseTo(mean(result.ttfts), 9);
    expect(got.mean(ITL)).toBeCloseTo(mean(result.itls.flat()), 9);
    expect(got.lines.at(-1)!.timeMs).toBe(WRITTEN);
    const summary = readFileSync(join(FIXTURES, 'sglang.jsonl'), 'utf8');
    const two = await read(write('two.jsonl', summary + summary));
    expect(two.bad).toEqual([]);
    expect(two.value('inference.requests.finished')).toBe(2 * result.completed);
    expect(two.mean(TTFT)).toBeCloseTo(result.mean_ttft_ms / 1000, 9);
    expect(two.lines.at(-1)!.timeMs).toBe(WRITTEN);
    const ends = [...new Set(two.lines.map((l) => l.timeMs))];
    expect(ends[2]! - ends[1]!).toBeCloseTo(60_000, 0);
  });

  test('vllm bench serve: requests by the clock of the client, failed ones counted as failed', async () => {
    const result = {
      date: '20260501-120010',
      backend: 'openai',
      model_id: 'qwen',
      request_rate: 'inf',
      max_concurrency: 2,
      duration: 10,
      completed: 2,
      failed: 1,
      total_input_tokens: 30,
      total_output_tokens: 7,
      request_throughput: 0.2,
      input_lens: [10, 20, 10],
      output_lens: [3, 4, 0],
      ttfts: [0.1, 0.2, 0],
      itls: [[0.05, 0.05], [0.1, 0.1, 0.1], []],
      start_times: [700.5, 703.5, 704],
      errors: ['', '', 'Internal Server Error'],
    };
    const got = await read(write('vllm.json', JSON.stringify(result)));
    expect(got.bad).toEqual([]);
    expect(got.spans.map((s) => Number(s.startTime / 1_000_000n) - WRITTEN)).toEqual([0, 3000, 3500]);
    expect(got.count(TTFT)).toBe(2);
    expect(got.mean(ITL)).toBeCloseTo(0.4 / 5, 9);
    expect(got.value('inference.requests.failed')).toBe(1);
    expect(got.spans.filter((s) => s.status.code === 2)).toHaveLength(1);
    expect(got.spans[0]!.attributes['gen_ai.request.model']).toBe('qwen');
  });
});

describe('files of engines and profilers are recordings', () => {
  test('Dynamo: requests become spans and the signals of its frontend', async () => {
    const line = (id: string, at: number, ttft: number) =>
      JSON.stringify({
        schema: 'dynamo.request.trace.v1',
        event_type: 'request_end',
        request: {
          request_id: id,
          model: 'm',
          request_received_ms: at,
          total_time_ms: 1000,
          ttft_ms: ttft,
          input_tokens: 8,
          output_tokens: 11,
        },
      });
    const got = await read(
      write('dynamo.jsonl.gz', gzipSync(`${line('a', WRITTEN, 100)}\n${line('b', WRITTEN + 500, 300)}\n`)),
    );
    expect(got.bad).toEqual([]);
    expect(got.spans.map((s) => s.name)).toEqual(['http-request', 'http-request']);
    expect(got.mean(TTFT)).toBeCloseTo(0.2, 9);
    expect(got.value('inference.tokens.generated')).toBeCloseTo(22, 9);
  });

  test('a dump of the flight recorder, and a trace of torch.profiler', async () => {
    const dump = await read(write('nccl_trace_rank_1', Buffer.from(dumps['protocol2']!, 'base64')));
    expect(dump.bad).toEqual([]);
    expect(dump.spans.map((s) => s.name)).toContain('collective');
    expect(dump.spans[0]!.resource.attributes['inference.rank']).toBe(1);
    const nameless = await read(write('dump.pickle', Buffer.from(dumps['protocol2']!, 'base64')));
    expect(nameless.bad[0]!.what).toContain('does not end in the rank');
    const trace = {
      schemaVersion: 1,
      distributedInfo: { backend: 'nccl', rank: 3, world_size: 8 },
      traceEvents: [
        {
          ph: 'X',
          cat: 'kernel',
          name: 'ncclDevKernel_AllReduce',
          ts: 2000,
          dur: 50,
          args: {
            'Collective name': 'allreduce',
            'Group size': 8,
            'Process Group Name': '0',
            Seq: 4,
            'In msg nelems': 8,
            dtype: 'BFloat16',
          },
        },
      ],
      baseTimeNanoseconds: 1_700_000_000_000_000_000,
    };
    const text = JSON.stringify(trace, undefined, 2).replace('1700000000000000000', '1700000000000000000');
    const kineto = await read(write('worker.pt.trace.json.gz', gzipSync(text)));
    expect(kineto.bad).toEqual([]);
    expect(kineto.spans).toHaveLength(1);
    expect(kineto.spans[0]!.attributes).toMatchObject({ 'comm.op': 'all_reduce', 'comm.seq': 4, 'comm.bytes': 16 });
    expect(kineto.spans[0]!.resource.attributes['service.instance.id']).toMatch(/^enginelight-others-/);
  });
});

describe('what is none of them', () => {
  test.each([
    ['an object over many lines', '{\n  "hello": 1\n}\n', 'it is one JSON object, with "hello"'],
    ['half of a summary', readFileSync(join(FIXTURES, 'aiperf-summary.json'), 'utf8').slice(0, 900), 'it is not whole'],
    ['bytes', Buffer.from([1, 2, 0, 4, 0xff]), 'it is no text and no pickle'],
    ['a pickle that is cut off', Buffer.from(dumps['protocol2']!, 'base64').subarray(0, 100), 'ends'],
    [
      'a trace without anything',
      '{"schemaVersion": 1, "traceEvents": [{"ph": "X", "name": "aten::add"}]}',
      'none of them a collective',
    ],
    ['lines of something else', '{"level": "info", "msg": "x"}\n', 'it has "level", "msg"'],
    [
      'a report without benchmarks',
      '{"metadata": {"guidellm_version": "0.8.1"}, "benchmarks": []}',
      'no benchmark in the report',
    ],
    ['a record without times', '{"metadata": {"request_start_ns": null}, "metrics": {}}', 'does not say when it was'],
    ['a result that took no time', '{"request_throughput": 0, "duration": 0, "completed": 0}', 'took no time'],
  ])('%s is named with what is in it', async (name, content, expected) => {
    const got = await read(write(`nccl_trace_rank_${name.length}`, content));
    expect(got.lines).toEqual([]);
    expect(got.bad.map((b) => b.what).join('; ')).toContain(expected);
  });

  test('a gzip that is cut off gives what came before, an empty file nothing', async () => {
    const records = readFileSync(join(FIXTURES, 'aiperf.jsonl'));
    const packed = gzipSync(records);
    const cut = await read(write('cut.jsonl.gz', packed.subarray(0, packed.length - 400)));
    expect(cut.bad.map((b) => b.what).join()).toContain('ends early');
    expect(cut.spans.length).toBeGreaterThan(5);
    expect((await read(write('empty.jsonl', ''))).lines).toEqual([]);
    expect((await read(write('empty.gz', gzipSync('')))).lines).toEqual([]);
  });

  test('names that could be keys of every object do no harm', async () => {
    const path = write('proto.jsonl', '{"__proto__": {"resourceMetrics": []}, "constructor": 1}\n[]\nnull\n7\n"x"\n');
    const got = await read(path);
    expect(got.lines).toEqual([]);
    expect(got.bad).toHaveLength(5);
  });
});
