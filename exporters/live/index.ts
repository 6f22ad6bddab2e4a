/** Answers what is going on right now: JSON for `enginelight top` and assistants, events, and a page for a browser. */
import { options, t } from '../../config/schema.ts';
import { defineExporter } from '../../pipeline/component.ts';
import { RetryableError } from '../../pipeline/errors.ts';
import { HttpError, type HttpRequest, type HttpResponse, serve, serveOptions } from '../../pipeline/kit/http-server.ts';
import { createLive } from '../../pipeline/kit/live.ts';
import { reportHtml } from '../../pipeline/kit/report-html.ts';
import { httpServerOptions, serverMistakes } from '../../pipeline/kit/server-options.ts';
import { VERSION } from '../../pipeline/kit/version.ts';
import { SIGNALS } from '../../pipeline/model.ts';
import { acceptedEncoding, compress } from '../../pipeline/wire/compression.ts';
import * as answers from './answers.ts';
import { PAGE, PAGE_POLICY } from './page.ts';
import { createStream } from './stream.ts';

const config = options({
  ...httpServerOptions({ endpoint: '127.0.0.1:13134', maxRequestBodySize: '1KiB' }),
  interval: t.duration({
    description: 'How often watchers get a new state.',
    default: '2s',
    minimum: '500ms',
    maximum: '1m',
  }),
  window: t.duration({
    description: 'How much of the past can be asked for.',
    default: '15m',
    minimum: '3m',
    maximum: '24h',
  }),
  max_series: t.integer({
    description: 'Series kept in memory (about 1.5 KiB each); of further ones the state says nothing.',
    default: 8000,
    minimum: 1,
  }),
  max_rows: t.integer({
    description: 'Replicas, GPUs and incidents that a state shows at most, those with trouble first.',
    default: 512,
    minimum: 1,
    maximum: 20_000,
  }),
  max_watchers: t.integer({
    description: 'Clients that may follow the state at once; a further one is answered 503.',
    default: 64,
    minimum: 1,
  }),
  page: t.boolean({ description: 'Whether `/` is a page for a browser.', default: true }),
  access_log: t.boolean({ description: 'Whether every request is logged, without its query.', default: true }),
});

const FORGET_EVERY_MS = 60_000;
/** A state is not worked out anew for everybody who asks. */
const STATE_MS = 500;
const SECURITY: Readonly<Record<string, string>> = {
  'cache-control': 'no-store',
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
};
/** Reports have their style inside and no script. */
const REPORT_POLICY =
  "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const API = '/api/v1/';
const PATHS = [
  'state',
  'events',
  'incidents',
  'incidents/ID',
  'incidents/ID/report',
  'findings',
  'insufficient',
  'topology',
  'entities',
  'entities/KIND/ID',
  'signals',
].map((path) => API + path);

export const liveExporter = defineExporter({
  type: 'live',
  summary: 'The state of now over HTTP: for enginelight top, a browser and assistants',
  stability: 'beta',
  signals: SIGNALS,
  config,
  validate: (c) => serverMistakes(c),
  async start(c, { id, log, clock, meter }) {
    const live = createLive({ windowMs: c.window, series: c.max_series, rows: c.max_rows, version: VERSION });
    let stopped = false;
    let kept = { at: Number.NEGATIVE_INFINITY, text: '' };
    const state = () => {
      const at = clock.monotonic();
      if (at - kept.at >= STATE_MS) kept = { at, text: JSON.stringify(live.snapshot(clock.now())) };
      return kept.text;
    };
    const stream = createStream(state, clock, c.interval);
    meter.gauge('exporter_live_watchers', 'Clients that follow the state.', stream.watchers, '{client}');
    const asked = meter.counter('exporter_live_requests', 'Requests that were answered.', '{request}');

    const answer = async (request: HttpRequest): Promise<HttpResponse> => {
      refuseStrangers(request);
      const { path, query } = request;
      const now = clock.now();
      const [what = '', ...rest] = path.startsWith(API) ? path.slice(API.length).split('/').map(decoded) : [];
      const [a, b] = rest;
      if (path === '/' && c.page) {
        return coded(request, PAGE, 'text/html; charset=utf-8', { 'content-security-policy': PAGE_POLICY });
      }
      if (rest.length === 0) {
        switch (what) {
          case 'state':
            return json(request, state());
          case 'events':
            return events();
          case 'incidents':
            return json(request, answers.incidents(live, query, now));
          case 'findings':
            return json(request, answers.findings(live, query, now));
          case 'insufficient':
            return json(request, { insufficient: live.report(now).insufficient.slice(0, 1000) });
          case 'topology':
            return json(request, live.report(now).topology);
          case 'entities':
            return json(request, answers.entities(live, query, now));
          case 'signals':
            return json(request, answers.signals(live, query, now));
        }
      }
      if (what === 'incidents' && a !== undefined && (rest.length === 1 || (rest.length === 2 && b === 'report'))) {
        const report = answers.incidentReport(live, a, now);
        if (rest.length === 1) return json(request, report);
        const html = reportHtml(report, { history: live.history, version: VERSION });
        return coded(request, html, 'text/html; charset=utf-8', { 'content-security-policy': REPORT_POLICY });
      }
      if (what === 'entities' && a !== undefined && rest.length >= 2) {
        // The id of a rank has a slash.
        return json(request, answers.entity(live, a, rest.slice(1).join('/'), now));
      }
      throw new HttpError(404, `nothing is here; there are ${PATHS.join(', ')}`);
    };

    const events = (): HttpResponse => {
      if (stream.watchers() >= c.max_watchers) {
        throw new HttpError(503, `${c.max_watchers} clients follow the state already`, { 'retry-after': '10' });
      }
      return {
        status: 200,
        headers: { ...SECURITY, 'content-type': 'text/event-stream', 'x-accel-buffering': 'no' },
        body: (writer) => stream.follow(writer),
      };
    };

    const server = await serve(
      {
        ...serveOptions(c),
        localHostsOnly: /^(127\.|localhost:|\[::1\])/.test(c.endpoint),
        clock,
        log,
        renderError: ({ status, message }) => ({
          status,
          headers: { ...SECURITY, 'content-type': 'application/json' },
          body: `${JSON.stringify({ error: message })}\n`,
        }),
        onAccess({ method, path, status, durationMs, remoteAddress }) {
          asked.add(1, { status: String(status) });
          if (!c.access_log) return;
          log.info('A request was answered.', {
            method,
            path: path.slice(0, 200),
            status,
            duration_ms: Math.round(durationMs),
            client: remoteAddress,
          });
        },
      },
      answer,
    );
    let timer = clock.after(FORGET_EVERY_MS, function tick() {
      live.forget(clock.now());
      timer = clock.after(FORGET_EVERY_MS, tick);
    });
    log.info('The live state can be seen.', { url: server.url });

    return {
      consume(batch) {
        if (stopped) throw new RetryableError(`${id} is stopping`, { reason: 'shutdown' });
        live.add(batch, clock.now());
        meter.sent(batch.signal, batch.items.length);
      },
      async stop(deadline) {
        stopped = true;
        timer.cancel();
        await server.close(deadline);
      },
    };
  },
});

/** Only reading, and not for pages of others: a browser says where a request comes from. */
function refuseStrangers(request: HttpRequest): void {
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    throw new HttpError(405, 'use GET: nothing can be changed here', { allow: 'GET, HEAD' });
  }
  const site = request.headers['sec-fetch-site'];
  if (site === 'cross-site' && request.headers['sec-fetch-mode'] !== 'navigate') {
    throw new HttpError(403, 'pages of other sites may not read this');
  }
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw new HttpError(400, 'the path has a % that does not belong there');
  }
}

const json = (request: HttpRequest, value: unknown): Promise<HttpResponse> =>
  coded(request, `${typeof value === 'string' ? value : JSON.stringify(value)}\n`, 'application/json');

async function coded(
  request: HttpRequest,
  text: string,
  type: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<HttpResponse> {
  const accepts = request.headers['accept-encoding'];
  const encoding =
    text.length < 1400 ? 'identity' : acceptedEncoding(Array.isArray(accepts) ? accepts.join() : accepts);
  return {
    status: 200,
    headers: {
      ...SECURITY,
      ...headers,
      'content-type': type,
      vary: 'Accept-Encoding',
      ...(encoding === 'identity' ? {} : { 'content-encoding': encoding }),
    },
    body: await compress(Buffer.from(text), encoding),
  };
}
