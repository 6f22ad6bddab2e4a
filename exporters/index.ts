/** Every exporter that a config file can name, in the order `enginelight components` shows them. */
import type { ExporterDefinition } from '../pipeline/component.ts';
import { alertmanagerExporter } from './alertmanager/index.ts';
import { consoleExporter } from './console/index.ts';
import { debugExporter } from './debug/index.ts';
import { fileExporter } from './file/index.ts';
import { liveExporter } from './live/index.ts';
import { otlpGrpcExporter } from './otlp_grpc/index.ts';
import { otlpHttpExporter } from './otlp_http/index.ts';
import { prometheusExporter } from './prometheus/index.ts';
import { prometheusRemoteWriteExporter } from './prometheus_remote_write/index.ts';
import { recordingExporter } from './recording/index.ts';
import { report } from './report/index.ts';
import { webhookExporter } from './webhook/index.ts';

// biome-ignore lint/suspicious/noExplicitAny: a registry holds definitions of every config type
export const exporters: readonly ExporterDefinition<any>[] = [
  otlpHttpExporter,
  otlpGrpcExporter,
  prometheusExporter,
  prometheusRemoteWriteExporter,
  fileExporter,
  alertmanagerExporter,
  webhookExporter,
  recordingExporter,
  report,
  debugExporter,
  consoleExporter,
  liveExporter,
];
