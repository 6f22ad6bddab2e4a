/** OTLP over gRPC: the three Export methods. */
import type { Context } from '../../pipeline/component.ts';
import { GrpcError, type GrpcMethod, type GrpcServing, serveGrpc } from '../../pipeline/kit/grpc-server.ts';
import { SIGNALS, type Signal } from '../../pipeline/model.ts';
import { GrpcCode } from '../../pipeline/wire/grpc.ts';
import { encodeResponse, encodeStatus } from '../../pipeline/wire/otlp/index.ts';
import { type Acceptor, Refusal } from './accept.ts';
import type { GrpcConfig } from './options.ts';

const PATHS: Readonly<Record<Signal, string>> = {
  metrics: '/opentelemetry.proto.collector.metrics.v1.MetricsService/Export',
  traces: '/opentelemetry.proto.collector.trace.v1.TraceService/Export',
  logs: '/opentelemetry.proto.collector.logs.v1.LogsService/Export',
};

/** Starts listening. */
export function serveOtlpGrpc(config: GrpcConfig, acceptor: Acceptor, { clock, log }: Context): Promise<GrpcServing> {
  const method =
    (signal: Signal): GrpcMethod =>
    async ({ message }) => {
      if (!acceptor.takes(signal)) {
        throw new GrpcError(GrpcCode.UNIMPLEMENTED, `no pipeline takes ${signal} from this receiver`);
      }
      try {
        return encodeResponse(signal, 'protobuf', await acceptor.accept(signal, message, 'protobuf', 'grpc'));
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        throw new GrpcError(error.status.code, error.status.message, encodeStatus(error.status, 'protobuf'));
      }
    };
  const { server_parameters: times, enforcement_policy: policy } = config.keepalive;
  return serveGrpc(
    {
      endpoint: config.endpoint,
      clock,
      log,
      tls: config.tls,
      auth: config.auth,
      maxMessageSize: config.max_recv_msg_size_mib * 2 ** 20,
      maxConcurrentStreams: config.max_concurrent_streams,
      maxConnections: config.max_connections,
      readTimeoutMs: config.read_timeout,
      keepalive: {
        maxConnectionIdleMs: times.max_connection_idle,
        maxConnectionAgeMs: times.max_connection_age,
        maxConnectionAgeGraceMs: times.max_connection_age_grace,
        timeMs: times.time,
        timeoutMs: times.timeout,
        minPingIntervalMs: policy.min_time,
        permitPingsWithoutCalls: policy.permit_without_stream,
      },
    },
    Object.fromEntries(SIGNALS.map((signal) => [PATHS[signal], method(signal)])),
  );
}
