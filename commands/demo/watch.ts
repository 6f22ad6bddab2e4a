/** The daemon of the demo: the config that a person would write for this cluster, and an exporter that shows what comes out. */
import { options } from '../../config/schema.ts';
import { defineExporter, type Registry } from '../../pipeline/component.ts';
import type { Batch } from '../../pipeline/model.ts';
import type { LiveTarget } from '../../simulator/live.ts';

/** The config as YAML (JSON is YAML); only components of this registry are used. */
export function demoConfig(targets: readonly LiveTarget[], socketPath: string, registry: Registry): string {
  const of = (prefix: string) => {
    const own = targets.filter((t) => t.name.startsWith(prefix));
    return own.length === 0
      ? undefined
      : {
          targets: own.map((t) => ({ url: t.url, labels: t.labels })),
          collection_interval: `${own[0]!.everyS}s`,
          timeout: `${Math.min(4, own[0]!.everyS)}s`,
          // A clock that runs faster makes every scrape look that much dearer than it is.
          max_scrape_load: 0,
        };
  };
  const receivers = Object.fromEntries(
    Object.entries({
      vllm: of('engine/'),
      llm_d: of('router/'),
      'prometheus/gpus': of('gpu/'),
      'prometheus/nodes': of('node/'),
      'prometheus/containers': of('cadvisor/'),
      hooks: { socket: { path: socketPath } },
    }).filter(([, value]) => value !== undefined),
  );
  const known = new Set(registry.processors.map((p) => p.type));
  const processors = ['normalize', 'correlation', 'bottleneck'].filter((type) => known.has(type));
  return JSON.stringify({
    receivers,
    processors: Object.fromEntries(processors.map((type) => [type, {}])),
    exporters: { demo: {} },
    service: {
      pipelines: { inference: { receivers: Object.keys(receivers), processors, exporters: ['demo'] } },
      shutdown_timeout: '2s',
      telemetry: { logs: { level: 'error' }, metrics: { level: 'none' } },
    },
  });
}

/** The registry with one exporter more: it hands everything to `see`. */
export function withScreen(registry: Registry, see: (batch: Batch) => void): Registry {
  return {
    ...registry,
    exporters: [
      ...registry.exporters,
      defineExporter({
        type: 'demo',
        summary: 'Shows what comes out on the screen of the demo',
        stability: 'stable',
        signals: ['metrics', 'traces', 'logs'],
        config: options({}),
        async start() {
          return { consume: see, async stop() {} };
        },
      }),
    ],
  };
}
