/**
 * Lines that Dynamo writes: request traces (`DYN_REQUEST_TRACE`, schema dynamo.request.trace.v1) and forward-pass metrics
 * (`DYN_FPM_TRACE`, schema dynamo.fpm.trace.v1), bare or in the envelope of its gzip sink. Source: Dynamo's documentation of
 * both.
 */

/** One request that ended; times in milliseconds, as Dynamo has them. */
export interface RequestEnd {
  readonly kind: 'request';
  readonly id: string;
  /** The caller's own id. */
  readonly callerId: string;
  readonly model: string;
  readonly receivedMs: number;
  readonly totalMs: number;
  readonly ttftMs: number | undefined;
  readonly waitMs: number | undefined;
  readonly prefillMs: number | undefined;
  readonly transferMs: number | undefined;
  readonly inputTokens: number | undefined;
  readonly outputTokens: number | undefined;
  readonly cachedTokens: number | undefined;
  readonly prefillWorker: string;
  readonly decodeWorker: string;
  readonly finishReason: string;
}

/** One iteration of an engine. */
export interface ForwardPass {
  readonly kind: 'step';
  readonly worker: string;
  readonly component: string;
  readonly dpRank: number;
  readonly step: number;
  readonly endMs: number;
  readonly tookMs: number;
  readonly prefillTokens: number;
  readonly prefillRequests: number;
  readonly decodeRequests: number;
  readonly waiting: number;
  /** Only some iterations are written. */
  readonly sampled: boolean;
}

type Json = Readonly<Record<string, unknown>>;
const isObject = (v: unknown): v is Json => typeof v === 'object' && v !== null && !Array.isArray(v);
const object = (v: unknown): Json => (isObject(v) ? v : {});
const number = (v: unknown): number | undefined =>
  typeof v === 'number' && Number.isFinite(v) && v >= 0 ? v : undefined;
const whole = (v: unknown): number => (Number.isSafeInteger(v) && (v as number) >= 0 ? (v as number) : 0);
const text = (v: unknown): string => (typeof v === 'string' || typeof v === 'number' ? String(v).slice(0, 200) : '');

/**
 * Reads a line; undefined for lines that are about something else (a tool's end) or nothing (an idle heartbeat). Throws a
 * SyntaxError, or an Error that says what is missing.
 */
export function readDynamoLine(line: string): RequestEnd | ForwardPass | undefined {
  const raw: unknown = JSON.parse(line);
  const record = object(isObject(raw) && isObject(raw['event']) ? raw['event'] : raw);
  const schema = text(record['schema']);
  if (/^dynamo\.(request|agent)\.trace\./.test(schema)) return readRequest(record);
  if (schema.startsWith('dynamo.fpm.trace.')) return readStep(record);
  throw new Error(schema === '' ? 'it has no schema' : `its schema ${JSON.stringify(schema)} is unknown`);
}

function readRequest(record: Json): RequestEnd | undefined {
  if (record['event_type'] !== 'request_end') return undefined;
  const request = object(record['request']);
  const received = number(request['request_received_ms']);
  const ended = number(record['event_time_unix_ms']);
  const total =
    number(request['total_time_ms']) ?? (received !== undefined && ended !== undefined ? ended - received : undefined);
  const from = received ?? (ended !== undefined && total !== undefined ? ended - total : undefined);
  if (from === undefined || total === undefined || total < 0) throw new Error('it does not say when the request was');
  const worker = object(request['worker'] ?? request['worker_id']);
  return {
    kind: 'request',
    id: text(request['request_id']),
    callerId: text(request['x_request_id']),
    model: text(request['model']),
    receivedMs: from,
    totalMs: total,
    ttftMs: number(request['ttft_ms']),
    waitMs: number(request['prefill_wait_time_ms']),
    prefillMs: number(request['prefill_time_ms']),
    transferMs: number(request['kv_transfer_estimated_latency_ms']),
    inputTokens: number(request['input_tokens']) ?? number(object(request['replay'])['input_length']),
    outputTokens: number(request['output_tokens']),
    cachedTokens: number(request['cached_tokens']),
    prefillWorker: text(worker['prefill_worker_id'] ?? request['prefill_worker_id']),
    decodeWorker: text(worker['decode_worker_id'] ?? request['decode_worker_id']),
    finishReason: text(object(request['finish_reason_metadata'])['finish_reason']),
  };
}

function readStep(record: Json): ForwardPass | undefined {
  const fpm = object(record['fpm']);
  const source = object(record['source']);
  const end = number(record['observed_at_unix_ms']);
  const took = number(fpm['wall_time']);
  if (end === undefined || took === undefined) throw new Error('it does not say when the iteration was');
  const scheduled = object(fpm['scheduled_requests']);
  const queued = object(fpm['queued_requests']);
  // An engine without work says that it lives.
  if (took === 0) return undefined;
  return {
    kind: 'step',
    worker: text(fpm['worker_id']) || text(source['producer_id']),
    component: text(source['component']),
    dpRank: whole(fpm['dp_rank']),
    step: whole(fpm['counter_id']),
    endMs: end,
    tookMs: took * 1000,
    prefillTokens: whole(scheduled['sum_prefill_tokens']),
    prefillRequests: whole(scheduled['num_prefill_requests']),
    decodeRequests: whole(scheduled['num_decode_requests']),
    waiting: whole(queued['num_prefill_requests']) + whole(queued['num_decode_requests']),
    sampled: record['capture_mode'] === 'sampled',
  };
}
