/**
 * Spans of one request find each other: by trace id, else by request id without what engines put before and behind it. Each
 * says in an attribute which request it is of; one of another trace gets a link to the first. Once no more come, what they
 * add up to is one event.
 */
import { commonRequestId } from '../../pipeline/kit/request-id.ts';
import type { Subject } from '../../pipeline/kit/topology.ts';
import { VERSION } from '../../pipeline/kit/version.ts';
import {
  type AnyValue,
  type Attributes,
  type LogRecord,
  nanosFromMs,
  type Resource,
  type Span,
  type SpanLink,
  scope,
} from '../../pipeline/model.ts';
import { addSpan, isAnother, mergeModels, newModel, type RequestModel, summary } from './request-model.ts';

export const REQUEST_EVENT = 'inference.request';

export interface RequestsOptions {
  /** Requests that are waited for at most. */
  readonly most: number;
  /** How long after its last span a request is over, milliseconds. */
  readonly waitMs: number;
  /** Says that KV went from one replica to another. */
  handed(from: string, to: string, now: number): void;
}

export interface Requests {
  /** The span, with its request's name; itself if it is of none. */
  span(span: Span, subject: Subject, now: number): Span;
  /** The requests that are over; at the end, all. */
  settle(now: number, all: boolean): LogRecord[];
  /** Spans that were joined over traces. */
  readonly joined: number;
  readonly waiting: number;
}

interface Request {
  /** The common part of its ids, or its trace's. */
  key: string;
  readonly traceId: string;
  /** The first span, which later ones link to. */
  readonly spanId: string;
  readonly model: RequestModel;
  readonly names: string[];
  resource: Resource;
  seen: number;
  /** Its trace has other requests too. */
  crowded: boolean;
}

const LINK: Attributes = Object.freeze({ 'inference.link': 'same_request' });
const OWN = scope('enginelight/processors/correlation', VERSION);

export function createRequests(options: RequestsOptions): Requests {
  /** By trace id and by common request id. */
  const named = new Map<string, Request>();
  /** In the order of their last span. */
  const all = new Set<Request>();
  let over: Request[] = [];
  let joined = 0;

  const finish = (request: Request) => {
    all.delete(request);
    for (const name of request.names) if (named.get(name) === request) named.delete(name);
    over.push(request);
    // Nobody asks: what is oldest is of the least interest.
    if (over.length > options.most) over = over.slice(-options.most);
  };
  const name = (request: Request, alias: string) => {
    if (named.get(alias) === request || request.names.length >= 64) return;
    named.set(alias, request);
    request.names.push(alias);
  };

  return {
    get joined() {
      return joined;
    },
    get waiting() {
      return all.size;
    },
    span(span, subject, now) {
      const a = span.attributes;
      const stage = a['inference.stage'];
      const given = span.name === 'kv_transfer' ? a['kv.request_id'] : a['inference.request.id'];
      if (stage === undefined && given === undefined) return span;
      const common = typeof given === 'string' ? commonRequestId(given) : '';
      // SGLang's two legs share a room where nothing else is passed on.
      const room = a['inference.pd.room'];
      const byRoom = typeof room === 'number' || typeof room === 'bigint' ? named.get(`room ${room}`) : undefined;
      let byTrace = span.traceId === '' ? undefined : named.get(`trace ${span.traceId}`);
      const byId = (common === '' ? undefined : named.get(`id ${common}`)) ?? byRoom;
      if (byTrace && common !== '' && byId !== byTrace && isAnother(byTrace.model, span)) {
        byTrace.crowded = true;
        byTrace = undefined;
      } else if (byTrace?.crowded && common === '' && !byId) {
        // Of one of the requests of this trace; nobody can say of which.
        return span;
      }
      let request = byTrace ?? byId;
      if (byTrace && byId && byTrace !== byId) {
        // Only now do they turn out to be one.
        mergeModels(byTrace.model, byId.model);
        all.delete(byId);
        for (const alias of byId.names) if (named.get(alias) === byId) name(byTrace, alias);
      }
      if (!request) {
        // A transfer is of interest where its request is known.
        if (span.name === 'kv_transfer' && common === '') return span;
        if (all.size >= options.most) finish(all.values().next().value!);
        request = {
          key: common || span.traceId,
          traceId: span.traceId,
          spanId: span.spanId,
          model: newModel(),
          names: [],
          resource: span.resource,
          seen: now,
          crowded: false,
        };
      }
      request.seen = now;
      all.delete(request);
      all.add(request);
      if (span.traceId !== '' && !named.has(`trace ${span.traceId}`)) name(request, `trace ${span.traceId}`);
      if (common !== '') {
        if (request.key === request.traceId) request.key = common;
        name(request, `id ${common}`);
      }
      if (room !== undefined && room !== null) name(request, `room ${String(room)}`);
      if (stage === 'request') request.resource = span.resource;
      addSpan(request.model, span, subject);
      const other = span.traceId !== request.traceId;
      const attributes: Record<string, AnyValue> = Object.assign(Object.create(null), a);
      attributes['inference.request.key'] = request.key;
      let { links } = span;
      if (other) {
        joined++;
        attributes['inference.request.joined_by'] = 'request_id';
        const link: SpanLink = {
          traceId: request.traceId,
          spanId: request.spanId,
          traceState: '',
          flags: 0,
          attributes: LINK,
          droppedAttributesCount: 0,
        };
        if (request.traceId !== '' && request.spanId !== '') links = [...links, link];
      }
      return { ...span, attributes, links };
    },
    settle(now, last) {
      for (const request of all) {
        if (!last && now - request.seen < options.waitMs) break;
        finish(request);
      }
      const records: LogRecord[] = [];
      for (const request of over) {
        // A single span says all that there is.
        if (request.model.spans < 2) continue;
        const sum = summary(request.model);
        if (!sum) continue;
        if (sum.pair) options.handed(...sum.pair, now);
        records.push({
          resource: request.resource,
          scope: OWN,
          time: nanosFromMs(sum.end),
          observedTime: nanosFromMs(now),
          severityNumber: sum.error ? 17 : 9,
          severityText: sum.error ? 'ERROR' : 'INFO',
          body: '',
          attributes: { 'inference.request.key': request.key, ...sum.attributes },
          droppedAttributesCount: 0,
          flags: 0,
          traceId: request.traceId,
          spanId: request.spanId,
          eventName: REQUEST_EVENT,
        });
      }
      over = [];
      return records;
    },
  };
}
