/**
 * A flame graph of a million spans: from spans that are there, and as a command that reads them from a recording first. Each case
 * runs in a process of its own, so that its memory is its own. The limits are those of the issue: 5 s and 500 MiB.
 *
 * `node build/bench/flamegraph/index.js [spans]` after compiling.
 */
import { fork } from 'node:child_process';
import { createWriteStream, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadCatalog } from '../../config/catalog.ts';
import { drawFlame } from '../../pipeline/kit/flame/draw.ts';
import { flamePage } from '../../pipeline/kit/flame/page.ts';
import { SpanStore } from '../../pipeline/kit/flame/store.ts';
import { readRecordings } from '../../pipeline/kit/recording-files.ts';
import { resource, type Span, scope } from '../../pipeline/model.ts';

const CASES = ['spans', 'spans alone', 'recording'] as const;
export interface FlameMeasured {
  readonly name: string;
  readonly cpuSeconds: number;
  readonly wallSeconds: number;
  readonly peakMib: number;
}

const hex = (n: number, width: number) => n.toString(16).padStart(width, '0');
const STEPS = ['tokenize', 'prefill_waiting', 'prefill_forward', 'decode_forward', 'decode_forward', 'decode_forward'];
const BASE = 1_777_636_800_000_000_000n;
const SCOPE = scope('sglang');

/** Requests of ten spans over four replicas, three levels deep, with the ids and names that SGLang gives them. */
function* spans(count: number): Generator<Span> {
  const replicas = [0, 1, 2, 3].map((r) =>
    resource({
      'service.name': 'chat',
      'service.instance.id': `r${r}`,
      'host.name': `n${r}`,
      'inference.role': 'aggregated',
    }),
  );
  let id = 1;
  for (let i = 0; i * 10 < count; i++) {
    const trace = hex(i + 1, 32);
    const begin = BASE + BigInt(i) * 1_000_000n;
    const about = replicas[i % 4]!;
    const make = (name: string, parent: string, from: number, until: number, attributes: Span['attributes']): Span => ({
      resource: about,
      scope: SCOPE,
      traceId: trace,
      spanId: hex(id++, 16),
      parentSpanId: parent,
      traceState: '',
      flags: 0,
      name,
      kind: 1,
      startTime: begin + BigInt(from) * 1_000_000n,
      endTime: begin + BigInt(until) * 1_000_000n,
      attributes,
      droppedAttributesCount: 0,
      events: [],
      droppedEventsCount: 0,
      links: [],
      droppedLinksCount: 0,
      status: { code: 0, message: '' },
    });
    const root = make(`Req ${hex(i, 8)}`, '', 0, 100 + (i % 50), { rid: hex(i, 32), module: 'sglang::request' });
    yield root;
    const inside = make('request_process', root.spanId, 1, 99, { module: 'sglang::request' });
    yield inside;
    for (let k = 0; k < 8; k++)
      yield make(STEPS[k % STEPS.length]!, inside.spanId, 2 + 12 * k, 12 + 12 * k, { module: 'sglang::request' });
  }
}

function line(batch: readonly Span[]): string {
  const value = (v: unknown) => ({ stringValue: String(v) });
  const pairs = (a: Span['attributes']) => Object.entries(a).map(([key, v]) => ({ key, value: value(v) }));
  const written = batch.map((span) => ({
    traceId: span.traceId,
    spanId: span.spanId,
    ...(span.parentSpanId === '' ? {} : { parentSpanId: span.parentSpanId }),
    name: span.name,
    kind: 1,
    startTimeUnixNano: String(span.startTime),
    endTimeUnixNano: String(span.endTime),
    attributes: pairs(span.attributes),
  }));
  const about = { attributes: pairs(batch[0]!.resource.attributes) };
  return `${JSON.stringify({ resourceSpans: [{ resource: about, scopeSpans: [{ scope: { name: 'sglang' }, spans: written }] }] })}\n`;
}

async function write(file: string, count: number): Promise<void> {
  const out = createWriteStream(file);
  let batch: Span[] = [];
  for (const span of spans(count)) {
    if (batch.length >= 100 && batch[0]!.resource !== span.resource) {
      if (!out.write(line(batch))) await new Promise<void>((done) => out.once('drain', () => done()));
      batch = [];
    }
    // A line is of one replica, as exporters send them.
    batch.push(
      span.resource === batch[0]?.resource || batch.length === 0 ? span : { ...span, resource: batch[0]!.resource },
    );
  }
  out.write(line(batch));
  await new Promise<void>((done) => out.end(done));
}

async function work(name: string, count: number, file: string): Promise<void> {
  const wall = performance.now();
  const cpu = process.cpuUsage();
  if (name === 'spans alone') {
    let n = 0;
    for (const span of spans(count)) n += span.name.length;
    if (n === 0) throw new Error('nothing was made');
  } else {
    const store = new SpanStore(loadCatalog());
    if (name === 'spans') for (const span of spans(count)) store.add(span);
    else
      for await (const read of readRecordings([file], ({ what }) => {
        throw new Error(what);
      }))
        if (read.kind === 'batch')
          for (const batch of read.batches)
            if (batch.signal === 'traces') for (const span of batch.items) store.add(span);
    const drawn = drawFlame(store, { view: 'critical-path', by: 'role' });
    if (drawn.spans < count) throw new Error(`${drawn.spans} of ${count} spans were drawn`);
    flamePage(drawn, { of: 'bench', version: '0' });
  }
  const used = process.cpuUsage(cpu);
  process.send!({
    name,
    cpuSeconds: (used.user + used.system) / 1e6,
    wallSeconds: (performance.now() - wall) / 1000,
    peakMib: process.resourceUsage().maxRSS / 1024,
  } satisfies FlameMeasured);
}

export async function benchFlamegraph(count = 1_000_000): Promise<FlameMeasured[]> {
  const folder = mkdtempSync(join(tmpdir(), 'enginelight-bench-flame-'));
  try {
    const file = join(folder, 'spans.jsonl');
    await write(file, count);
    const out: FlameMeasured[] = [];
    for (const name of CASES)
      out.push(
        await new Promise<FlameMeasured>((done, failed) => {
          const child = fork(fileURLToPath(import.meta.url), ['--case', name, String(count), file]);
          child.once('message', (measured) => done(measured as FlameMeasured));
          child.once('error', failed);
          child.once('exit', (code) => failed(new Error(`${name} ended with ${code}`)));
        }),
      );
    process.stdout.write(`recording: ${(statSync(file).size / 2 ** 20).toFixed(0)} MiB\n`);
    return out;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

export function flameTable(rows: readonly FlameMeasured[]): string {
  const alone = rows.find(({ name }) => name === 'spans alone')!;
  const label: Readonly<Record<string, string>> = {
    spans: 'spans in memory → critical path → page',
    recording: 'recording, plain → critical path → page',
  };
  return [
    '| what | CPU s | wall s | peak MiB |',
    '|---|---|---|---|',
    ...rows
      .filter(({ name }) => name !== 'spans alone')
      .map((row) => {
        // Making the spans is not drawing them.
        const less = row.name === 'spans' ? alone : { cpuSeconds: 0, wallSeconds: 0 };
        return `| ${label[row.name]} | ${(row.cpuSeconds - less.cpuSeconds).toFixed(1)} | ${(row.wallSeconds - less.wallSeconds).toFixed(1)} | ${row.peakMib.toFixed(0)} |`;
      }),
  ].join('\n');
}

if (process.argv[2] === '--case') {
  const [, , , name, count, file] = process.argv;
  await work(name!, Number(count), file!);
  process.disconnect();
} else if (process.argv[1] === fileURLToPath(import.meta.url)) {
  process.stdout.write(`${flameTable(await benchFlamegraph(Number(process.argv[2] ?? 1_000_000)))}\n`);
}
