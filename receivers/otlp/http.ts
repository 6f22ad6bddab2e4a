/** OTLP over HTTP: one POST per request, protobuf or JSON, answered in the encoding of the request. */
import type { Context } from '../../pipeline/component.ts';
import {
  HttpError,
  type HttpRequest,
  type HttpResponse,
  type Serving,
  serve,
  serveOptions,
} from '../../pipeline/kit/http-server.ts';
import type { Signal } from '../../pipeline/model.ts';
import { GrpcCode } from '../../pipeline/wire/grpc.ts';
import { encodeResponse, encodeStatus, type OtlpEncoding, type RpcStatus } from '../../pipeline/wire/otlp/index.ts';
import { type Acceptor, Refusal } from './accept.ts';
import type { HttpConfig } from './options.ts';

const CONTENT_TYPES = { protobuf: 'application/x-protobuf', json: 'application/json' } as const;

/** The HTTP status that says the same as a gRPC code. */
export function httpStatusOf(code: number): number {
  switch (code) {
    case GrpcCode.INVALID_ARGUMENT:
      return 400;
    case GrpcCode.UNAUTHENTICATED:
      return 401;
    case GrpcCode.PERMISSION_DENIED:
      return 403;
    case GrpcCode.UNIMPLEMENTED:
      return 404;
    case GrpcCode.RESOURCE_EXHAUSTED:
      return 429;
    case GrpcCode.CANCELLED:
    case GrpcCode.DEADLINE_EXCEEDED:
    case GrpcCode.ABORTED:
    case GrpcCode.OUT_OF_RANGE:
    case GrpcCode.UNAVAILABLE:
    case GrpcCode.DATA_LOSS:
      return 503;
    default:
      return 500;
  }
}

/** The code in the body of an answer that HTTP itself gives. */
const CODES: Readonly<Record<number, number>> = {
  400: GrpcCode.INVALID_ARGUMENT,
  401: GrpcCode.UNAUTHENTICATED,
  403: GrpcCode.PERMISSION_DENIED,
  404: GrpcCode.UNIMPLEMENTED,
  405: GrpcCode.UNIMPLEMENTED,
  408: GrpcCode.DEADLINE_EXCEEDED,
  413: GrpcCode.RESOURCE_EXHAUSTED,
  415: GrpcCode.INVALID_ARGUMENT,
  503: GrpcCode.UNAVAILABLE,
};

function encodingOf(request: HttpRequest): OtlpEncoding | undefined {
  if (request.contentType === CONTENT_TYPES.protobuf) return 'protobuf';
  if (request.contentType === CONTENT_TYPES.json) return 'json';
  return undefined;
}

/** A status in the request's encoding; in JSON, which people can read too, where that is not known. */
function statusResponse(httpStatus: number, status: RpcStatus, request: HttpRequest): HttpResponse {
  const encoding = encodingOf(request) ?? 'json';
  const retryAfter = status.retryAfterMs;
  return {
    status: httpStatus,
    headers: {
      'content-type': CONTENT_TYPES[encoding],
      ...(retryAfter !== undefined && { 'retry-after': String(Math.max(1, Math.ceil(retryAfter / 1000))) }),
    },
    body: encodeStatus(status, encoding),
  };
}

/** Starts listening. */
export function serveHttp(config: HttpConfig, acceptor: Acceptor, { clock, log }: Context): Promise<Serving> {
  const signals = new Map<string, Signal>([
    [config.metrics_url_path, 'metrics'],
    [config.traces_url_path, 'traces'],
    [config.logs_url_path, 'logs'],
  ]);

  const signalOf = (path: string): Signal => {
    const signal = signals.get(path) ?? signals.get(path.replace(/\/$/, ''));
    if (signal === undefined) {
      throw new HttpError(
        404,
        `Nothing is received at ${path}; requests are posted to ${[...signals.keys()].join(', ')}.`,
      );
    }
    if (!acceptor.takes(signal)) throw new HttpError(404, `No pipeline takes ${signal} from this receiver.`);
    return signal;
  };

  return serve(
    {
      ...serveOptions(config),
      encodings: config.compression_algorithms.map((name) => (name === 'zlib' ? 'deflate' : name)),
      clock,
      log,
      renderError: (error, request) =>
        statusResponse(
          error.status,
          { code: CODES[error.status] ?? GrpcCode.INTERNAL, message: error.message },
          request,
        ),
    },
    async (request) => {
      const signal = signalOf(request.path);
      if (request.method !== 'POST') {
        throw new HttpError(405, `${request.method} is not allowed, supported: [POST].`, { allow: 'POST' });
      }
      const encoding = encodingOf(request);
      if (encoding === undefined) {
        throw new HttpError(
          415,
          `The content type "${request.headers['content-type'] ?? ''}" is not supported; use ${CONTENT_TYPES.protobuf} or ${CONTENT_TYPES.json}.`,
        );
      }
      try {
        const partial = await acceptor.accept(signal, await request.body(), encoding, 'http');
        return {
          status: 200,
          headers: { 'content-type': CONTENT_TYPES[encoding] },
          body: encodeResponse(signal, encoding, partial),
        };
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        return statusResponse(httpStatusOf(error.status.code), error.status, request);
      }
    },
  );
}
