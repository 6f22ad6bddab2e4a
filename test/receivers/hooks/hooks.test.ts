import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { resolve } from '../../../config/schema.ts';
import type { Running } from '../../../pipeline/component.ts';
import { PermanentError, RetryableError } from '../../../pipeline/errors.ts';
import { manualClock } from '../../../pipeline/kit/clock.ts';
import { runtimePath } from '../../../pipeline/kit/runtime-dir.ts';
import { hooksReceiver } from '../../../receivers/hooks/index.ts';
import { type Sink, sink, type TestContext, testContext } from '../../kit/harness.ts';
import { CLOCK, hookFrame, NOW } from '../../kit/hook-frame.ts';

const open: { running: Running[]; folders: string[] } = { running: [], folders: [] };
afterEach(async () => {
  for (const running of open.running.splice(0)) await running.stop(AbortSignal.abort());
  for (const folder of open.folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

interface Answer {
  readonly status: number;
  readonly body: Record<string, never> & Answered;
  readonly headers: Record<string, string | string[] | undefined>;
}
interface Answered {
  readonly accepted: number;
  readonly rejected: number;
  readonly message?: string;
  readonly pressure: number;
  readonly senders: Record<string, unknown>[];
  readonly control: { version: number; kinds: Record<string, { enabled: boolean; rate: number }> } & Record<
    string,
    number
  >;
}

interface Started {
  readonly out: Sink;
  readonly context: TestContext;
  readonly path: string;
  send(path: string, body: Uint8Array | string, type?: string, method?: string): Promise<Answer>;
}

async function started(options: Record<string, unknown> = {}): Promise<Started> {
  const folder = mkdtempSync(join(tmpdir(), 'hooks-'));
  open.folders.push(folder);
  const path = join(folder, 'h.sock');
  const out = sink();
  const context = testContext({ id: 'hooks', clock: manualClock() });
  const config = resolve(hooksReceiver.config, { socket: { path }, ...options });
  open.running.push(await hooksReceiver.start(config, out, context));
  return {
    out,
    context,
    path,
    send: (target, body, type = 'application/octet-stream', method = 'POST') =>
      new Promise((done, failed) => {
        const headers = { 'content-type': type, connection: 'close' };
        const call = request({ socketPath: path, path: target, method, headers }, (response) => {
          let text = '';
          response.on('data', (chunk: Buffer) => {
            text += chunk.toString();
          });
          response.on('end', () => {
            const json = response.headers['content-type'] === 'application/json';
            done({
              status: response.statusCode!,
              body: json && text ? JSON.parse(text) : {},
              headers: response.headers,
            });
          });
        });
        call.on('error', failed);
        call.end(method === 'GET' ? undefined : body);
      }),
  };
}

describe('events', () => {
  it('become collectives as OTLP senders send them, with exact times', async () => {
    const { out, send } = await started();
    const answer = await send('/v1/hooks', hookFrame({ collectives: 2 }));
    expect(answer).toMatchObject({ status: 200, body: { accepted: 2, rejected: 0 } });
    const [first, second] = out.spans();
    expect(first).toMatchObject({
      name: 'collective',
      kind: 1,
      startTime: CLOCK + NOW - 200_000n,
      endTime: CLOCK + NOW - 160_000n,
      attributes: {
        'comm.id': '0:0-3',
        'comm.seq': 1,
        'comm.op': 'all_reduce',
        'comm.bytes': 4096,
        'comm.size': 4,
        'comm.rank': 1,
        'comm.backend': 'gloo',
        'hook.clock': 'host',
      },
      resource: { attributes: { 'service.name': 'llm', 'inference.rank': 1 } },
    });
    expect(second!.resource).toBe(first!.resource);
    expect(first!.traceId).toMatch(/^[0-9a-f]{32}$/);
    expect(first!.spanId).toMatch(/^[0-9a-f]{16}$/);
    expect(second!.spanId).not.toBe(first!.spanId);
  });

  it('keep one resource object per sender, over frames', async () => {
    const { out, send } = await started();
    await send('/v1/hooks', hookFrame({ collectives: 1 }));
    await send('/v1/hooks', hookFrame({ collectives: 1 }));
    await send('/v1/hooks', hookFrame({ collectives: 1, resource: { 'inference.rank': 2 } }));
    const [a, b, c] = out.spans();
    expect(a!.resource).toBe(b!.resource);
    expect(c!.resource).not.toBe(a!.resource);
    // One operation is one trace on all of its ranks; its spans are different ones.
    expect(c!.traceId).toBe(a!.traceId);
    expect(c!.spanId).not.toBe(a!.spanId);
  });

  it('tell the peer of a send, and what never ended', async () => {
    const { out, send } = await started();
    const ops = [
      { op: 'send', group: 0, clock: 'device', peer: 3 },
      { op: 'all_reduce', group: 0, clock: 'host', open: true },
    ];
    const rows = [
      [NOW - 50_000n, NOW - 10_000n, 0, 7, 128],
      [NOW - 12_000_000_000n, NOW, 1, 8, -1],
    ];
    await send('/v1/hooks', hookFrame({ header: { ops }, blocks: [{ kind: 'collective', rows }] }));
    expect(out.spans().map((s) => s.attributes)).toMatchObject([
      { 'comm.op': 'send', 'comm.peer': 3, 'hook.clock': 'device' },
      { 'comm.op': 'all_reduce', 'comm.bytes': 0, 'hook.open': true, 'hook.open_ns': 12_000_000_000 },
    ]);
  });

  it('become steps, stages and transfers; what is -1 is absent', async () => {
    const { out, send } = await started();
    const strings = ['full', 'req-1', 'p0', 'd1', 'nixl_rdma', 'the peer went away'];
    const at = [NOW - 9_000_000n, NOW - 1_000_000n];
    await send(
      '/v1/hooks',
      hookFrame({
        header: { strings },
        blocks: [
          { kind: 'engine_step', rows: [[...at, 41, 512, 30, 7_000_000, 400_000, 0]] },
          { kind: 'engine_step', rows: [[...at, 42, -1, 30, -1, -1, -1]] },
          { kind: 'pipeline_stage', rows: [[...at, 1, 4, 2, 41, 512]] },
          { kind: 'kv_transfer', rows: [[...at, 1, 2, 3, 1 << 20, 64, 4, 5000, -1]] },
          { kind: 'kv_transfer', rows: [[...at, -1, -1, -1, -1, -1, -1, -1, 5]] },
        ],
      }),
    );
    expect(out.spans().map((s) => [s.name, s.attributes, s.status])).toEqual([
      [
        'engine_step',
        {
          'step.id': 41,
          'step.prefill_tokens': 512,
          'step.decode_seqs': 30,
          'step.gpu_time_ns': 7_000_000,
          'step.schedule_time_ns': 400_000,
          'step.graph': 'full',
        },
        { code: 0, message: '' },
      ],
      ['engine_step', { 'step.id': 42, 'step.decode_seqs': 30 }, { code: 0, message: '' }],
      [
        'pipeline_stage',
        { 'stage.index': 1, 'stage.count': 4, microbatch: 2, 'step.id': 41, 'stage.tokens': 512 },
        { code: 0, message: '' },
      ],
      [
        'kv_transfer',
        {
          'kv.request_id': 'req-1',
          'kv.source': 'p0',
          'kv.destination': 'd1',
          'kv.bytes': 1 << 20,
          'kv.blocks': 64,
          'kv.transport': 'nixl_rdma',
          'kv.wait_ns': 5000,
        },
        { code: 0, message: '' },
      ],
      ['kv_transfer', { 'kv.transport': 'unknown' }, { code: 2, message: 'the peer went away' }],
    ]);
    for (const span of out.spans()) expect(span.traceId).toMatch(/^[0-9a-f]{32}$/);
  });

  it('that are wrong cost themselves only, are counted, and are named', async () => {
    const { out, send, context } = await started();
    const rows = [
      [NOW - 20n, NOW - 30n, 0, 1, 1],
      [NOW - 50n, NOW - 10n, 9, 2, 1],
      [0n, -(1n << 63n), 0, 3, 1],
      [NOW - 50n, NOW - 10n, 0, 4, 1],
      [(1n << 63n) - 1n, (1n << 63n) - 1n, 0, 5, 1],
    ];
    const answer = await send('/v1/hooks', hookFrame({ blocks: [{ kind: 'collective', rows }] }));
    expect(answer.body).toMatchObject({
      accepted: 1,
      rejected: 4,
      message: expect.stringContaining('before it starts'),
    });
    expect(out.spans().map((s) => s.attributes['comm.seq'])).toEqual([4]);
    expect(context.measured.drops).toEqual([{ signal: 'traces', items: 4, reason: 'bad_line' }]);
    expect(context.log.records.filter((r) => r.level === 'warn')).toHaveLength(1);
  });

  it.each([
    ['nothing', Buffer.alloc(0)],
    ['another format', Buffer.from('{"resourceSpans":[]}    ')],
    ['a header that does not end', hookFrame({ collectives: 1 }).subarray(0, 40)],
    ['rows that do not end', hookFrame({ collectives: 3 }).subarray(0, -8)],
    ['rows too many', Buffer.concat([hookFrame({ collectives: 3 }), Buffer.alloc(8)])],
    ['an unknown kind', hookFrame({ blocks: [{ kind: 'toString', rows: [[1, 2]] }] })],
    ['a count that is none', hookFrame({ header: { blocks: [{ kind: 'collective', count: -1 }] } })],
    ['a count beyond reason', hookFrame({ header: { blocks: [{ kind: 'collective', count: 1e9 }] } })],
    ['no clock', hookFrame({ collectives: 1, header: { clock: 12 } })],
    ['a clock before time', hookFrame({ collectives: 1, header: { clock: '-9000000000000' } })],
    ['too many names', hookFrame({ header: { strings: Array(10_000).fill('x') } })],
  ])('are refused as a whole where the post is %s', async (_what, body) => {
    const { out, send, context } = await started();
    const answer = await send('/v1/hooks', body);
    expect(answer.status).toBe(400);
    expect(answer.body.message).toContain('not a frame of hook events');
    expect(answer.body.control.version).toBe(1);
    expect(out.batches).toEqual([]);
    expect(context.measured.counters.get('receiver_hooks_malformed_posts{form=frame}')).toBe(1);
  });

  it('survive a hundred thousand broken frames: each is read or refused, and the listener still answers', async () => {
    const { send, out } = await started();
    const { createIntake } = await import('../../../receivers/hooks/intake.ts');
    const context = testContext();
    const intake = createIntake(resolve(hooksReceiver.config, {}), { consume: () => {} }, context);
    const whole = hookFrame({
      collectives: 4,
      header: { spans: [{ kind: 'request', name: 'llm_request', start: String(NOW - 9n), end: String(NOW) }] },
    });
    let seed = 42;
    const next = (below: number) => {
      seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
      return Math.floor((seed / 2 ** 32) * below);
    };
    let taken = 0;
    let refused = 0;
    // `npm run fuzz` makes it a million.
    const runs = Math.max(100_000, Number(process.env['ENGINELIGHT_FUZZ_RUNS'] ?? 0) * 50);
    for (let i = 0; i < runs; i++) {
      const bytes = Buffer.from(whole.subarray(0, next(10) === 0 ? next(whole.length) : whole.length));
      for (let k = next(6); k >= 0 && bytes.length > 0; k--) bytes[next(bytes.length)] = next(256);
      await intake.frame(bytes).then(
        () => taken++,
        (error: Error & { status?: number }) => {
          if (error.status !== 400) throw error;
          refused++;
        },
      );
    }
    expect(taken).toBeGreaterThan(1000);
    expect(refused).toBeGreaterThan(1000);
    expect((await send('/v1/hooks', whole)).status).toBe(200);
    expect(out.spans()).toHaveLength(5);
  }, 600_000);

  it('are told to be lost by the hooks, and the loss is counted here', async () => {
    const { send, context } = await started();
    await send('/v1/hooks', hookFrame({ collectives: 1, header: { lost: { collective: 12, nonsense: 2 } } }));
    expect(context.measured.counters.get('receiver_hooks_lost_events{event=collective}')).toBe(12);
    expect(context.measured.counters.get('receiver_hooks_lost_events{event=other}')).toBe(2);
  });

  it('come as OTLP too, in JSON and in protobuf', async () => {
    const { out, send } = await started();
    const span = {
      traceId: '0af7651916cd43dd8448eb211c80319c',
      spanId: 'b7ad6b7169203331',
      name: 'collective',
      startTimeUnixNano: '1700000000000000000',
      endTimeUnixNano: '1700000000000040000',
      attributes: [{ key: 'comm.seq', value: { intValue: '5' } }],
    };
    const answer = await send(
      '/v1/traces',
      JSON.stringify({ resourceSpans: [{ scopeSpans: [{ spans: [span] }] }] }),
      'application/json',
    );
    expect(answer.status).toBe(200);
    expect(JSON.parse(String(answer.headers['enginelight-control']))).toMatchObject({ version: 1 });
    const { encodeRequest } = await import('../../../pipeline/wire/otlp/index.ts');
    await send('/v1/traces', encodeRequest(out.batches[0]!, 'protobuf'), 'application/x-protobuf');
    expect(out.spans().map((s) => [s.name, s.attributes['comm.seq']])).toEqual([
      ['collective', 5],
      ['collective', 5],
    ]);
    expect((await send('/v1/traces', '{"resourceSpans": 3}', 'application/json')).status).toBe(400);
    expect((await send('/v1/traces', 'x', 'text/plain')).status).toBe(415);
  });
});

describe('content', () => {
  const attributes = {
    'gen_ai.prompt.0.content': 'my secret',
    'gen_ai.usage.prompt_tokens': 3,
    'gen_ai.request.id': 'r-1',
  };

  it('is replaced by a marker before the pipeline sees it, in frames and in OTLP, in events too', async () => {
    const { out, send, context } = await started();
    const spans = [{ kind: 'request', name: 'llm_request', start: String(NOW - 9n), end: String(NOW), attributes }];
    await send('/v1/hooks', hookFrame({ header: { spans } }));
    const value = (v: string | number) => (typeof v === 'number' ? { intValue: v } : { stringValue: v });
    const list = Object.entries(attributes).map(([key, v]) => ({ key, value: value(v) }));
    const span = {
      traceId: '0af7651916cd43dd8448eb211c80319c',
      spanId: 'b7ad6b7169203331',
      name: 'chat',
      startTimeUnixNano: '1700000000000000000',
      endTimeUnixNano: '1700000000000040000',
      attributes: list,
      events: [{ timeUnixNano: '1', name: 'gen_ai.content.prompt', attributes: list }],
    };
    const request = { resourceSpans: [{ scopeSpans: [{ spans: [span] }] }] };
    await send('/v1/traces', JSON.stringify(request), 'application/json');
    const [a, b] = out.spans();
    for (const found of [a!.attributes, b!.attributes, b!.events[0]!.attributes]) {
      expect({ ...found }).toEqual({ ...attributes, 'gen_ai.prompt.0.content': '[content removed]' });
    }
    expect(JSON.stringify(out.batches, (_k, v) => (typeof v === 'bigint' ? String(v) : v))).not.toContain('secret');
    expect(context.measured.gauges.get('receiver_hooks_content_removed')!()).toBe(3);
  });

  it('can be said to be in other keys; identifiers can be hashed, the same way each time', async () => {
    const { out, send } = await started({ content_keys: ['acme.*.text'], identifiers: 'hash', hash_key: 'k' });
    const own = { ...attributes, 'acme.x.text': 'secret' };
    const spans = [
      { kind: 'request', name: 'llm_request', start: String(NOW - 9n), end: String(NOW), attributes: own },
    ];
    const at = [NOW - 9n, NOW];
    const blocks = [{ kind: 'kv_transfer', rows: [[...at, 0, -1, -1, 1, 1, -1, -1, -1]] }];
    await send('/v1/hooks', hookFrame({ header: { spans, strings: ['r-1'] }, blocks }));
    const [transfer, asked] = out.spans();
    expect(asked!.attributes['acme.x.text']).toBe('[content removed]');
    expect(asked!.attributes['gen_ai.request.id']).toMatch(/^[0-9a-f]{16}$/);
    expect(transfer!.attributes['kv.request_id']).toBe(asked!.attributes['gen_ai.request.id']);
  });
});

describe('control', () => {
  it('is in every answer, from the config', async () => {
    const { send } = await started({
      events: { collective: { enabled: false, rate: 0.5, bytes_per_second: '1KiB' } },
      silence: '5s',
    });
    const { control } = (await send('/v1/hooks', hookFrame())).body;
    expect(control).toMatchObject({ silence_ms: 5000, post_interval_ms: 1000, open_after_ms: 10_000 });
    expect(control.kinds).toMatchObject({
      collective: { enabled: false, rate: 0.5, bytes_per_second: 1024 },
      engine_step: { enabled: true, rate: 1 },
    });
  });

  it('can be changed while it runs, and senders are told with their next post', async () => {
    const { send } = await started();
    const change = { kind: 'collective', enabled: false, rate: 0.25 };
    const answer = await send('/v1/control', JSON.stringify(change), 'application/json');
    expect(answer.body.control.kinds['collective']).toMatchObject({ enabled: false, rate: 0.25 });
    const told = (await send('/v1/hooks', hookFrame())).body.control;
    expect(told.kinds['collective']).toMatchObject({ enabled: false, rate: 0.25 });
    expect(told.version).toBe(2);
  });

  it('refuses a change that is none, and one that a web page could send', async () => {
    const { send } = await started();
    const tries = ['{', '{"kind":"nothing"}', '{"kind":"collective","rate":7}', '{"kind":"collective","enabled":1}'];
    for (const body of tries) expect((await send('/v1/control', body, 'application/json')).status).toBe(400);
    expect((await send('/v1/control', '{"kind":"collective","rate":0}', 'text/plain')).status).toBe(415);
    expect((await send('/v1/hooks', hookFrame())).body.control.version).toBe(1);
  });

  it('says who sends', async () => {
    const { send, context } = await started();
    await send('/v1/hooks', hookFrame({ collectives: 3 }));
    await send('/v1/hooks', hookFrame({ collectives: 2, header: { seen: 500, lost: { collective: 4 } } }));
    const { senders } = (await send('/v1/control', '', undefined, 'GET')).body;
    expect(senders).toMatchObject([
      { id: '00c0ffee', pid: 17, events: 5, seen: 503, lost: 4, resource: { 'inference.rank': 1 } },
    ]);
    expect(context.measured.gauges.get('receiver_hooks_senders')!()).toBe(1);
  });

  it('asks for half while the pipeline refuses, and for more again once it takes', async () => {
    const { send, out, context } = await started();
    const clock = context.clock as ReturnType<typeof manualClock>;
    out.failWith(new RetryableError('the queue is full', { exhausted: true, retryAfterMs: 3000 }));
    const refused = await send('/v1/hooks', hookFrame({ collectives: 1 }));
    expect(refused).toMatchObject({ status: 429, headers: { 'retry-after': '3' } });
    expect(refused.body.control.kinds['engine_step']!.rate).toBe(0.5);
    // The other ranks are refused at the same moment; that is the same lack of room.
    await send('/v1/hooks', hookFrame({ collectives: 1 }));
    await clock.advance(1000);
    const again = await send('/v1/hooks', hookFrame({ collectives: 1 }));
    expect(again.body.control.kinds['engine_step']!.rate).toBe(0.25);
    out.failWith(undefined);
    for (const expected of [0.25, 0.5, 1, 1]) {
      const taken = await send('/v1/hooks', hookFrame({ collectives: 1 }));
      expect((await send('/v1/hooks', hookFrame())).body.control.kinds['engine_step']!.rate, `${taken.status}`).toBe(
        expected,
      );
      await clock.advance(10_000);
    }
  });

  it('tells a sender that its events were refused for good', async () => {
    const { send, out } = await started();
    out.failWith(new PermanentError('not wanted'));
    expect((await send('/v1/hooks', hookFrame({ collectives: 1 }))).status).toBe(400);
  });
});

describe('the listener', () => {
  it('makes a socket for its user alone, and its folder', async () => {
    const { path } = await started({});
    expect(statSync(path).mode & 0o777).toBe(0o600);
    await Promise.all(open.running.splice(0).map((r) => r.stop()));
    expect(existsSync(path)).toBe(false);
  });

  it('lives through clients that go away in the middle and through thousands that say nothing', async () => {
    const { path, send } = await started();
    const idle: Socket[] = [];
    // One after the other: how many may wait at a Unix socket's door at once is up to the machine.
    for (let i = 0; i < 2000; i++) {
      const socket = connect(path).on('error', () => {});
      await new Promise((done) => socket.once('connect', done));
      idle.push(socket);
    }
    const cut = connect(path).on('error', () => {});
    cut.write('POST /v1/hooks HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nELH1');
    cut.destroySoon();
    expect((await send('/v1/hooks', hookFrame({ collectives: 1 }))).status).toBe(200);
    for (const socket of idle) socket.destroy();
  });

  it('answers over loopback HTTP as well, but not to names that are not this machine', async () => {
    const { context } = await started({ http: { endpoint: '127.0.0.1:0' } });
    const url = String(context.log.records.find((r) => r.fields['url'])!.fields['url']);
    const post = (headers: Record<string, string>) =>
      new Promise<number>((done) => {
        const call = request(`${url}/v1/hooks`, { method: 'POST', headers }, (r) => done(r.resume().statusCode!));
        call.end(hookFrame({ collectives: 1 }));
      });
    expect(await post({})).toBe(200);
    expect(await post({ host: 'evil.example' })).toBe(403);
  });

  it('needs one way in', () => {
    const config = resolve(hooksReceiver.config, { socket: { enabled: false } });
    expect(hooksReceiver.validate!(config).map((m) => m.message)).toEqual([expect.stringContaining('`http: {}`')]);
  });

  it('has a default place per user', () => {
    expect(runtimePath('hooks.sock', { XDG_RUNTIME_DIR: '/run/user/7' }, 7)).toBe('/run/user/7/enginelight/hooks.sock');
    expect(runtimePath('hooks.sock', {}, 0)).toBe('/run/enginelight/hooks.sock');
    expect(runtimePath('hooks.sock', {}, 7)).toBe('/tmp/enginelight-7/hooks.sock');
  });
});
