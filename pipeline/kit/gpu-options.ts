/** The options that both GPU receivers have. */
import { type Static, type TObject, t } from '../../config/schema.ts';
import type { ConfigMistake } from '../component.ts';
import { ENGINE_COMMANDS, type EnginePattern } from './gpu-processes.ts';
import { POD_RESOURCES_SOCKET } from './pod-resources.ts';

export const gpuOptions = {
  slow_interval: t.duration({
    description: 'How often limits, memory errors, repairs and the inventory are read.',
    default: '30s',
    minimum: '1s',
  }),
  max_load: t.number({
    description:
      'The share of one core that asking may take. What costs more is asked less often, and the log says so. 0 turns this off.',
    default: 0.005,
    minimum: 0,
    maximum: 1,
  }),
  retry_interval: t.duration({
    description: 'How often to look again for a source while there is none.',
    default: '1m',
    minimum: '1s',
  }),
  root_path: t.path({
    description:
      "Where the host's root is seen: `/host` in a container that mounts it there, `/` on the machine itself.",
    default: '/',
  }),
  host_name: t.optional(
    t.string({ description: 'The name of the node, as `host.name`. Default: the kernel’s host name.' }),
  ),
  pod_resources_socket: t.string({
    description:
      'The kubelet’s PodResources socket: which pod was given which GPU. Passed over where it is not there; empty: not asked.',
    default: POD_RESOURCES_SOCKET,
  }),
  engines: t.list(
    t.item(
      {
        engine: t.string({ description: 'What `inference.engine` becomes.' }),
        command: t.string({ description: 'A regular expression that is looked for in the command line.' }),
      },
      { description: 'How one kind of engine is recognised.' },
    ),
    { description: 'Whose processes on a GPU are an engine’s. The first match counts.', default: ENGINE_COMMANDS },
  ),
};

type GpuConfig = Static<TObject<typeof gpuOptions>>;

export function checkGpuOptions(config: Pick<GpuConfig, 'engines'>): ConfigMistake[] {
  return config.engines.flatMap((entry, i) => {
    try {
      new RegExp(entry.command);
      return [];
    } catch (error) {
      const because = error instanceof Error ? error.message : String(error);
      return [{ path: ['engines', i, 'command'], message: `is no regular expression: ${because}` }];
    }
  });
}

export const enginePatterns = (config: Pick<GpuConfig, 'engines'>): EnginePattern[] =>
  config.engines.map(({ engine, command }) => ({ engine, pattern: new RegExp(command) }));
