/** NVIDIA GPUs without privileges: NVML where its library can be opened, else nvidia-smi, else a dcgm-exporter. */

import type { Static } from '../../config/schema.ts';
import { options, t } from '../../config/schema.ts';
import { type Consumer, type Context, defineReceiver, type Running } from '../../pipeline/component.ts';
import { exporterKind } from '../../pipeline/kit/gpu-exporter.ts';
import { checkGpuOptions, enginePatterns, gpuOptions } from '../../pipeline/kit/gpu-options.ts';
import { type GpuSourceKind, runGpuSources } from '../../pipeline/kit/gpu-source.ts';
import { createTree } from '../../pipeline/kit/tree.ts';
import { WORKER } from './nvml.ts';
import { nvmlKind } from './nvml-source.ts';
import { smiKind } from './smi-source.ts';

const config = options({
  sources: t.list(t.choice(['nvml', 'nvidia_smi', 'dcgm'], { description: 'A source.' }), {
    description:
      'Where numbers may come from. The first that answers is taken, and named in the scope of every series.',
    default: ['nvml', 'nvidia_smi', 'dcgm'],
    minItems: 1,
  }),
  collection_interval: t.duration({
    description: 'How often activity, clocks, power, temperatures and throttling are read, through NVML.',
    default: '1s',
    minimum: '100ms',
  }),
  link_interval: t.duration({
    description: 'How often NVLink, PCIe and the processes on a GPU are read, through NVML.',
    default: '5s',
    minimum: '1s',
  }),
  nvidia_smi_interval: t.duration({
    description: 'How often nvidia-smi is run, where it is the source.',
    default: '15s',
    minimum: '1s',
  }),
  dcgm_interval: t.duration({
    description:
      'How often dcgm-exporter is scraped, where it is the source. It collects every 30 s unless told otherwise.',
    default: '15s',
    minimum: '1s',
  }),
  ...gpuOptions,
  nvml_library: t.string({
    description: 'Path or name of NVML’s library, which comes with the driver.',
    default: 'libnvidia-ml.so.1',
  }),
  nvidia_smi: t.string({ description: 'Path or name of the tool.', default: 'nvidia-smi' }),
  dcgm_url: t.string({
    description: 'The page of a dcgm-exporter on this node. Empty: none.',
    default: 'http://127.0.0.1:9400/metrics',
  }),
  driver_timeout: t.duration({
    description: 'How long the driver or a tool may take; after that its GPUs count as failed until it answers.',
    default: '10s',
    minimum: '100ms',
  }),
});

export type NvidiaConfig = Static<typeof config>;

/** Starts it with the file of NVML's thread, which has to be compiled. */
export function startNvidia(config: NvidiaConfig, next: Consumer, context: Context, worker: URL): Promise<Running> {
  const timeoutMs = config.driver_timeout;
  const root = config.root_path;
  const make: Readonly<Record<NvidiaConfig['sources'][number], () => GpuSourceKind>> = {
    nvml: () =>
      nvmlKind({
        context,
        worker,
        timeoutMs,
        root,
        library: config.nvml_library,
        intervals: {
          fast: config.collection_interval,
          medium: config.link_interval,
          slow: config.slow_interval,
        },
      }),
    nvidia_smi: () =>
      smiKind({ context, timeoutMs, root, command: config.nvidia_smi, intervalMs: config.nvidia_smi_interval }),
    dcgm: () =>
      exporterKind({
        context,
        next,
        name: 'dcgm-exporter',
        source: 'dcgm',
        option: 'dcgm_url',
        labels: ['UUID', 'uuid'],
        fault: 'xid',
        url: config.dcgm_url,
        intervalMs: config.dcgm_interval,
      }),
  };
  return runGpuSources({
    context,
    next,
    vendor: 'nvidia',
    tree: createTree(root),
    kinds: config.sources.map((name) => make[name]()),
    hostName: config.host_name,
    engines: enginePatterns(config),
    socket: config.pod_resources_socket,
    retryMs: config.retry_interval,
    maxLoad: config.max_load,
  });
}

export const nvidiaGpu = defineReceiver({
  type: 'nvidia_gpu',
  summary: 'NVIDIA GPUs: activity, clocks, throttling, power, links, errors, XIDs and processes, without privileges',
  stability: 'alpha',
  signals: ['metrics', 'logs'],
  config,
  validate: checkGpuOptions,
  start: (resolved, next, context) => startNvidia(resolved, next, context, WORKER),
});
