/**
 * How fast exporters write, beside OpenTelemetry's own serializers, in one process and one run: the page for Prometheus,
 * OTLP in protobuf and JSON, remote write. Numbers change between rounds, series do not, as in a row of scrapes. Time is CPU
 * time of all threads, so that other work on the machine does not count.
 *
 * `node bench/export/index.js [CPU seconds per case]` after compiling.
 */
import { PrometheusSerializer } from '@opentelemetry/exporter-prometheus';
import { JsonMetricsSerializer, ProtobufMetricsSerializer } from '@opentelemetry/otlp-transformer';
import type { ResourceMetrics } from '@opentelemetry/sdk-metrics';
import { store } from '../../exporters/prometheus/store.ts';
import type { MetricsBatch } from '../../pipeline/model.ts';
import { encodeRequest } from '../../pipeline/wire/otlp/index.ts';
import { encodeWriteRequest } from '../../pipeline/wire/remote-write.ts';
import { storedNames } from '../../pipeline/wire/remote-write-series.ts';
import { gauges, type Source, sdkShape, vllmLike } from './points.ts';

interface Case {
  readonly what: string;
  readonly whose: 'enginelight' | 'OpenTelemetry SDK';
  run(ours: MetricsBatch, sdk: ResourceMetrics): number;
}

export interface Measured {
  readonly source: string;
  readonly what: string;
  readonly whose: string;
  readonly pointsPerCpuSecond: number;
  readonly linesPerCpuSecond: number;
  readonly bytes: number;
}

const NAMING = {
  strategy: 'UnderscoreEscapingWithSuffixes' as const,
  namespace: '',
  constLabels: [],
  resourceLabel: () => false,
  scopeLabels: true,
};

function cases(): Case[] {
  const page = store({ ...NAMING, expirationMs: 300_000, timestamps: false, maxSeries: 1e6, dropped: () => {} });
  const names = storedNames(NAMING);
  const prometheus = new PrometheusSerializer();
  const format = { kind: 'text', version: '0.0.4', escaping: 'underscores' } as const;
  return [
    {
      what: 'Prometheus page',
      whose: 'enginelight',
      run(batch) {
        for (const point of batch.items) page.put(point, 0);
        return Buffer.from(page.page(format, 0).join('')).length;
      },
    },
    {
      what: 'Prometheus page',
      whose: 'OpenTelemetry SDK',
      run: (_b, sdk) => Buffer.from(prometheus.serialize(sdk)).length,
    },
    { what: 'OTLP protobuf', whose: 'enginelight', run: (batch) => encodeRequest(batch, 'protobuf').length },
    {
      what: 'OTLP protobuf',
      whose: 'OpenTelemetry SDK',
      run: (_b, sdk) => ProtobufMetricsSerializer.serializeRequest(sdk)?.length ?? 0,
    },
    { what: 'OTLP JSON', whose: 'enginelight', run: (batch) => encodeRequest(batch, 'json').length },
    {
      what: 'OTLP JSON',
      whose: 'OpenTelemetry SDK',
      run: (_b, sdk) => JsonMetricsSerializer.serializeRequest(sdk)?.length ?? 0,
    },
    {
      what: 'remote write 1.0',
      whose: 'enginelight',
      run: (batch) => encodeWriteRequest(batch.items, names, { version: '1.0', metadata: false }).bytes.length,
    },
    {
      what: 'remote write 2.0',
      whose: 'enginelight',
      run: (batch) => encodeWriteRequest(batch.items, names, { version: '2.0', metadata: false }).bytes.length,
    },
  ];
}

/** Runs every case over every source, `seconds` of CPU each, in turns; medians of the turns. */
export function benchExport(seconds = 2, sources: readonly Source[] = [gauges(10_000), vllmLike()]): Measured[] {
  const results: Measured[] = [];
  for (const source of sources) {
    const shape = sdkShape();
    const batches = Array.from({ length: 8 }, () => source.next());
    const sdk = batches.map(shape);
    const all = cases();
    const turns = 5;
    const rates = all.map((): number[] => []);
    const bytes = all.map(() => 0);
    // Turns alternate between the cases, so that a slow moment of the machine meets all of them. The first is warm-up.
    for (let turn = 0; turn <= turns; turn++) {
      all.forEach((one, c) => {
        const begin = process.cpuUsage();
        let rounds = 0;
        let elapsed = 0;
        do {
          bytes[c] = one.run(batches[rounds % 8]!, sdk[rounds % 8]!);
          rounds++;
          const { user, system } = process.cpuUsage(begin);
          elapsed = (user + system) / 1e6;
        } while (elapsed < seconds / turns);
        if (turn > 0) rates[c]!.push(rounds / elapsed);
      });
    }
    all.forEach(({ what, whose }, c) => {
      const perSecond = rates[c]!.sort((a, b) => a - b)[turns >> 1]!;
      results.push({
        source: source.name,
        what,
        whose,
        pointsPerCpuSecond: perSecond * source.points,
        linesPerCpuSecond: perSecond * source.lines,
        bytes: bytes[c]!,
      });
    });
  }
  return results;
}

/** The results as a table, each of ours with its ratio to the SDK's. */
export function tableOf(results: readonly Measured[]): string {
  const lines: string[] = [];
  let source = '';
  for (const r of results) {
    if (r.source !== source) {
      source = r.source;
      lines.push(
        '',
        source,
        `  ${'what'.padEnd(18)}${'whose'.padEnd(20)}${'points/cpu s'.padStart(14)}${'lines/cpu s'.padStart(14)}${'bytes'.padStart(10)}  ratio`,
      );
    }
    const peer = results.find((o) => o.source === r.source && o.what === r.what && o.whose !== r.whose);
    const ratio =
      r.whose === 'enginelight' && peer ? `${(r.pointsPerCpuSecond / peer.pointsPerCpuSecond).toFixed(1)} x` : '';
    const number = (n: number) => Math.round(n).toLocaleString('en-US').padStart(14);
    lines.push(
      `  ${r.what.padEnd(18)}${r.whose.padEnd(20)}${number(r.pointsPerCpuSecond)}${number(r.linesPerCpuSecond)}${String(r.bytes).padStart(10)}  ${ratio}`,
    );
  }
  return lines.join('\n').trim();
}

if (process.argv[1]?.endsWith('export/index.js') || process.argv[1]?.endsWith('export/index.ts')) {
  process.stdout.write(`node ${process.version}\n${tableOf(benchExport(Number(process.argv[2] ?? 2)))}\n`);
}
