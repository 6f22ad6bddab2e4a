/** The options of the `otlp` receiver, in the Collector's shape. */
import { options, type Static, t } from '../../config/schema.ts';
import type { ConfigMistake } from '../../pipeline/component.ts';
import {
  authServerOption,
  httpServerOptions,
  serverMistakes,
  tlsServerOption,
} from '../../pipeline/kit/server-options.ts';

const includeMetadata = t.boolean({
  default: false,
  description: 'Accepted as in the Collector; no component here reads the metadata of a client, so it changes nothing.',
});

const urlPath = (signal: string, plural: string) =>
  t.string({
    default: `/v1/${signal}`,
    pattern: '^/',
    description: `Path that ${plural} are posted to.`,
  });

const http = t.section(
  {
    ...httpServerOptions({ endpoint: '127.0.0.1:4318', maxRequestBodySize: '64MiB' }),
    metrics_url_path: urlPath('metrics', 'metrics'),
    traces_url_path: urlPath('traces', 'traces'),
    logs_url_path: urlPath('logs', 'logs'),
    compression_algorithms: t.list(
      t.choice(['gzip', 'deflate', 'zlib', 'zstd', 'snappy', 'identity'], { description: 'A content encoding.' }),
      {
        default: ['gzip', 'deflate', 'zstd', 'snappy'],
        description: 'Encodings of request bodies that are understood; zstd only where Node has it (22.15 and later).',
      },
    ),
    include_metadata: includeMetadata,
  },
  { description: 'OTLP over HTTP, protobuf and JSON on one port. Off unless written.' },
);

const keepalive = t.section(
  {
    server_parameters: t.section(
      {
        max_connection_idle: t.duration({
          default: '5m',
          description: 'A connection without calls is closed after this; 0 keeps it.',
        }),
        max_connection_age: t.duration({
          default: '0s',
          description: 'A connection is closed after this, so that clients spread over new replicas; 0 keeps it.',
        }),
        max_connection_age_grace: t.duration({
          default: '0s',
          description: 'How long calls may still take on a connection that reached its age; 0 waits for them.',
        }),
        time: t.duration({
          default: '30s',
          description: 'How often a connection without calls is asked whether it is still there; 0 never asks.',
        }),
        timeout: t.duration({ default: '20s', description: 'How long it may take to answer that.' }),
      },
      { description: 'How long connections live.' },
    ),
    enforcement_policy: t.section(
      {
        min_time: t.duration({
          default: '5m',
          description:
            'A client that pings more often than this, three times between two calls, is sent away; 0 allows it.',
        }),
        permit_without_stream: t.boolean({
          default: false,
          description: 'Whether `min_time` also holds for a client without calls; else it may ping once in two hours.',
        }),
      },
      { description: 'What clients may not do.' },
    ),
  },
  { description: 'Keepalive of gRPC connections.' },
);

const grpc = t.section(
  {
    endpoint: t.endpoint({
      default: '127.0.0.1:4317',
      description:
        'Address to listen on, `host:port`. Only this machine can reach the default; `0.0.0.0:port` opens it to the network.',
    }),
    tls: t.optional(tlsServerOption),
    auth: t.optional(authServerOption),
    max_recv_msg_size_mib: t.integer({
      default: 64,
      minimum: 1,
      maximum: 1024,
      description:
        'Largest message in MiB, before and after decompression; a larger one is answered RESOURCE_EXHAUSTED.',
    }),
    max_concurrent_streams: t.integer({
      default: 100,
      minimum: 1,
      description: 'Calls that one connection may have open at once.',
    }),
    max_connections: t.integer({
      default: 4096,
      minimum: 0,
      description: 'Connections that may be open at once; further ones are closed. 0 means no limit.',
    }),
    read_timeout: t.duration({
      default: '60s',
      description: 'How long a client may take to send a request; 0 waits for ever.',
    }),
    keepalive,
    include_metadata: includeMetadata,
    transport: t.choice(['tcp'], { default: 'tcp', description: 'Accepted as in the Collector; only tcp is spoken.' }),
    read_buffer_size: t.optional(
      t.size({ description: 'Accepted as in the Collector; Node sizes its buffers by itself, so it changes nothing.' }),
    ),
    write_buffer_size: t.optional(
      t.size({ description: 'Accepted as in the Collector; Node sizes its buffers by itself, so it changes nothing.' }),
    ),
  },
  { description: 'OTLP over gRPC. Off unless written.' },
);

export const config = options({
  protocols: t.section(
    { grpc: t.optional(grpc), http: t.optional(http) },
    { description: 'The protocols that are spoken; at least one.' },
  ),
});

export type OtlpConfig = Static<typeof config>;
export type HttpConfig = NonNullable<OtlpConfig['protocols']['http']>;
export type GrpcConfig = NonNullable<OtlpConfig['protocols']['grpc']>;

/** What the schema cannot say. */
export function mistakesOf({ protocols }: OtlpConfig): ConfigMistake[] {
  const { grpc, http } = protocols;
  if (!grpc && !http) {
    return [
      {
        path: ['protocols'],
        // The Collector's sentence, so that it can be searched for; then the remedy.
        message:
          'must specify at least one protocol when using the OTLP receiver: write `protocols: {grpc: {}, http: {}}`',
      },
    ];
  }
  const mistakes: ConfigMistake[] = [];
  if (grpc) mistakes.push(...serverMistakes(grpc, ['protocols', 'grpc']));
  if (http) {
    mistakes.push(...serverMistakes(http, ['protocols', 'http']));
    const paths = [http.metrics_url_path, http.traces_url_path, http.logs_url_path];
    if (new Set(paths).size < paths.length) {
      mistakes.push({ path: ['protocols', 'http'], message: 'two signals cannot be posted to the same url path' });
    }
  }
  if (grpc && http && grpc.endpoint === http.endpoint && !grpc.endpoint.endsWith(':0')) {
    mistakes.push({
      path: ['protocols', 'grpc', 'endpoint'],
      message: `grpc and http cannot share the endpoint ${grpc.endpoint}; the usual ports are 4317 and 4318`,
    });
  }
  return mistakes;
}
