import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { resolve } from '../../../config/schema.ts';
import { isNumberPoint, msFromNanos } from '../../../pipeline/model.ts';
import { recording } from '../../../receivers/recording/index.ts';
import { sink, testContext } from '../../kit/harness.ts';

const folder = mkdtempSync(join(tmpdir(), 'recording-'));
const scrape = (second: number, running: number) =>
  JSON.stringify({
    scrape: {
      time: new Date(Date.UTC(2026, 4, 1, 12, 0, second)).toISOString(),
      url: 'http://10.0.0.7:8000/metrics',
      labels: { replica: 'r0', node: 'n1', role: 'decode' },
      duration_ms: 7.5,
      status: 200,
      body: `# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{model_name="m",engine="0"} ${running}\n`,
    },
  });

/** Plays a recording of this content until its end, or until nothing more can be played. */
async function play(name: string, content: string | Buffer, config: object) {
  const path = join(folder, name);
  writeFileSync(path, content);
  const context = testContext({ id: 'recording' });
  const out = sink();
  const running = await recording.start(resolve(recording.config, { paths: [path], ...config }), out, context);
  await waitFor(() => context.log.records.some((r) => r.message.includes('at its end')));
  await running.stop();
  return { out, context };
}

/** Lets the event loop turn until something holds, at most for some seconds. */
async function waitFor(holds: () => boolean) {
  const deadline = performance.now() + 10_000;
  while (!holds() && performance.now() < deadline) await new Promise((resolve) => setImmediate(resolve));
}

test('plays at the pace of the recording, with its times moved to now and one series per series', async () => {
  const { out, context } = await play('pace.jsonl', `${scrape(0, 1)}\n${scrape(5, 2)}\n`, { speed: 0 });
  const points = out
    .points()
    .filter(isNumberPoint)
    .filter((p) => p.series.metric.name === 'vllm:num_requests_running');
  expect(points.map((p) => p.value)).toEqual([1, 2]);
  expect(points[0]!.series).toBe(points[1]!.series);
  expect(points[0]!.series.resource.attributes).toMatchObject({
    'service.instance.id': 'r0',
    'host.name': 'n1',
    'inference.role': 'decode',
    'inference.engine': 'vllm',
  });
  expect(msFromNanos(points[1]!.time) - msFromNanos(points[0]!.time)).toBe(5000);
  expect(Math.abs(msFromNanos(points[0]!.time) - context.clock.now())).toBeLessThan(10_000);
});

test('names a line that cannot be read and uses the others, also of a file that was cut off', async () => {
  const whole = gzipSync(`${scrape(0, 1)}\nnot json\n${'x'.repeat(200_000)}\n${scrape(5, 2)}\n`, { level: 0 });
  const { out, context } = await play('cut.jsonl.gz', whole.subarray(0, whole.length - 400), { speed: 0 });
  expect(out.points().some((p) => p.series.metric.name === 'vllm:num_requests_running')).toBe(true);
  const complaints = context.log.records
    .filter((r) => r.level === 'warn')
    .map((r) => `${r.fields['line']}: ${r.fields['error']}`);
  expect(complaints[0]).toMatch(/^2: it is not JSON/);
  expect(complaints.at(-1)).toMatch(/the file ends early/);
});

test('uses what stands before a place that is damaged', async () => {
  const file = gzipSync(`${scrape(0, 1)}\n${`${'x'.repeat(1000)}\n`.repeat(300)}${scrape(5, 2)}\n`, { level: 0 });
  file.fill(0xff, 200_000);
  const { out, context } = await play('damaged.jsonl.gz', file, { speed: 0 });
  expect(out.points().map((p) => p.series.metric.name)).toContain('vllm:num_requests_running');
  expect(context.log.records.map((r) => String(r.fields['error']))).toContainEqual(
    expect.stringMatching(/the file ends early/),
  );
});

test('says which file cannot be opened, and the daemon goes on', async () => {
  const context = testContext({ id: 'recording' });
  const running = await recording.start(
    resolve(recording.config, { paths: [join(folder, 'none.jsonl')] }),
    sink(),
    context,
  );
  await waitFor(() => context.statuses.length > 0);
  await running.stop();
  expect(context.statuses[0]!.status).toBe('permanent_error');
  expect(context.statuses[0]!.message).toContain('none.jsonl');
});
