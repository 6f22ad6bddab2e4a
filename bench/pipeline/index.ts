/**
 * From a page to OTLP bytes, beside what npm has for it, in one process and one run: our parse → points → normalise →
 * protobuf against parse-prometheus-text-format and the OpenTelemetry SDK's serializer over the same numbers (what turns the
 * one's objects into the other's is not counted, in their favour). Then how the cost grows with the series, and what an hour
 * of scrapes with churn leaves in memory. Time is CPU time of all threads.
 *
 * `node bench/pipeline/index.js [CPU seconds per case]` after compiling.
 */
import { createRequire } from 'node:module';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { ProtobufMetricsSerializer } from '@opentelemetry/otlp-transformer';
import { loadCatalog } from '../../config/catalog.ts';
import { resolve } from '../../config/schema.ts';
import type { Context, Stage } from '../../pipeline/component.ts';
import { systemClock } from '../../pipeline/kit/clock.ts';
import { identifyBy } from '../../pipeline/kit/engine-receiver.ts';
import { createLogger } from '../../pipeline/kit/log.ts';
import { seriesTable } from '../../pipeline/kit/scrape-series.ts';
import { type Batch, metricsBatch, SIGNALS, scope } from '../../pipeline/model.ts';
import { encodeRequest } from '../../pipeline/wire/otlp/index.ts';
import { normalize } from '../../processors/normalize/index.ts';
import { sdkShape } from '../export/points.ts';
import { vllmLikePage } from '../scrape/page.ts';

const parseTextFormat = createRequire(import.meta.url)('parse-prometheus-text-format') as (page: string) => unknown[];
const catalog = loadCatalog();
const STEP = 5_000_000_000n;

const table = () =>
  seriesTable({
    attributes: { 'service.name': 'bench', 'service.instance.id': '127.0.0.1:8000' },
    scope: scope('bench'),
    job: 'bench',
    instance: '127.0.0.1:8000',
    labels: [],
    honorLabels: false,
    honorTimestamps: true,
    metricRelabel: undefined,
    limits: { samples: 0, labels: 0, labelNameLength: 0, labelValueLength: 0 },
    identify: (names) => identifyBy(catalog, names),
  });

const context: Context = {
  id: 'normalize',
  kind: 'processor',
  log: createLogger({ clock: systemClock, level: 'error' }),
  clock: systemClock,
  catalog,
  signals: new Set(SIGNALS),
  status() {},
  meter: { counter: () => ({ add() {} }), gauge() {}, dropped() {}, sent() {}, failed() {} },
};

interface Path {
  /** One page in, the bytes of the request out. */
  run(page: Buffer): number;
}

async function ourPath(originals: 'keep' | 'drop' | undefined): Promise<Path> {
  const series = table();
  let time = 1_700_000_000_000_000_000n;
  let out: Batch | undefined;
  let stage: Stage | undefined;
  if (originals !== undefined) {
    const next = {
      consume(batch: Batch) {
        out = batch;
      },
    };
    stage = await normalize.start(resolve(normalize.config, { originals }), next, context);
  }
  return {
    run(page) {
      time += STEP;
      const batch = metricsBatch(series.read(page, 'text/plain', time).points);
      out = batch;
      void stage?.consume(batch);
      return encodeRequest(out, 'protobuf').length;
    },
  };
}

export interface Measured {
  readonly what: string;
  readonly samplesPerCpuSecond: number;
  readonly ratio: number;
}

const cpuSeconds = (since: NodeJS.CpuUsage) => {
  const { user, system } = process.cpuUsage(since);
  return (user + system) / 1e6;
};

/** The paths in turns; medians of the turns. */
export async function benchPipeline(seconds = 2): Promise<{ samples: number; results: Measured[] }> {
  const next = vllmLikePage({ engines: 9 });
  const texts = Array.from({ length: 8 }, next);
  const pages = texts.map((text) => Buffer.from(text));
  const samples = texts[0]!.split('\n').filter((line) => line !== '' && !line.startsWith('#')).length;
  const shape = sdkShape();
  const points = table();
  const sdk = pages.map((page, i) =>
    shape(metricsBatch(points.read(page, 'text/plain', 1_700_000_000_000_000_000n + BigInt(i) * STEP).points)),
  );
  const keep = await ourPath('keep');
  const drop = await ourPath('drop');
  const plain = await ourPath(undefined);
  const cases: { what: string; run: (i: number) => unknown }[] = [
    { what: 'page → points → OTLP', run: (i) => plain.run(pages[i]!) },
    { what: 'page → points → normalised (originals dropped) → OTLP', run: (i) => drop.run(pages[i]!) },
    { what: 'page → points → normalised (originals kept) → OTLP', run: (i) => keep.run(pages[i]!) },
    {
      what: 'parse-prometheus-text-format + SDK serializer',
      run(i) {
        parseTextFormat(pages[i]!.toString('utf8'));
        return ProtobufMetricsSerializer.serializeRequest(sdk[i]!);
      },
    },
    { what: 'SDK serializer alone', run: (i) => ProtobufMetricsSerializer.serializeRequest(sdk[i]!) },
  ];
  const turns = 5;
  const rates = cases.map((): number[] => []);
  for (let turn = 0; turn <= turns; turn++) {
    cases.forEach((one, c) => {
      const begin = process.cpuUsage();
      let rounds = 0;
      let elapsed = 0;
      do {
        one.run(rounds++ % 8);
        elapsed = cpuSeconds(begin);
      } while (elapsed < seconds / turns);
      if (turn > 0) rates[c]!.push((rounds * samples) / elapsed);
    });
  }
  const medians = rates.map((r) => r.sort((a, b) => a - b)[turns >> 1]!);
  const peer = medians[3]!;
  return {
    samples,
    results: cases.map(({ what }, c) => ({ what, samplesPerCpuSecond: medians[c]!, ratio: medians[c]! / peer })),
  };
}

/** Microseconds of CPU per sample, page to bytes, for pages of growing size: the same if the cost is linear. */
export async function benchLinearity(): Promise<{ samples: number; microsPerSample: number }[]> {
  const out: { samples: number; microsPerSample: number }[] = [];
  for (const engines of [3, 9, 30, 90]) {
    const next = vllmLikePage({ engines });
    const pages = Array.from({ length: 4 }, () => Buffer.from(next()));
    const samples = pages[0]!
      .toString()
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#')).length;
    const path = await ourPath('keep');
    for (let i = 0; i < 20; i++) path.run(pages[i % 4]!);
    const begin = process.cpuUsage();
    let rounds = 0;
    do path.run(pages[rounds++ % 4]!);
    while (cpuSeconds(begin) < 1);
    out.push({ samples, microsPerSample: (cpuSeconds(begin) / (rounds * samples)) * 1e6 });
  }
  return out;
}

/** An hour of scrapes every 5 s in which a tenth of the series is replaced every minute; heap in MiB every ten minutes. */
export async function benchChurn(): Promise<number[]> {
  const next = vllmLikePage({ engines: 9 });
  const path = await ourPath('keep');
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const heap: number[] = [];
  for (let scrape = 0; scrape < 720; scrape++) {
    const minute = Math.floor(scrape / 12);
    // Every tenth engine of the page is another one each minute.
    const page = next().replaceAll('engine="8"', `engine="8-${minute}"`);
    path.run(Buffer.from(page));
    if (scrape % 120 === 119) {
      collect();
      heap.push(process.memoryUsage().heapUsed / 2 ** 20);
    }
  }
  return heap;
}

export function tableOf({ samples, results }: Awaited<ReturnType<typeof benchPipeline>>): string {
  const number = (n: number) => Math.round(n).toLocaleString('en-US').padStart(14);
  return [
    `a page of ${samples} samples`,
    `  ${'what'.padEnd(56)}${'samples/cpu s'.padStart(14)}  ratio`,
    ...results.map((r) => `  ${r.what.padEnd(56)}${number(r.samplesPerCpuSecond)}  ${r.ratio.toFixed(1)} x`),
  ].join('\n');
}

export async function reportPipeline(seconds: number, say: (line: string) => void): Promise<void> {
  say(tableOf(await benchPipeline(seconds)));
  const lines = await benchLinearity();
  say(
    `µs per sample by page size: ${lines.map((l) => `${l.samples} samples ${l.microsPerSample.toFixed(2)}`).join(', ')}`,
  );
  const heap = await benchChurn();
  say(`heap over an hour with churn, MiB every ten minutes: ${heap.map((mib) => mib.toFixed(1)).join(' ')}`);
}

if (process.argv[1] && import.meta.url === new URL(process.argv[1], 'file://').href) {
  await reportPipeline(Number(process.argv[2] ?? 2), (line) => void process.stdout.write(`${line}\n`));
}
