/**
 * An independent reader of Prometheus remote write: protobufjs over the .proto files that npm carries for version 1.0, over
 * the published field numbers for version 2.0, and snappyjs.
 */
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import protobuf from 'protobufjs';
import { uncompress } from 'snappyjs';

const folder = join(dirname(createRequire(import.meta.url).resolve('@platformatic/promotel')), '..', 'proto');
const root = new protobuf.Root();
// The options of gogoproto change Go code, not bytes.
root.resolvePath = (_origin, target) => (target.startsWith('gogoproto') ? null : join(folder, target));
root.loadSync('prometheus.proto', { keepCase: true });

const two = protobuf.parse(
  `syntax = "proto3";
   message Request { repeated string symbols = 4; repeated TimeSeries timeseries = 5; }
   message TimeSeries { repeated uint32 labels_refs = 1; repeated Sample samples = 2; repeated Histogram histograms = 3;
     repeated Exemplar exemplars = 4; Metadata metadata = 5; }
   message Exemplar { repeated uint32 labels_refs = 1; double value = 2; int64 timestamp = 3; }
   message Sample { double value = 1; int64 timestamp = 2; }
   message Metadata { int32 type = 1; uint32 help_ref = 3; uint32 unit_ref = 4; }
   message Histogram { oneof count { uint64 count_int = 1; double count_float = 2; } double sum = 3; sint32 schema = 4;
     double zero_threshold = 5; oneof zero_count { uint64 zero_count_int = 6; double zero_count_float = 7; }
     repeated BucketSpan negative_spans = 8; repeated sint64 negative_deltas = 9; repeated double negative_counts = 10;
     repeated BucketSpan positive_spans = 11; repeated sint64 positive_deltas = 12; repeated double positive_counts = 13;
     int32 reset_hint = 14; int64 timestamp = 15; }
   message BucketSpan { sint32 offset = 1; uint32 length = 2; }`,
  { keepCase: true },
).root;

export interface ReadHistogram {
  count_int: number;
  sum: number;
  schema: number;
  zero_threshold: number;
  zero_count_int: number;
  timestamp: number;
  positive_spans?: { offset: number; length: number }[];
  positive_deltas?: number[];
  negative_spans?: { offset: number; length: number }[];
  negative_deltas?: number[];
}
export interface ReadSeries {
  /** `name{a="b"}`, as it is usually written. */
  readonly id: string;
  readonly labels: readonly [string, string][];
  readonly samples: { value: number; timestamp: number; stale: boolean }[];
  readonly exemplars: { labels: Record<string, string>; value: number; timestamp: number }[];
  readonly histograms: ReadHistogram[];
  readonly metadata?: { type: number; help: string; unit: string };
}
export interface ReadRequest {
  readonly series: ReadSeries[];
  readonly metadata: { type: number; metric_family_name: string; help?: string; unit?: string }[];
  readonly symbols: string[];
}

const idOf = (labels: readonly [string, string][]) => {
  const name = labels.find(([n]) => n === '__name__')?.[1] ?? '';
  const rest = labels.filter(([n]) => n !== '__name__').map(([n, v]) => `${n}="${v}"`);
  return rest.length === 0 ? name : `${name}{${rest.join(',')}}`;
};

type Plain = Record<string, unknown>;
const sample = (s: { value: number; timestamp: number }, bits: bigint | undefined) => ({
  value: s.value,
  timestamp: s.timestamp,
  stale: bits === 0x7ff0000000000002n,
});

/** Reads a request as it was sent. NaN payloads are looked up in the bytes, because JavaScript does not keep them. */
export function readRemoteWrite(version: '1.0' | '2.0', body: Uint8Array, compressed = true): ReadRequest {
  const bytes = compressed ? new Uint8Array(uncompress(body)) : body;
  const type = version === '1.0' ? root.lookupType('prometheus.WriteRequest') : two.lookupType('Request');
  const plain = type.toObject(type.decode(bytes), { longs: Number, enums: Number, defaults: true }) as Plain;
  const symbols = (plain['symbols'] ?? []) as string[];
  const resolve = (s: Plain): [string, string][] => {
    if (version === '1.0') return (s['labels'] as { name: string; value: string }[]).map((l) => [l.name, l.value]);
    const refs = s['labels_refs'] as number[];
    return refs.flatMap((ref, i) => (i % 2 === 0 ? [[symbols[ref]!, symbols[refs[i + 1]!]!] as [string, string]] : []));
  };
  const stale = staleSamples(bytes);
  const series = (plain['timeseries'] as Plain[]).map((s): ReadSeries => {
    const labels = resolve(s);
    const metadata = s['metadata'] as { type: number; help_ref: number; unit_ref: number } | undefined;
    return {
      id: idOf(labels),
      labels,
      samples: (s['samples'] as { value: number; timestamp: number }[]).map((x) =>
        sample(x, Number.isNaN(x.value) ? stale.shift() : undefined),
      ),
      exemplars: (s['exemplars'] as Plain[]).map((e) => ({
        labels: Object.fromEntries(resolve(e)),
        value: e['value'] as number,
        timestamp: e['timestamp'] as number,
      })),
      histograms: s['histograms'] as ReadHistogram[],
      ...(metadata
        ? { metadata: { type: metadata.type, help: symbols[metadata.help_ref]!, unit: symbols[metadata.unit_ref]! } }
        : {}),
    };
  });
  return { series, metadata: (plain['metadata'] ?? []) as ReadRequest['metadata'], symbols };
}

/** The bits of every NaN that stands where a sample's value does (tag 0x09), in order. */
function staleSamples(bytes: Uint8Array): (bigint | undefined)[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const found: bigint[] = [];
  for (let at = 0; at + 9 <= bytes.length; at++) {
    if (bytes[at] === 0x09 && Number.isNaN(view.getFloat64(at + 1, true)) && bytes[at + 9] === 0x10) {
      found.push(view.getBigUint64(at + 1, true));
    }
  }
  return found;
}
