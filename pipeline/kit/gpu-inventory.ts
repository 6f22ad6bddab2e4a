/** Which GPUs there are, where they sit, and who is on them, as one log record that is sent again when it changes. */
import {
  type AnyValue,
  KeyValues,
  type LogRecord,
  NO_ATTRIBUTES,
  nanosFromMs,
  type Resource,
  type Scope,
} from '../model.ts';
import type { GpuIdentity, GpuReading, ProcessOwner } from './gpu-signals.ts';
import type { Tree } from './tree.ts';

interface Entry {
  id: GpuIdentity;
  peers: readonly string[];
  processes: readonly { readonly pid: number; readonly owner: ProcessOwner }[];
}

export interface GpuInventory {
  /** Remembers what readings say of places and processes. */
  take(readings: readonly GpuReading[]): void;
  /** The record, if it would say something else than the last one. */
  changed(timeMs: number): LogRecord | undefined;
}

/**
 * `inference.inventory`: the body is a list with one map per GPU: kind, hw.id, hw.gpu.pci_bus_id, hw.gpu.index, model,
 * numa_node, cpus (the kernel's list of those near it), peers (bus ids at the other ends of its NVLink or XGMI links), parent
 * (of a MIG instance), and processes with owner, engine, container and pod.
 */
export function createGpuInventory(
  tree: Tree,
  node: Resource,
  scope: Scope,
  owners: (processes: NonNullable<GpuReading['processes']>) => readonly ProcessOwner[],
  more: () => Readonly<Record<string, string | undefined>>,
): GpuInventory {
  const entries = new Map<string, Entry>();
  let last = '';

  const describe = ({ id, peers, processes }: Entry): Record<string, AnyValue> => {
    const base = id.busId === undefined ? undefined : `/sys/bus/pci/devices/${id.busId}`;
    const numa = base && tree.number(`${base}/numa_node`);
    const cpus = base && tree.read(`${base}/local_cpulist`)?.trim();
    return {
      kind: 'gpu',
      'hw.id': id.uuid,
      ...(id.busId === undefined ? {} : { 'hw.gpu.pci_bus_id': id.busId }),
      ...(id.index === undefined ? {} : { 'hw.gpu.index': id.index }),
      ...(id.model === undefined ? {} : { model: id.model }),
      ...(id.driver === undefined ? {} : { driver_version: id.driver }),
      ...(typeof numa === 'number' ? { numa_node: numa } : {}),
      ...(cpus ? { cpus } : {}),
      ...(id.parent === undefined ? {} : { parent: id.parent }),
      ...(peers.length === 0 ? {} : { peers: [...peers] }),
      ...(processes.length === 0
        ? {}
        : {
            processes: processes.map(
              ({ pid, owner }) => new KeyValues({ 'process.pid': pid, owner: owner.owner, ...owner.attributes }),
            ),
          }),
    };
  };

  return {
    take(readings) {
      for (const { id, links, processes } of readings) {
        const entry = entries.get(id.uuid) ?? { id, peers: [], processes: [] };
        entry.id = id;
        if (links) entry.peers = [...new Set(links.flatMap((l) => (l.remote === undefined ? [] : [l.remote])))].sort();
        if (processes) {
          const whose = owners(processes);
          entry.processes = processes.map(({ pid }, i) => ({ pid, owner: whose[i]! })).slice(0, 64);
        }
        if (entries.size < 1024) entries.set(id.uuid, entry);
      }
    },
    changed(timeMs) {
      const body = [...entries.values()].map((entry) => new KeyValues(describe(entry)));
      const attributes = Object.fromEntries(
        Object.entries(more()).filter((e): e is [string, string] => e[1] !== undefined),
      );
      const text = JSON.stringify([body, attributes]);
      if (text === last || body.length === 0) return undefined;
      last = text;
      const time = nanosFromMs(timeMs);
      return {
        resource: node,
        scope,
        time,
        observedTime: time,
        severityNumber: 9,
        severityText: 'INFO',
        eventName: 'inference.inventory',
        body,
        attributes: { ...NO_ATTRIBUTES, ...attributes },
        droppedAttributesCount: 0,
        flags: 0,
        traceId: '',
        spanId: '',
      };
    },
  };
}
