/** Whether the daemon is well, for probes and people: `/` for all of it, `/status` for each pipeline. */
import { options, t } from '../../config/schema.ts';
import { defineExtension, type Host } from '../../pipeline/component.ts';
import { type HttpRequest, type HttpResponse, serve, serveOptions } from '../../pipeline/kit/http-server.ts';
import { httpServerOptions, serverMistakes } from '../../pipeline/kit/server-options.ts';
import { brief, healthOf } from './status.ts';

const config = options({
  ...httpServerOptions({ endpoint: 'localhost:13133', maxRequestBodySize: '64KiB' }),
  path: t.string({ description: 'Where the health of the whole is answered.', default: '/', pattern: '^/' }),
  response_body: t.optional(
    t.item(
      {
        healthy: t.string({ description: 'The body of a 200.', default: '' }),
        unhealthy: t.string({ description: 'The body of a 503.', default: '' }),
      },
      { description: 'Bodies instead of the JSON ones.' },
    ),
  ),
  status: t.section(
    {
      enabled: t.boolean({ description: 'Whether it is answered.', default: true }),
      path: t.string({ description: 'Its path.', default: '/status', pattern: '^/' }),
    },
    { description: 'The health of each pipeline: `?pipeline=NAME` for one, `&verbose` with its components.' },
  ),
  component_health: t.section(
    {
      include_permanent_errors: t.boolean({
        description: 'Whether a component that cannot recover by itself makes the answer 503.',
        default: false,
      }),
      include_recoverable_errors: t.boolean({
        description:
          'Whether a component that has not recovered for `recovery_duration` makes the answer 503. Do not use it for a liveness probe: a restart does not bring a backend back.',
        default: false,
      }),
      recovery_duration: t.duration({ description: 'How long an error may last before it counts.', default: '5m' }),
    },
    { description: 'Which troubles of components count; by default only whether everything has started.' },
  ),
  check_collector_pipeline: t.withoutEffect('nor has it in the Collector; see `component_health`'),
});

const json = (status: number, value: unknown): HttpResponse => ({
  status,
  headers: { 'content-type': 'application/json' },
  body: `${JSON.stringify(value)}\n`,
});

export const healthCheck = defineExtension<typeof config>({
  type: 'health_check',
  summary: 'Answers health probes for the whole and for each pipeline',
  stability: 'beta',
  config,
  validate: (c) => serverMistakes(c),
  async start(c, context, host: Host) {
    const { clock, log } = context;
    const startedAt = clock.now();
    const startTime = new Date(startedAt).toISOString();
    const health = () => healthOf(host, c.component_health, clock.now());

    const whole = (): HttpResponse => {
      const { healthy } = health();
      const status = healthy ? 200 : 503;
      if (c.response_body) {
        return {
          status,
          headers: { 'content-type': 'text/plain; charset=utf-8' },
          body: healthy ? c.response_body.healthy : c.response_body.unhealthy,
        };
      }
      return json(
        status,
        healthy
          ? { status: 'Server available', upSince: startTime, uptime: `${(clock.now() - startedAt) / 1000}s` }
          : { status: 'Server not available' },
      );
    };
    const status = (query: URLSearchParams): HttpResponse => {
      const pipeline = query.get('pipeline');
      const verbose = query.has('verbose') && query.get('verbose') !== 'false';
      const all = health();
      const found = pipeline === null ? all : all.components?.[`pipeline:${pipeline}`];
      if (!found) return json(404, { error: `there is no pipeline "${pipeline}"` });
      const isUp = host.state() === 'running';
      const healthy = found.healthy && isUp;
      return json(healthy ? 200 : 503, { start_time: startTime, ...(verbose ? found : brief(found)), healthy });
    };

    const server = await serve({ ...serveOptions(c), clock, log }, (request: HttpRequest): HttpResponse => {
      const { path } = request;
      const isStatus = c.status.enabled && path === c.status.path;
      if (!isStatus && path !== c.path) return json(404, { error: `nothing is at ${path}` });
      if (request.method !== 'GET' && request.method !== 'HEAD') {
        return { ...json(405, { error: 'use GET' }), headers: { allow: 'GET, HEAD' } };
      }
      return isStatus ? status(request.query) : whole();
    });
    log.info('Health checks are answered.', { url: server.url });
    return { stop: (deadline) => server.close(deadline ?? AbortSignal.abort()) };
  },
});
