/** Which pod was given which GPU, asked of the kubelet now and then. Shared by the GPU receivers. */
import { existsSync } from 'node:fs';
import type { Context } from '../component.ts';
import { describeError } from '../errors.ts';
import type { Attributes } from '../model.ts';
import { listPodDevices } from './pod-resources.ts';
import type { Probe } from './probe.ts';

export interface GpuPods {
  /** Asks again. Never rejects. */
  refresh(probe: Probe): Promise<void>;
  /** The pod that holds a device, by the name that the device plug-in gives it; the same object until it changes. */
  of(name: string): Attributes | undefined;
}

const SEVERAL: Attributes = {};

/** `socket` empty: nobody is asked. */
export function gpuPods(socket: string, context: Pick<Context, 'clock'>): GpuPods {
  let pods = new Map<string, Attributes>();
  return {
    async refresh(probe) {
      // No socket on a machine without Kubernetes is no gap.
      if (socket === '' || !existsSync(socket)) {
        if (pods.size > 0) pods = new Map();
        return;
      }
      try {
        const found = new Map<string, Attributes>();
        for (const device of await listPodDevices(socket, context.clock)) {
          // GPUs that are shared in time are `GPU-…::3`: whose turn it is cannot be told where several have one.
          const id = device.id.split('::')[0]!;
          const attributes = {
            'k8s.pod.name': device.pod,
            'k8s.namespace.name': device.namespace,
            'k8s.container.name': device.container,
          };
          const before = pods.get(id);
          const same = before !== undefined && JSON.stringify(before) === JSON.stringify(attributes);
          if (found.has(id)) found.set(id, SEVERAL);
          else found.set(id, same ? before : attributes);
        }
        pods = found;
        probe.filled('gpu_pods');
      } catch (error) {
        probe.gap(
          'gpu_pods',
          describeError(error),
          `mount ${socket} read-only, for a user that may open it (root), to have GPUs named by pod`,
        );
      }
    },
    of: (name) => pods.get(name),
  };
}
