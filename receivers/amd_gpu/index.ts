/** AMD GPUs without privileges: what amdgpu shows in /sys, else amd-smi or rocm-smi, else AMD's exporter. */
import { options, type Static, t } from '../../config/schema.ts';
import { defineReceiver } from '../../pipeline/component.ts';
import { exporterKind } from '../../pipeline/kit/gpu-exporter.ts';
import { checkGpuOptions, enginePatterns, gpuOptions } from '../../pipeline/kit/gpu-options.ts';
import { type GpuSourceKind, runGpuSources } from '../../pipeline/kit/gpu-source.ts';
import { createTree } from '../../pipeline/kit/tree.ts';
import { resetWatch } from './resets.ts';
import { amdSmiKind } from './smi-source.ts';
import { sysfsKind } from './sysfs.ts';

const config = options({
  sources: t.list(t.choice(['sysfs', 'amd_smi', 'rocm_smi', 'exporter'], { description: 'A source.' }), {
    description:
      'Where numbers may come from. The first that answers is taken, and named in the scope of every series.',
    default: ['sysfs', 'amd_smi', 'rocm_smi', 'exporter'],
    minItems: 1,
  }),
  collection_interval: t.duration({
    description: 'How often activity, memory, clocks, power, temperatures and throttling are read, from /sys.',
    default: '1s',
    minimum: '100ms',
  }),
  link_interval: t.duration({
    description: 'How often XGMI, PCIe and the processes on a GPU are read, from /sys.',
    default: '5s',
    minimum: '1s',
  }),
  tool_interval: t.duration({
    description: 'How often amd-smi or rocm-smi is run, where it is the source.',
    default: '30s',
    minimum: '1s',
  }),
  exporter_interval: t.duration({
    description: 'How often the exporter is scraped, where it is the source.',
    default: '15s',
    minimum: '1s',
  }),
  ...gpuOptions,
  amd_smi: t.string({ description: 'Path or name of the tool.', default: 'amd-smi' }),
  rocm_smi: t.string({ description: 'Path or name of the older tool.', default: 'rocm-smi' }),
  exporter_url: t.string({
    description: 'The page of a device-metrics-exporter on this node. Empty: none.',
    default: 'http://127.0.0.1:5000/metrics',
  }),
  tool_timeout: t.duration({
    description: 'How long a tool may take; after that its GPUs count as failed until it answers.',
    default: '20s',
    minimum: '100ms',
  }),
});

type AmdConfig = Static<typeof config>;

export const amdGpu = defineReceiver({
  type: 'amd_gpu',
  summary: 'AMD GPUs: activity, memory, clocks, throttling, power, XGMI, RAS errors and processes, without privileges',
  stability: 'alpha',
  signals: ['metrics', 'logs'],
  config,
  validate: checkGpuOptions,
  start(resolved, next, context) {
    const { clock } = context;
    const tree = createTree(resolved.root_path);
    const tool = (name: 'amd-smi' | 'rocm-smi', command: string) =>
      amdSmiKind({
        context,
        tool: name,
        command,
        timeoutMs: resolved.tool_timeout,
        intervalMs: resolved.tool_interval,
      });
    const make: Readonly<Record<AmdConfig['sources'][number], () => GpuSourceKind>> = {
      sysfs: () =>
        sysfsKind({
          tree,
          now: clock.monotonic,
          cpu() {
            const { user, system } = process.cpuUsage();
            return (user + system) / 1000;
          },
          intervals: {
            fast: resolved.collection_interval,
            medium: resolved.link_interval,
            slow: resolved.slow_interval,
          },
          ...resetWatch(context, resolved.root_path),
        }),
      amd_smi: () => tool('amd-smi', resolved.amd_smi),
      rocm_smi: () => tool('rocm-smi', resolved.rocm_smi),
      exporter: () =>
        exporterKind({
          context,
          next,
          name: 'amd-device-metrics-exporter',
          source: 'amd',
          option: 'exporter_url',
          url: resolved.exporter_url,
          intervalMs: resolved.exporter_interval,
          labels: ['gpu_uuid', 'GPU_UUID', 'serial_number', 'SERIAL_NUMBER'],
          fault: 'ras',
        }),
    };
    return runGpuSources({
      context,
      next,
      vendor: 'amd',
      tree,
      kinds: resolved.sources.map((name) => make[name]()),
      hostName: resolved.host_name,
      engines: enginePatterns(resolved),
      socket: resolved.pod_resources_socket,
      retryMs: resolved.retry_interval,
      maxLoad: resolved.max_load,
    });
  },
});
