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

describe('a config of the Collector loads unchanged', () => {
  test.each(CONFIGS)('%s', async (_name, text) => {
    const { mistakes } = await load(text, { registry, env: { API_KEY: 'x' } });
    expect(mistakes).toEqual([]);
  });
});
