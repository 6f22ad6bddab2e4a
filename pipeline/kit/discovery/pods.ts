/** What Prometheus' pod discovery makes of a Kubernetes pod: one target for each declared port, with its meta labels. */
import type { TargetLabels } from './discovery.ts';

/** The part of a Pod that is read. */
export interface Pod {
  metadata?: {
    name?: string;
    namespace?: string;
    uid?: string;
    resourceVersion?: string;
    labels?: Record<string, string>;
    annotations?: Record<string, string>;
    ownerReferences?: { kind?: string; name?: string; controller?: boolean }[];
  };
  spec?: { nodeName?: string; containers?: Container[]; initContainers?: (Container & { restartPolicy?: string })[] };
  status?: {
    phase?: string;
    podIP?: string;
    hostIP?: string;
    conditions?: { type?: string; status?: string }[];
    containerStatuses?: { name?: string; containerID?: string }[];
    initContainerStatuses?: { name?: string; containerID?: string }[];
  };
}

interface Container {
  name?: string;
  image?: string;
  ports?: { name?: string; containerPort?: number; protocol?: string }[];
}

const M = '__meta_kubernetes_';
const safe = (name: string): string => name.replace(/[^a-zA-Z0-9_]/g, '_');

/**
 * The targets of a pod; none while it has no address, or once it has run to its end. `port` picks one port by name or
 * number; a pod that declares none of that number gets it anyway, one that has no port of that name is no target.
 */
export function podTargets(pod: Pod, port?: string): TargetLabels[] {
  const { metadata = {}, spec = {}, status = {} } = pod;
  if (!status.podIP || status.phase === 'Succeeded' || status.phase === 'Failed') return [];
  const ip = status.podIP;
  const host = ip.includes(':') ? `[${ip}]` : ip;
  const owner = metadata.ownerReferences?.find((o) => o.controller);
  const ready = status.conditions?.find((c) => c.type === 'Ready')?.status?.toLowerCase() ?? 'unknown';
  const common: Record<string, string> = {
    [`${M}namespace`]: metadata.namespace ?? '',
    [`${M}pod_name`]: metadata.name ?? '',
    [`${M}pod_ip`]: ip,
    [`${M}pod_ready`]: ready,
    [`${M}pod_phase`]: status.phase ?? '',
    [`${M}pod_node_name`]: spec.nodeName ?? '',
    [`${M}pod_host_ip`]: status.hostIP ?? '',
    [`${M}pod_uid`]: metadata.uid ?? '',
  };
  if (owner) {
    common[`${M}pod_controller_kind`] = owner.kind ?? '';
    common[`${M}pod_controller_name`] = owner.name ?? '';
  }
  for (const [kind, record] of [
    ['label', metadata.labels],
    ['annotation', metadata.annotations],
  ] as const) {
    for (const [name, value] of Object.entries(record ?? {})) {
      common[`${M}pod_${kind}_${safe(name)}`] = value;
      common[`${M}pod_${kind}present_${safe(name)}`] = 'true';
    }
  }
  const idOf = (name: string | undefined) =>
    [...(status.containerStatuses ?? []), ...(status.initContainerStatuses ?? [])].find((c) => c.name === name)
      ?.containerID ?? '';
  const containers = [
    ...(spec.containers ?? []).map((c) => ({ ...c, init: false })),
    ...(spec.initContainers ?? []).map((c) => ({ ...c, init: true })),
  ];
  const about = (c: (typeof containers)[number]): Record<string, string> => ({
    ...common,
    [`${M}pod_container_name`]: c.name ?? '',
    [`${M}pod_container_image`]: c.image ?? '',
    [`${M}pod_container_id`]: idOf(c.name),
    [`${M}pod_container_init`]: String(c.init),
  });
  const targets: TargetLabels[] = [];
  for (const container of containers) {
    for (const declared of container.ports ?? []) {
      targets.push({
        ...about(container),
        __address__: `${host}:${declared.containerPort}`,
        [`${M}pod_container_port_name`]: declared.name ?? '',
        [`${M}pod_container_port_number`]: String(declared.containerPort ?? ''),
        [`${M}pod_container_port_protocol`]: declared.protocol ?? 'TCP',
      });
    }
    // Without declared ports the pod is one target, whose port relabelling has to add.
    if (port === undefined && (container.ports ?? []).length === 0) {
      targets.push({ ...about(container), __address__: host });
    }
  }
  if (port === undefined) return targets;
  const chosen = targets.filter(
    (t) => t[`${M}pod_container_port_name`] === port || t[`${M}pod_container_port_number`] === port,
  );
  if (chosen.length > 0) return chosen.slice(0, 1);
  const first = containers.find((c) => !c.init);
  return /^\d+$/.test(port) && first ? [{ ...about(first), __address__: `${host}:${port}` }] : [];
}
