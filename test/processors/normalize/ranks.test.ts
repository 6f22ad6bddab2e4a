import { describe, expect, test } from 'vitest';
import { neutralText, running, shown, target } from './run.ts';

const at = '@ gen_ai.request.model=m inference.engine=sglang';

/** One SGLang gauge or counter, as several ranks report it. */
const page = (name: string, type: string, ranks: readonly (readonly [labels: string, value: number])[]) =>
  `# TYPE sglang:${name} ${type}\n${ranks.map(([l, v]) => `sglang:${name}{model_name="m",${l}} ${v}`).join('\n')}\n`;

describe('ranks that report the same requests', () => {
  test('are counted once, whatever order they come in', async () => {
    const four = [3, 0, 2, 1].map((r) => [`tp_rank="${r}",pp_rank="0"`, 7] as const);
    expect(await neutralText(page('num_running_reqs', 'gauge', four))).toEqual([
      `inference.requests.running 7 {request} updown ${at}`,
    ]);
  });

  test('are told from ranks that have requests of their own (data parallel)', async () => {
    // Under data parallel attention the first rank of the second group is tensor rank 2, not 0.
    const labels = [
      'dp_rank="0",tp_rank="0"',
      'dp_rank="0",tp_rank="1"',
      'dp_rank="1",tp_rank="2"',
      'dp_rank="1",tp_rank="3"',
    ];
    const text = await neutralText(
      page(
        'num_running_reqs',
        'gauge',
        labels.map((l, i) => [`${l},pp_rank="0"`, i < 2 ? 3 : 4]),
      ),
    );
    expect(text).toEqual([
      `inference.requests.running 3 {request} updown ${at} inference.rank.dp=0`,
      `inference.requests.running 4 {request} updown ${at} inference.rank.dp=1`,
    ]);
  });

  test('are the pipeline’s stages too', async () => {
    const text = await neutralText(
      page('num_running_reqs', 'gauge', [
        ['tp_rank="0",pp_rank="1"', 9],
        ['tp_rank="0",pp_rank="0"', 8],
      ]),
    );
    expect(text).toEqual([`inference.requests.running 8 {request} updown ${at}`]);
  });

  test('hand over when the one that counts ends', async () => {
    const { neutral } = await running();
    const of = target();
    const first = page('num_running_reqs', 'gauge', [['tp_rank="0"', 5]]);
    const second = page('num_running_reqs', 'gauge', [['tp_rank="1"', 6]]);
    expect(shown(await neutral([...of.read(first), ...of.read(second)]))).toEqual([
      `inference.requests.running 5 {request} updown ${at}`,
    ]);
    expect(shown(await neutral([...of.end(first), ...of.read(second)]))).toEqual([
      `inference.requests.running 6 {request} updown ${at}`,
    ]);
    expect(shown(await neutral(of.end(second)))).toEqual([`inference.requests.running stale {request} updown ${at}`]);
  });
});

describe('a gauge of one rank', () => {
  test('does not stand for all: several ranks stay apart', async () => {
    const text = await neutralText(
      page('token_usage', 'gauge', [
        ['tp_rank="0",pp_rank="0"', 0.5],
        ['tp_rank="0",pp_rank="1"', 0.9],
      ]),
    );
    expect(text).toEqual([
      `inference.kv.usage 0.5 1 gauge ${at} inference.rank.pp=0`,
      `inference.kv.usage 0.9 1 gauge ${at} inference.rank.pp=1`,
    ]);
  });

  test('is the engine’s where the page shows no other rank', async () => {
    const text = await neutralText(page('token_usage', 'gauge', [['tp_rank="0",pp_rank="0"', 0.5]]));
    expect(text).toEqual([`inference.kv.usage 0.5 1 gauge ${at}`]);
  });

  test('gets its rank as soon as a second one shows up, and the series without it ends', async () => {
    const { neutral } = await running();
    const of = target();
    const one = page('token_usage', 'gauge', [['tp_rank="0",pp_rank="0"', 0.5]]);
    const two = page('token_usage', 'gauge', [
      ['tp_rank="0",pp_rank="0"', 0.5],
      ['tp_rank="0",pp_rank="1"', 0.9],
    ]);
    expect(shown(await neutral(of.read(one)))).toEqual([`inference.kv.usage 0.5 1 gauge ${at}`]);
    expect(shown(await neutral(of.read(two)))).toEqual([
      `inference.kv.usage 0.5 1 gauge ${at} inference.rank.pp=0`,
      `inference.kv.usage 0.9 1 gauge ${at} inference.rank.pp=1`,
      `inference.kv.usage stale 1 gauge ${at}`,
    ]);
  });
});

test('what each rank does by itself always carries its rank', async () => {
  const l = 'category="decode",pp_rank="0"';
  const text = await neutralText(
    page('forward_execution_seconds_total', 'counter', [
      [`tp_rank="0",${l}`, 5],
      [`tp_rank="1",${l}`, 6],
    ]),
  );
  expect(text).toEqual([
    `inference.step.duration{category=decode} 5 s counter ${at} inference.rank.pp=0 inference.rank.tp=0`,
    `inference.step.duration{category=decode} 6 s counter ${at} inference.rank.pp=0 inference.rank.tp=1`,
  ]);
});

test('of SGLang’s priorities only the total counts: its parts would count every request twice', async () => {
  const text = await neutralText(
    page('num_queue_reqs', 'gauge', [
      ['tp_rank="0",priority=""', 9],
      ['tp_rank="0",priority="1"', 4],
      ['tp_rank="0",priority="2"', 5],
    ]),
  );
  expect(text).toEqual([`inference.requests.waiting 9 {request} updown ${at}`]);
});

test('LMCache’s workers count the same tokens but move their own bytes', async () => {
  const series = (name: string, values: readonly number[]) =>
    `# TYPE lmcache:${name} counter\n${values.map((v, i) => `lmcache:${name}{model_name="m",worker_id="${i}"} ${v}`).join('\n')}\n`;
  const text = await neutralText(
    series('num_lookup_hits_total', [30, 30]) + series('num_remote_read_bytes_total', [100, 101]),
  );
  const lm = '@ gen_ai.request.model=m inference.engine=lmcache';
  expect(text).toEqual([
    `inference.kv.offload.io{direction=load,tier=remote} 100 By counter ${lm} inference.rank.tp=0`,
    `inference.kv.offload.io{direction=load,tier=remote} 101 By counter ${lm} inference.rank.tp=1`,
    `inference.prefix_cache.hits{tier=lmcache} 30 {token} counter ${lm}`,
  ]);
});

test('processes of one engine are told apart only where there are several', async () => {
  const usage = (pids: readonly string[]) =>
    `# TYPE trtllm_kv_cache_utilization gauge\n${pids.map((p) => `trtllm_kv_cache_utilization{model_name="m",pid="${p}"} 0.5`).join('\n')}\n`;
  const trt = '@ gen_ai.request.model=m inference.engine=trtllm';
  expect(await neutralText(usage(['1']))).toEqual([`inference.kv.usage 0.5 1 gauge ${trt}`]);
  expect(await neutralText(usage(['1', '2']))).toEqual([
    `inference.kv.usage{process.pid=1} 0.5 1 gauge ${trt}`,
    `inference.kv.usage{process.pid=2} 0.5 1 gauge ${trt}`,
  ]);
});
