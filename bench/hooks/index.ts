/**
 * How many events of hooks the receiver takes over its Unix socket, per second of CPU of its process: a real receiver, a
 * sender in another process, a pipeline that writes every batch as OTLP protobuf, and one that only counts. Beside it the
 * same events as OTLP spans, which is what any other sender would send.
 *
 * `node build/bench/hooks/index.js [CPU seconds per case]` after `tsc -p bench/tsconfig.json`. What hooks cost the engine
 * is measured by overhead.py beside this file.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { resolve } from '../../config/schema.ts';
import type { Consumer, Context } from '../../pipeline/component.ts';
import { systemClock } from '../../pipeline/kit/clock.ts';
import { createLogger } from '../../pipeline/kit/log.ts';
import { itemCount, type Span, tracesBatch } from '../../pipeline/model.ts';
import { encodeRequest } from '../../pipeline/wire/otlp/index.ts';
import { hooksReceiver } from '../../receivers/hooks/index.ts';
import { createIntake } from '../../receivers/hooks/intake.ts';

export interface HooksMeasured {
  readonly form: 'frame' | 'otlp';
  readonly then: 'counted' | 'written as OTLP';
  readonly eventsPerPost: number;
  readonly eventsPerCpuSecond: number;
}

/** A frame of collectives, as the shim packs them. */
function frame(events: number): Buffer {
  const header = JSON.stringify({
    sender: '00c0ffee00c0ffee',
    pid: 17,
    version: '0.1.0',
    clock: '1700000000000000000',
    now: '5000000000000',
    resource: { 'service.name': 'llm', 'service.instance.id': 'r0', 'inference.rank': 1, 'host.name': 'node-1' },
    strings: [],
    groups: [{ id: '0:0-7', size: 8, rank: 1, backend: 'nccl' }],
    ops: [
      { op: 'all_reduce', group: 0, clock: 'device' },
      { op: 'all_gather', group: 0, clock: 'device' },
    ],
    spans: [],
    blocks: [{ kind: 'collective', count: events }],
    lost: {},
    seen: events,
  });
  const length = Math.ceil((header.length + 8) / 8) * 8 - 8;
  const bytes = Buffer.alloc(8 + length + events * 40, ' ');
  bytes.write('ELH1', 0, 'latin1');
  bytes.writeUInt32LE(length, 4);
  bytes.write(header, 8);
  for (let i = 0; i < events; i++) {
    const start = 4_999_000_000_000n + BigInt(i * 10_000);
    const row = [start, start + 8_000n, BigInt(i & 1), BigInt(i + 1), 8_388_608n];
    row.forEach((n, c) => void bytes.writeBigInt64LE(n, 8 + length + i * 40 + c * 8));
  }
  return bytes;
}

/** The same events as an OTLP request: read from the frame by the receiver itself. */
async function otlp(events: number): Promise<Uint8Array> {
  let spans: readonly Span[] = [];
  const keep: Consumer = {
    consume(batch) {
      spans = batch.items as readonly Span[];
    },
  };
  await createIntake(resolve(hooksReceiver.config, {}), keep, context()).frame(frame(events));
  return encodeRequest(tracesBatch(spans), 'protobuf');
}

function context(): Context {
  const nothing = () => {};
  return {
    id: 'hooks',
    kind: 'receiver',
    log: createLogger({ clock: systemClock, level: 'warn' }),
    clock: systemClock,
    catalog: { sources: [] } as unknown as Context['catalog'],
    signals: new Set(['traces']),
    meter: {
      counter: () => ({ add: nothing }),
      gauge: nothing,
      dropped: nothing,
      sent: nothing,
      failed: nothing,
    },
    status: nothing,
  };
}

async function measure(form: HooksMeasured['form'], written: boolean, events: number, seconds: number) {
  const folder = mkdtempSync(join(tmpdir(), 'bench-hooks-'));
  const path = join(folder, 'h.sock');
  let taken = 0;
  const next: Consumer = {
    consume(batch) {
      taken += itemCount(batch);
      if (written) encodeRequest(batch, 'protobuf');
    },
  };
  const running = await hooksReceiver.start(resolve(hooksReceiver.config, { socket: { path } }), next, context());
  const sender: ChildProcess = fork(fileURLToPath(import.meta.url), ['sender', path, form, String(events)]);
  try {
    const pause = (ms: number) => new Promise((done) => setTimeout(done, ms));
    for (let waited = 0; taken < 20 * events && waited < 20_000; waited += 20) await pause(20);
    const before = taken;
    const begin = process.cpuUsage();
    let elapsed = 0;
    while (elapsed < seconds) {
      await pause(50);
      const { user, system } = process.cpuUsage(begin);
      elapsed = (user + system) / 1e6;
    }
    return (taken - before) / elapsed;
  } finally {
    sender.kill();
    await running.stop(AbortSignal.abort());
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Every case once, `seconds` of CPU each. */
export async function benchHooks(seconds = 2): Promise<HooksMeasured[]> {
  const results: HooksMeasured[] = [];
  for (const [form, eventsPerPost] of [
    ['frame', 1000],
    ['frame', 10_000],
    ['otlp', 1000],
  ] as const) {
    for (const then of ['counted', 'written as OTLP'] as const) {
      const eventsPerCpuSecond = await measure(form, then !== 'counted', eventsPerPost, seconds);
      results.push({ form, then, eventsPerPost, eventsPerCpuSecond });
    }
  }
  return results;
}

async function send(path: string, form: string, events: number): Promise<void> {
  const body = form === 'frame' ? frame(events) : await otlp(events);
  const agent = new http.Agent({ keepAlive: true, maxSockets: 4 });
  const headers = { 'content-type': form === 'frame' ? 'application/x-enginelight-hooks' : 'application/x-protobuf' };
  const options = {
    socketPath: path,
    path: form === 'frame' ? '/v1/hooks' : '/v1/traces',
    method: 'POST',
    agent,
    headers,
  };
  const one = () => {
    const call = http.request(options, (response) => response.resume().on('end', one));
    call.on('error', () => process.exit(1)).end(body);
  };
  for (let i = 0; i < 4; i++) one();
}

/** The results as a table. */
export function hooksTable(results: readonly HooksMeasured[]): string {
  return [
    `${'form'.padEnd(8)}${'events a post'.padEnd(15)}${'then'.padEnd(18)}${'events/cpu s'.padStart(14)}`,
    ...results.map(
      (r) =>
        `${r.form.padEnd(8)}${String(r.eventsPerPost).padEnd(15)}${r.then.padEnd(18)}${Math.round(r.eventsPerCpuSecond).toLocaleString('en-US').padStart(14)}`,
    ),
  ].join('\n');
}

if (/hooks\/index\.[jt]s$/.test(process.argv[1] ?? '')) {
  if (process.argv[2] === 'sender') await send(process.argv[3]!, process.argv[4]!, Number(process.argv[5]));
  else process.stdout.write(`node ${process.version}\n${hooksTable(await benchHooks(Number(process.argv[2] ?? 2)))}\n`);
}
