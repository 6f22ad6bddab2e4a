import { defineReceiver, type Running } from '../../pipeline/component.ts';
import { SIGNALS } from '../../pipeline/model.ts';
import { createAcceptor } from './accept.ts';
import { serveOtlpGrpc } from './grpc.ts';
import { serveHttp } from './http.ts';
import { config, mistakesOf } from './options.ts';

export const otlpReceiver = defineReceiver({
  type: 'otlp',
  summary: 'Metrics, traces and logs from any OpenTelemetry sender, over gRPC and HTTP',
  stability: 'beta',
  signals: SIGNALS,
  config,
  validate: mistakesOf,
  async start({ protocols }, next, context): Promise<Running> {
    const acceptor = createAcceptor(next, context);
    const servers: { close(deadline?: AbortSignal): Promise<void> }[] = [];
    try {
      if (protocols.grpc) {
        const server = await serveOtlpGrpc(protocols.grpc, acceptor, context);
        servers.push(server);
        context.log.info('Receives OTLP over gRPC.', { url: server.url });
      }
      if (protocols.http) {
        const server = await serveHttp(protocols.http, acceptor, context);
        servers.push(server);
        context.log.info('Receives OTLP over HTTP.', { url: server.url });
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
