import { defineReceiver, type Running } from '../../pipeline/component.ts';
import { type Serving, serve, serveOptions } from '../../pipeline/kit/http-server.ts';
import { prepareFolder, runtimePath } from '../../pipeline/kit/runtime-dir.ts';
import { createIntake } from './intake.ts';
import { config, mistakesOf } from './options.ts';
import { createRoutes } from './routes.ts';

export const hooksReceiver = defineReceiver({
  type: 'hooks',
  summary: 'Events from hooks inside engines: collectives, steps, stages, KV transfers, requests',
  stability: 'beta',
  signals: ['traces'],
  config,
  validate: mistakesOf,
  async start(config, next, context): Promise<Running> {
    const { clock, log } = context;
    const intake = createIntake(config, next, context);
    const handler = createRoutes(intake, context);
    const servers: Serving[] = [];
    try {
      if (config.socket.enabled) {
        const path = config.socket.path ?? runtimePath('hooks.sock');
        await prepareFolder(path);
        const server = await serve(
          {
            endpoint: `unix://${path}`,
            socketMode: Number.parseInt(config.socket.mode, 8),
            maxBodySize: 8 * 2 ** 20,
            maxConnections: 4096,
            clock,
            log,
          },
          handler,
        );
        servers.push(server);
        log.info('Receives hooks over a Unix socket.', { socket: path });
      }
      if (config.http) {
        // A web page must not reach it through a name of its own; whoever opens it to the network decides who may call.
        const localHostsOnly = /^(127\.|localhost:|\[::1\])/.test(config.http.endpoint);
        const server = await serve({ ...serveOptions(config.http), localHostsOnly, clock, log }, handler);
        servers.push(server);
        log.info('Receives hooks over HTTP.', { url: server.url });
      }
    } catch (error) {
      await Promise.all(servers.map((server) => server.close()));
      throw error;
    }
    context.status('ok');
    return {
      async stop(deadline) {
        await Promise.all(servers.map((server) => server.close(deadline)));
      },
    };
  },
});
