/**
 * `service::telemetry`: the daemon's own log and metrics, in the Collector's shape, so that its configs load unchanged;
 * and the other options of `service` that the runtime reads.
 */
import { options, t } from '../config/schema.ts';

/** `service::shutdown_timeout`. */
export const shutdownTimeout = t.duration({
  description:
    'How long a stop may take to send what is still queued. What is left then is dropped, counted and named in the log.',
  default: '30s',
  minimum: '0s',
});

const prometheusReader = t.item(
  {
    host: t.string({ description: 'The address to listen on.', default: '127.0.0.1' }),
    port: t.integer({ description: 'The port; 0 takes any free one.', default: 8888, minimum: 0, maximum: 65_535 }),
    without_scope_info: t.boolean({ description: 'Leaves the `otel_scope_*` labels out.', default: true }),
    without_type_suffix: t.withoutEffect('names never depend on the reader'),
    without_units: t.withoutEffect('names never depend on the reader'),
    with_resource_constant_labels: t.withoutEffect('the resource is `target_info`'),
  },
  { description: 'A page in the Prometheus format, at /metrics.' },
);

const otlpReader = t.item(
  {
    protocol: t.choice(['http/json', 'http/protobuf'], {
      description: 'OTLP over HTTP. The body is JSON in either case; every OTLP/HTTP server takes both.',
      default: 'http/json',
    }),
    endpoint: t.url({
      description: 'The server; `/v1/metrics` is added where there is no path.',
      default: 'http://127.0.0.1:4318',
    }),
    headers: t.oneOf(
      [
        t.map(t.secret({ description: 'The value.' }), { description: 'Names to values.' }),
        t.list(
          t.item(
            {
              name: t.string({ description: 'The name of the header.' }),
              value: t.secret({ description: 'Its value.' }),
            },
            { description: 'One header.' },
          ),
          { description: 'A list of names and values, as the Collector has it.' },
        ),
      ],
      { description: 'Headers of every request.', default: {} },
    ),
    compression: t.choice(['none', 'gzip'], { description: 'Of the request body.', default: 'none' }),
    timeout: t.oneOf(
      [
        t.integer({ description: 'Milliseconds, as the Collector has it.', minimum: 1 }),
        t.duration({ description: 'A duration.' }),
      ],
      { description: 'How long one request may take.', default: '10s' },
    ),
    insecure: t.withoutEffect('the scheme of `endpoint` decides'),
    temporality_preference: t.choice(['cumulative', 'delta', 'lowmemory'], {
      description: 'Whether counters are sent as totals or as changes since the last request.',
      default: 'cumulative',
    }),
  },
  { description: 'OTLP over HTTP.' },
);

const reader = t.item(
  {
    pull: t.optional(
      t.item(
        {
          exporter: t.item(
            { prometheus: t.optional(prometheusReader) },
            { description: 'How: `prometheus` is the only kind.' },
          ),
        },
        { description: 'Somebody fetches the metrics.' },
      ),
    ),
    periodic: t.optional(
      t.item(
        {
          interval: t.oneOf(
            [
              t.integer({ description: 'Milliseconds, as the Collector has it.', minimum: 100 }),
              t.duration({ description: 'A duration.' }),
            ],
            { description: 'How often they are sent.', default: '60s' },
          ),
          timeout: t.oneOf(
            [
              t.integer({ description: 'Milliseconds, as the Collector has it.', minimum: 1 }),
              t.duration({ description: 'A duration.' }),
            ],
            { description: 'How long collecting and sending may take.', default: '30s' },
          ),
          exporter: t.item({ otlp: t.optional(otlpReader) }, { description: 'How: `otlp` is the only kind.' }),
        },
        { description: 'The metrics are sent at an interval.' },
      ),
    ),
  },
  { description: 'One of `pull` and `periodic`.' },
);

export const telemetryOptions = options({
  logs: t.section(
    {
      level: t.choice(['debug', 'info', 'warn', 'error', 'DEBUG', 'INFO', 'WARN', 'ERROR'], {
        description: 'The least severe records that are written.',
        default: 'info',
      }),
      encoding: t.choice(['console', 'json'], {
        description: 'One readable line per record, or one JSON object per record.',
        default: 'console',
      }),
      sampling: t.section(
        {
          enabled: t.boolean({ description: 'False writes every record.', default: true }),
          tick: t.duration({
            description: 'The window in which equal messages of one component are counted.',
            default: '60s',
            minimum: '1s',
          }),
          initial: t.integer({
            description:
              'Equal messages of one component that are written in each window; how many more there were is written at its end.',
            default: 5,
            minimum: 1,
          }),
          thereafter: t.withoutEffect('the rest is summarised, not sampled'),
        },
        { description: 'How repeated messages are summarised.' },
      ),
      initial_fields: t.map(t.any({ description: 'Any scalar.' }), {
        description: 'Fields of every record.',
        default: {},
      }),
      disable_stacktrace: t.boolean({ description: 'Leaves the stack out of records about bugs.', default: false }),
      disable_caller: t.withoutEffect('records do not name their caller'),
      development: t.withoutEffect('there is no other way of logging'),
      output_paths: t.withoutEffect('the log goes to stderr'),
      error_output_paths: t.withoutEffect('the log goes to stderr'),
      processors: t.withoutEffect('the log is not sent as OTLP'),
    },
    { description: "The daemon's own log, on stderr." },
  ),
  metrics: t.section(
    {
      level: t.choice(['none', 'basic', 'normal', 'detailed'], {
        description:
          '`none` turns the own metrics off; `basic` counts items and queues; `normal` adds what components count about themselves; `detailed` adds the time that each component takes.',
        default: 'normal',
      }),
      address: t.endpoint({
        description: 'Where the own metrics are served in the Prometheus format, unless `readers` says otherwise.',
        default: '127.0.0.1:8888',
      }),
      readers: t.optional(
        t.list(reader, {
          description: 'Who gets the own metrics; replaces `address`. An empty list: nobody.',
        }),
      ),
      views: t.withoutEffect('names and buckets are fixed'),
    },
    { description: "The daemon's own metrics." },
  ),
  traces: t.withoutEffect('the daemon makes no spans of its own'),
  resource: t.map(t.any({ description: 'Text, number or boolean; null removes a built-in one.' }), {
    description: 'Resource attributes of the own metrics, besides service.name, service.version, service.instance.id.',
    default: {},
  }),
});
