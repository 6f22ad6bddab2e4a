/**
 * Files of others that are read as recordings: results of load generators, Dynamo's JSON Lines, traces of torch.profiler and
 * dumps of the flight recorder. What a file is is seen by its contents, not by its name.
 */
import { statSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { describeError } from '../errors.ts';
import {
  type AnyValue,
  type Attributes,
  msFromNanos,
  type Resource,
  resource,
  type Span,
  tracesBatch,
} from '../model.ts';
import {
  aiperfRun,
  isAiperfRecord,
  isAiperfSummary,
  readAiperfRecord,
  readAiperfSummary,
} from '../wire/bench/aiperf.ts';
import { isGuidellmReport, readGuidellm } from '../wire/bench/guidellm.ts';
import { benchLines } from '../wire/bench/lines.ts';
import type { BenchRequest, BenchRun, Json } from '../wire/bench/run.ts';
import { isServeResult, readServeResult } from '../wire/bench/serve.ts';
import { type RequestEnd, readDynamoLine } from '../wire/dynamo-trace.ts';
import type { BatchLine, RecordingLine } from '../wire/recording.ts';
import { dynamoSpan } from './dynamo-spans.ts';
import { readDump } from './flight-recorder-dump.ts';
import { dumpSpans } from './flight-recorder-spans.ts';
import { hookSpans } from './hook-span.ts';
import { readJsonElements } from './json-elements.ts';
import { createTraceReader, type Header, readBeside } from './kineto-trace.ts';

export type FileKind = 'lines' | 'document' | 'pickle' | 'kineto' | 'binary';

/** What a file is, by its first bytes (decompressed). */
export function kindOf(head: Uint8Array): FileKind {
  if (head[0] === 0x80 && head[1]! >= 2 && head[1]! <= 5) return 'pickle';
  if (head.includes(0)) return 'binary';
  const text = Buffer.from(head.buffer, head.byteOffset, head.length).toString('utf8').trimStart();
  if (!text.startsWith('{')) return 'lines';
  if (/"(traceEvents|baseTimeNanoseconds|deviceProperties)"\s*:/.test(text) && !/^\{\s*"resource/.test(text))
    return 'kineto';
  const end = text.indexOf('\n');
  const first = end < 0 ? text : text.slice(0, end).trimEnd();
  // One object over many lines.
  if (end >= 0 && /[{[,]$/.test(first)) return 'document';
  if (
    /^\{\s*"(version|pg_config|pg_status|nccl_version|entries)"\s*:/.test(text) &&
    /"(pg_config|entries|pg_status)"/.test(text)
  ) {
    return 'document';
  }
  return 'lines';
}

/** The name of a service that a file says nothing of. */
const SERVICE = 'benchmark';
const SPANS = 1000;
/** What is held of one file at most. */
const MOST = 2_000_000;

const writtenMs = (file: string): number => statSync(file).mtimeMs;

/** Who files of engines are about: all of a folder are of one replica. */
const aboutFolder = (file: string) => {
  const known = new Map<string, Resource>();
  const replica = basename(dirname(file)) || 'replica';
  return (said: Attributes): Resource => {
    const key = JSON.stringify(said);
    let found = known.get(key);
    if (!found) {
      const attributes: Record<string, AnyValue> = Object.assign(Object.create(null), said);
      attributes['service.instance.id'] ??= replica;
      found = resource(attributes);
      known.set(key, found);
    }
    return found;
  };
};

function spanLines(spans: Span[]): BatchLine[] {
  spans.sort((a, b) => (a.endTime < b.endTime ? -1 : a.endTime > b.endTime ? 1 : 0));
  const lines: BatchLine[] = [];
  for (let i = 0; i < spans.length; i += SPANS) {
    const some = spans.slice(i, i + SPANS);
    lines.push({ kind: 'batch', timeMs: msFromNanos(some.at(-1)!.endTime), batches: [tracesBatch(some)] });
  }
  return lines;
}

/** A file that is one object over many lines, or one pickle. Throws an Error that says what is wrong with it. */
export function documentLines(file: string, bytes: Buffer, kind: 'document' | 'pickle'): RecordingLine[] {
  if (kind === 'document') {
    let object: Json;
    try {
      object = JSON.parse(bytes.toString('utf8')) as Json;
    } catch (error) {
      throw new Error(`it is not whole: it begins as one JSON object over many lines (${describeError(error)})`);
    }
    const runs = resultRuns(object, writtenMs(file));
    if (runs) return benchLines(runs, SERVICE);
    if (!['pg_config', 'pg_status', 'entries'].some((key) => key in object)) {
      throw new Error(
        `it is one JSON object, with ${keys(object)}: neither a recording nor anything that is read as one`,
      );
    }
  }
  const dump = readDump(bytes);
  const make = hookSpans('flight_recorder', file);
  const made = dumpSpans(dump, { name: basename(file), writtenMs: writtenMs(file), about: aboutFolder(file), make });
  if (made.rank === undefined && dump.entries.length > 0) {
    throw new Error(
      'it is a dump of the flight recorder, but its name does not end in the rank, as in nccl_trace_rank_3',
    );
  }
  if (made.spans.length === 0 && made.untimed > 0) {
    throw new Error(
      `all ${made.untimed} operations of the dump have ended and none was timed (TORCH_NCCL_ENABLE_TIMING=1 measures them)`,
    );
  }
  return spanLines(made.spans);
}

const keys = (object: Json): string => {
  const names = Object.keys(object).map((key) => JSON.stringify(key.slice(0, 40)));
  return names.length === 0 ? 'nothing in it' : names.slice(0, 5).join(', ');
};

/** The runs of a result that is one object; undefined if it is none. */
function resultRuns(object: Json, endMs: number): BenchRun[] | undefined {
  if (isGuidellmReport(object)) return readGuidellm(object);
  if (isAiperfSummary(object)) return [readAiperfSummary(object, endMs)];
  return isServeResult(object) ? [readServeResult(object, endMs)] : undefined;
}

export interface ForeignLines {
  /** Takes in a line that is none of a recording. Throws an Error that says what it is not. */
  take(object: Json, text: string): undefined;
  /** All that was taken in, in order of time. */
  finish(): Promise<RecordingLine[]>;
}

/** Lines that others write, of which what is meant is known when all are there. */
export function foreignLines(file: string): ForeignLines {
  const about = aboutFolder(file);
  const make = hookSpans('dynamo_trace', file);
  const spans: Span[] = [];
  const ends: RequestEnd[] = [];
  const records: BenchRequest[] = [];
  const results: Json[] = [];
  const hold = <T>(list: T[], item: T) => {
    if (list.length >= MOST) throw new Error(`only the first ${MOST} of its kind are used`);
    list.push(item);
  };
  return {
    take(object, text) {
      if (isAiperfRecord(object)) {
        const record = readAiperfRecord(object);
        if (record) hold(records, record);
      } else if (isServeResult(object) || isGuidellmReport(object) || isAiperfSummary(object)) hold(results, object);
      else if (text.includes('"dynamo.')) {
        const read = readDynamoLine(text);
        if (read?.kind === 'request') hold(ends, read);
        if (read) hold(spans, make(dynamoSpan(read, about)));
      } else {
        throw new Error(
          `it is no recording line, and no line of guidellm, AIPerf, vllm bench, SGLang or Dynamo: it has ${keys(object)}`,
        );
      }
      return undefined;
    },
    async finish() {
      const lines: BatchLine[] = spanLines(spans);
      const runs: BenchRun[] = records.length > 0 ? [aiperfRun(records)] : [];
      if (results.length > 0) {
        // Those that do not say when they were came one after the other, the last when the file was written.
        let end = writtenMs(file);
        for (const object of results.toReversed()) {
          const some = resultRuns(object, end) ?? [];
          runs.push(...some);
          end = Math.min(...some.map((r) => r.startMs), end) - PAUSE;
        }
      }
      lines.push(...benchLines(runs, SERVICE));
      if (ends.length > 0) lines.push(...benchLines(dynamoRuns(ends), SERVICE, false));
      return lines.sort((a, b) => a.timeMs - b.timeMs);
    },
  };
}

/** Between runs of which only the order is known, milliseconds. */
const PAUSE = 60_000;

/** Requests at Dynamo's frontend, a run a model. */
function dynamoRuns(ends: readonly RequestEnd[]): BenchRun[] {
  const models = new Map<string, RequestEnd[]>();
  for (const e of ends) {
    const known = models.get(e.model);
    if (known) known.push(e);
    else models.set(e.model, [e]);
  }
  return [...models].map(([model, some]): BenchRun => {
    const requests = some.map(
      (e): BenchRequest => ({
        id: e.id,
        startMs: e.receivedMs,
        tookMs: e.totalMs,
        ttftMs: e.ttftMs,
        gapsMs: undefined,
        gapMs:
          e.ttftMs !== undefined && e.outputTokens !== undefined && e.outputTokens > 1
            ? Math.max(0, e.totalMs - e.ttftMs) / (e.outputTokens - 1)
            : undefined,
        inputTokens: e.inputTokens,
        outputTokens: e.outputTokens,
        cachedTokens: e.cachedTokens,
        error: e.finishReason === 'error' ? 'error' : undefined,
      }),
    );
    let from = Infinity;
    let to = -Infinity;
    for (const r of requests) {
      from = Math.min(from, r.startMs!);
      to = Math.max(to, r.startMs! + r.tookMs);
    }
    return { tool: 'dynamo', model, load: '', startMs: from, endMs: to, requests, totals: undefined };
  });
}

const MAX_EVENT = 1 << 20;
/** A trace has gigabytes of text, of which nearly nothing is kept. */
const MAX_TRACE = 64 * 2 ** 30;

/** A trace of torch.profiler: collectives and steps. Rejects with an Error that says what is wrong with it. */
export async function kinetoLines(file: string): Promise<RecordingLine[]> {
  const limits = { list: 'traceEvents', maxElementBytes: MAX_EVENT, maxBytes: MAX_TRACE };
  const header: Header = { base: 0n, rank: undefined, worldSize: undefined, backend: '' };
  // What times are relative to may stand behind the events.
  await readJsonElements(file, {
    ...limits,
    element() {},
    beside: (key, value) => readBeside(header, key, value),
  });
  const make = hookSpans('kineto', file);
  const reader = createTraceReader(header, aboutFolder(file));
  const spans: Span[] = [];
  const read = await readJsonElements(file, {
    ...limits,
    element(text) {
      let span: ReturnType<typeof reader.read>;
      try {
        span = reader.read(text);
      } catch {
        // A trace that was cut off ends in half an event.
        return;
      }
      if (span && spans.length < MOST) spans.push(make(span));
    },
  });
  for (const span of reader.steps()) spans.push(make(span));
  if (spans.length === 0) {
    throw new Error(
      `it is a trace of torch.profiler with ${read.elements} events, none of them a collective with its group (record_shapes=True) or an engine step`,
    );
  }
  return spanLines(spans);
}
