/** What is said over HTTP, on the Unix socket and on loopback alike. */
import type { Context } from '../../pipeline/component.ts';
import { HttpError, type HttpHandler, type HttpRequest, type HttpResponse } from '../../pipeline/kit/http-server.ts';
import { encodeResponse } from '../../pipeline/wire/otlp/index.ts';
import { KINDS, type Kind, type KindState } from './control.ts';
import type { Intake } from './intake.ts';

const json = (status: number, text: string, headers: Readonly<Record<string, string>> = {}): HttpResponse => ({
  status,
  headers: { 'content-type': 'application/json', ...headers },
  body: text,
});

/**
 * POST /v1/hooks (a frame), POST /v1/traces (OTLP), GET and POST /v1/control. Every answer to a post of events carries the
 * control state, also a refusal: in its body, and for OTLP in the header `enginelight-control`.
 */
export function createRoutes(intake: Intake, { log }: Context): HttpHandler {
  const { control } = intake;

  const frame = async (request: HttpRequest): Promise<HttpResponse> => {
    post(request);
    try {
      const { accepted, rejected, message } = await intake.frame(await request.body());
      const said = message === '' ? '' : `,"message":${JSON.stringify(message)}`;
      return json(200, `{"accepted":${accepted},"rejected":${rejected}${said},"control":${control.text()}}`);
    } catch (error) {
      if (!(error instanceof HttpError)) throw error;
      return json(
        error.status,
        `{"accepted":0,"message":${JSON.stringify(error.message)},"control":${control.text()}}`,
        error.headers,
      );
    }
  };

  const otlp = async (request: HttpRequest): Promise<HttpResponse> => {
    post(request);
    const encoding = ENCODINGS[request.contentType];
    if (encoding === undefined) {
      throw new HttpError(415, `The content type "${request.contentType}" is not OTLP's; use application/x-protobuf.`);
    }
    try {
      const { rejected, message } = await intake.otlp(await request.body(), encoding);
      return {
        status: 200,
        headers: { 'content-type': request.contentType, 'enginelight-control': control.text() },
        body: encodeResponse('traces', encoding, { rejected, message }),
      };
    } catch (error) {
      if (error instanceof HttpError) {
        throw new HttpError(error.status, error.message, { ...error.headers, 'enginelight-control': control.text() });
      }
      throw error;
    }
  };

  const state = (): HttpResponse => {
    const senders = control.senders().map(({ id, pid, version, resource, events, seen, lost, lastAt }) => ({
      id,
      pid,
      version,
      resource,
      events,
      seen,
      lost,
      last_at: new Date(lastAt).toISOString(),
    }));
    return json(
      200,
      `{"control":${control.text()},"pressure":${control.pressure()},"senders":${JSON.stringify(senders)}}`,
    );
  };

  const change = async (request: HttpRequest): Promise<HttpResponse> => {
    // A form on a web page cannot send this content type without asking first, and nobody answers it.
    if (request.contentType !== 'application/json') {
      throw new HttpError(415, 'Changes are sent as application/json.');
    }
    const { kind, change } = readChange(await request.body());
    control.change(kind, change);
    log.info('Hooks were changed by request.', { event: kind, ...change });
    return state();
  };

  return (request) => {
    switch (request.path) {
      case '/v1/hooks':
        return frame(request);
      case '/v1/traces':
        return otlp(request);
      case '/v1/control':
        if (request.method === 'GET') return state();
        if (request.method === 'POST') return change(request);
        throw new HttpError(405, `${request.method} is not allowed, supported: [GET, POST].`, { allow: 'GET, POST' });
      default:
        throw new HttpError(404, `Nothing is at ${request.path}; there are /v1/hooks, /v1/traces and /v1/control.`);
    }
  };
}

const ENCODINGS: Readonly<Record<string, 'protobuf' | 'json'>> = {
  'application/x-protobuf': 'protobuf',
  'application/json': 'json',
};

function post(request: HttpRequest): void {
  if (request.method !== 'POST') {
    throw new HttpError(405, `${request.method} is not allowed, supported: [POST].`, { allow: 'POST' });
  }
}

/** `{"kind": "collective", "enabled": true, "rate": 0.5, "bytes_per_second": 65536}`, each but the first optional. */
function readChange(body: Uint8Array): { kind: Kind; change: Partial<KindState> } {
  let raw: unknown;
  try {
    raw = JSON.parse(Buffer.from(body).toString('utf8'));
  } catch {
    throw new HttpError(400, 'The body is not JSON.');
  }
  const given = (typeof raw === 'object' && raw !== null ? raw : {}) as Readonly<Record<string, unknown>>;
  const kind = KINDS.find((k) => k === given['kind']);
  if (kind === undefined) {
    throw new HttpError(
      400,
      `There is no kind of event ${JSON.stringify(given['kind'])}; there are ${KINDS.join(', ')}.`,
    );
  }
  const { enabled, rate, bytes_per_second: bytes } = given;
  const change: { enabled?: boolean; rate?: number; bytesPerSecond?: number } = {};
  if (enabled !== undefined) {
    if (typeof enabled !== 'boolean') throw new HttpError(400, '"enabled" is neither true nor false.');
    change.enabled = enabled;
  }
  if (rate !== undefined) {
    if (typeof rate !== 'number' || !(rate >= 0 && rate <= 1))
      throw new HttpError(400, '"rate" is not between 0 and 1.');
    change.rate = rate;
  }
  if (bytes !== undefined) {
    if (!Number.isSafeInteger(bytes) || (bytes as number) < 0) {
      throw new HttpError(400, '"bytes_per_second" is not a number of bytes.');
    }
    change.bytesPerSecond = bytes as number;
  }
  return { kind, change };
}
