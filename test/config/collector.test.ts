/** Configs as people have them for the OpenTelemetry Collector load here unchanged. */
import { describe, expect, test } from 'vitest';
import { loadCatalog } from '../../config/catalog.ts';
import { exporters } from '../../exporters/index.ts';
import { extensions } from '../../extensions/index.ts';
import type { Registry } from '../../pipeline/component.ts';
import { processors } from '../../processors/index.ts';
import { receivers } from '../../receivers/index.ts';
import { load } from '../kit/config.ts';

const registry: Registry = { receivers, processors, exporters, extensions, catalog: loadCatalog() };

const CONFIGS: [string, string][] = [
  [
    'OTLP in, OTLP out',
    `receivers:
  otlp:
    protocols:
      grpc:
        endpoint: 0.0.0.0:4317
      http:
        endpoint: 0.0.0.0:4318
        cors: { allowed_origins: ["https://*.example.com"] }
processors:
  memory_limiter:
    check_interval: 1s
    limit_mib: 400
    spike_limit_mib: 100
exporters:
  otlphttp:
    endpoint: https://backend.example.com:4318
    headers: { api-key: "\${env:API_KEY}" }
    compression: gzip
    tls: { insecure_skip_verify: false }
    sending_queue: { enabled: true, num_consumers: 4, queue_size: 100 }
    retry_on_failure: { enabled: true, initial_interval: 5s, max_interval: 30s, max_elapsed_time: 300s }
  debug:
    verbosity: detailed
extensions:
  health_check:
    endpoint: 0.0.0.0:13133
service:
  extensions: [health_check]
  telemetry:
    logs: { level: INFO }
    metrics:
      level: normal
      readers:
        - pull: { exporter: { prometheus: { host: 127.0.0.1, port: 8888 } } }
  pipelines:
    traces: { receivers: [otlp], processors: [memory_limiter], exporters: [otlphttp, debug] }
    metrics: { receivers: [otlp], processors: [memory_limiter], exporters: [otlphttp] }
    logs: { receivers: [otlp], processors: [memory_limiter], exporters: [otlphttp] }
`,
  ],
  [
    'Prometheus in, Prometheus out',
    `receivers:
  prometheus:
    config:
      scrape_configs:
        - job_name: vllm
          scrape_interval: 5s
          metrics_path: /metrics
          static_configs:
            - targets: ["10.0.0.7:8000"]
              labels: { cluster: a }
          metric_relabel_configs:
            - { source_labels: [__name__], regex: "python_.*", action: drop }
processors:
  attributes:
    actions:
      - { key: environment, value: production, action: insert }
  resource:
    attributes:
      - { key: cloud.zone, value: zone-1, action: upsert }
exporters:
  prometheus:
    endpoint: 0.0.0.0:8889
    namespace: gpu
    const_labels: { site: one }
    resource_to_telemetry_conversion: { enabled: true }
  prometheusremotewrite:
    endpoint: http://127.0.0.1:9090/api/v1/write
  file:
    path: ./out.jsonl
    rotation: { max_megabytes: 10, max_days: 3, max_backups: 3 }
service:
  pipelines:
    metrics:
      receivers: [prometheus]
      processors: [attributes, resource]
      exporters: [prometheus, prometheusremotewrite, file]
`,
  ],
];

const WITHOUT_EFFECT = `receivers:
  otlp: { protocols: { http: {} } }
exporters:
  otlp_http:
    endpoint: https://backend.example.com:4318
    disable_keep_alives: true
    cookies: { enabled: true }
    read_buffer_size: 1024
extensions:
  health_check: { check_collector_pipeline: { enabled: true } }
service:
  extensions: [health_check]
  telemetry:
    traces: { processors: [] }
    logs:
      output_paths: [stdout]
      error_output_paths: [stderr]
      sampling: { enabled: true, tick: 10s, initial: 10, thereafter: 100 }
      processors: [{ batch: { exporter: { otlp: { protocol: http/protobuf, endpoint: "http://c:4318" } } } }]
    metrics:
      level: detailed
      views: []
      readers:
        - pull: { exporter: { prometheus: { port: 8888, without_units: true, with_resource_constant_labels: { included: [a] } } } }
  pipelines:
    metrics: { receivers: [otlp], exporters: [otlp_http] }
`;

describe('a config of the Collector loads unchanged', () => {
  test.each(CONFIGS)('%s', async (_name, text) => {
    const { mistakes } = await load(text, { registry, env: { API_KEY: 'x' } });
    expect(mistakes).toEqual([]);
  });

  test('what has no effect here is taken, and a warning says so', async () => {
    const { mistakes, warnings } = await load(WITHOUT_EFFECT, { registry, env: {} });
    expect(mistakes).toEqual([]);
    const told = warnings.join('\n').matchAll(/"(\w+)" has no effect: (\S+)/g);
    expect([...told].map(([, option]) => option).sort()).toEqual([
      'check_collector_pipeline',
      'cookies',
      'disable_keep_alives',
      'error_output_paths',
      'output_paths',
      'processors',
      'read_buffer_size',
      'thereafter',
      'traces',
      'views',
      'with_resource_constant_labels',
      'without_units',
    ]);
  });
});
