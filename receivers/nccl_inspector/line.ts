/**
 * A line of NCCL's Inspector plug-in: one finished collective or send/receive of one rank.
 * Source: NCCL plugins/profiler/inspector (README and inspector_json.cc), output format v4.0.
 */
import { commOp } from '../../pipeline/kit/hook-span.ts';

export interface InspectorLine {
  readonly comm: string;
  readonly rank: number;
  readonly size: number;
  readonly host: string;
  readonly pid: number | undefined;
  readonly op: string;
  readonly seq: number;
  readonly peer: number | undefined;
  readonly bytes: number;
  /** Microseconds since the epoch. */
  readonly startUs: number;
  readonly endUs: number;
  /** `device` where kernels were timed, `host` where only the call was. */
  readonly clock: 'device' | 'host';
  /** Bytes per second. */
  readonly busBandwidth: number | undefined;
}

type Json = Readonly<Record<string, unknown>>;
const isObject = (v: unknown): v is Json => typeof v === 'object' && v !== null && !Array.isArray(v);
const at = (v: unknown, key: string): unknown => (isObject(v) ? v[key] : undefined);
const whole = (v: unknown): number | undefined =>
  Number.isSafeInteger(v) && (v as number) >= 0 ? (v as number) : undefined;
const number = (v: unknown): number | undefined =>
  typeof v === 'number' && Number.isFinite(v) && v >= 0 ? v : undefined;

/** Reads a line. Throws a SyntaxError, or an Error that says what is missing; unknown keys are left alone. */
export function readInspectorLine(text: string): InspectorLine {
  const line: unknown = JSON.parse(text);
  const header = at(line, 'header');
  const metadata = at(line, 'metadata');
  const point = at(line, 'coll_perf') === undefined;
  const perf = at(line, point ? 'p2p_perf' : 'coll_perf');
  const prefix = point ? 'p2p' : 'coll';
  const op = commOp(String(at(perf, prefix) ?? ''));
  const comm = at(header, 'id');
  const rank = whole(at(header, 'rank'));
  const size = whole(at(header, 'n_ranks'));
  const seq = whole(at(perf, `${prefix}_sn`));
  const took = number(at(perf, `${prefix}_exec_time_us`));
  const dumped = whole(at(metadata, 'dump_timestamp_us'));
  if (typeof comm !== 'string' || rank === undefined || size === undefined) throw new Error('it has no communicator');
  if (op === undefined || seq === undefined || took === undefined) throw new Error('it has no operation with a time');
  const peer = point ? whole(at(perf, 'p2p_peer')) : undefined;
  const source = at(perf, `${prefix}_timing_source`);
  const gbs = number(at(perf, `${prefix}_busbw_gbs`));
  const end = endOf(at(perf, 'event_trace_ts'), prefix) ?? dumped;
  if (end === undefined) throw new Error('it does not say when it was');
  return {
    comm: comm.slice(0, 200),
    rank,
    size,
    host: String(at(metadata, 'hostname') ?? '').slice(0, 200),
    pid: whole(at(metadata, 'pid')),
    op,
    seq,
    peer,
    bytes: whole(at(perf, `${prefix}_msg_size_bytes`)) ?? 0,
    startUs: end - took,
    endUs: end,
    clock: source === 'collective_cpu' || source === undefined ? 'host' : 'device',
    busBandwidth: gbs === undefined ? undefined : gbs * 1e9,
  };
}

/** With NCCL_INSPECTOR_DUMP_VERBOSE: when the last kernel ended. */
function endOf(trace: unknown, prefix: string): number | undefined {
  const kernels = at(trace, 'kernel_events');
  let end: number | undefined;
  for (const kernel of Array.isArray(kernels) ? kernels.slice(0, 256) : []) {
    const stop = whole(at(kernel, 'kernel_stop_ts'));
    if (stop !== undefined && stop > 0 && (end === undefined || stop > end)) end = stop;
  }
  const stop = whole(at(trace, `${prefix}_stop_ts`));
  return end ?? (stop !== undefined && stop > 0 ? stop : undefined);
}
