/**
 * What both GPU receivers do with readings: rounds of points, the inventory, faults as events, gaps said once. The source
 * (a library, a tool, files) is handed in.
 */
import { hostname } from 'node:os';
import type { Consumer, Context } from '../component.ts';
import {
  type Attributes,
  type LogRecord,
  logsBatch,
  nanosFromMs,
  type Resource,
  resource,
  type Scope,
  scope,
} from '../model.ts';
import { createGpuInventory } from './gpu-inventory.ts';
import { type EnginePattern, gpuProcessOwners } from './gpu-processes.ts';
import { createGpuSignals, type GpuProcess, type GpuReading, type ProcessOwner } from './gpu-signals.ts';
import { createProbe, entryOf, type Probe } from './probe.ts';
import type { Tree } from './tree.ts';
import { VERSION } from './version.ts';

export interface GpuRoundsOptions {
  readonly context: Context;
  readonly next: Consumer;
  readonly tree: Tree;
  readonly vendor: 'nvidia' | 'amd';
  /** What the numbers come from; told in the scope of every series. */
  readonly source: string;
  readonly hostName: string | undefined;
  readonly engines: readonly EnginePattern[];
  /** Who was given a GPU; see GpuSignalsOptions. */
  readonly place?: ((uuid: string) => Attributes | undefined) | undefined;
}

export interface Fault {
  readonly uuid: string;
  /** `xid`, `ras`. */
  readonly kind: string;
  readonly code: number;
  readonly text: string;
}

export interface GpuRounds {
  readonly probe: Probe;
  /** The scope of what is sent, and the node it is about. */
  readonly scope: Scope;
  readonly node: Resource;
  /** Sends what was read. */
  send(readings: readonly GpuReading[], timeMs: number): Promise<void>;
  /** Sends the inventory if it changed; `more` is said of the machine. */
  inventory(timeMs: number, more: Readonly<Record<string, string | undefined>>): Promise<void>;
  /** Sends `inference.gpu.<kind>` at once, and counts it. */
  fault(fault: Fault): Promise<void>;
  uuidOf(busId: string): string | undefined;
}

/** Severity numbers of OpenTelemetry. */
const ERROR = 17;

export function createGpuRounds(options: GpuRoundsOptions): GpuRounds {
  const { context, next, tree, vendor, source } = options;
  const plain = scope(`enginelight/receivers/${context.id.split('/')[0]}`, VERSION);
  const own = { ...plain, attributes: { source } };
  const probe = createProbe(context, own);
  const name = options.hostName ?? (tree.read('/proc/sys/kernel/hostname')?.trim() || hostname());
  const machine = tree.read('/etc/machine-id')?.trim();
  const base: Attributes = { 'host.name': name, ...(machine ? { 'host.id': machine } : {}) };
  const node = resource(base);
  let resources = new Map<string, Resource>();
  const lookUp = gpuProcessOwners(tree, options.engines);
  const looked = new WeakMap<readonly GpuProcess[], readonly ProcessOwner[]>();
  /** Signals and inventory ask for the same list. */
  const owners = (processes: readonly GpuProcess[]): readonly ProcessOwner[] => {
    const found = looked.get(processes) ?? lookUp(processes);
    looked.set(processes, found);
    return found;
  };
  const signals = createGpuSignals({
    vendor,
    // A budget may stretch the interval; beyond this, nobody knows what was in between.
    longestGapMs: 15_000,
    owners,
    ...(options.place ? { place: options.place } : {}),
    resource(attributes) {
      // Processes come and go.
      if (resources.size > 4096) resources = new Map();
      return entryOf(resources, JSON.stringify(attributes), () => resource({ ...base, ...attributes }));
    },
  });
  let more: Readonly<Record<string, string | undefined>> = {};
  const inventory = createGpuInventory(tree, node, own, owners, () => more);

  const states = new Map<string, string>();
  /** A state that changed is said once, and not that a GPU is well from the start. */
  const note = (readings: readonly GpuReading[]) => {
    for (const { id, state, because } of readings) {
      if (state === undefined || state === (states.get(id.uuid) ?? 'ok')) continue;
      states.set(id.uuid, state);
      const fields = { gpu: id.uuid, pci_bus_id: id.busId, state, ...(because ? { because } : {}) };
      if (state === 'ok') context.log.info('A GPU is well again.', fields);
      else context.log.warn('A GPU is not well.', fields);
    }
    // A process that /proc does not have: another PID namespace.
    const whose = readings.flatMap((r) => (r.processes ? owners(r.processes) : []));
    if (whose.length === 0) return;
    if (whose.every(({ attributes }) => Object.keys(attributes).length === 0)) {
      probe.gap(
        'gpu_process_owners',
        'the processes on the GPUs are not among those seen here',
        'run in the PID namespace of the host (hostPID: true), or set root_path to where its root is mounted',
      );
    } else probe.filled('gpu_process_owners');
  };

  return {
    probe,
    scope: own,
    node,
    async send(readings, timeMs) {
      inventory.take(readings);
      note(readings);
      if (!context.signals.has('metrics')) return;
      const round = probe.round(timeMs, 0);
      signals.add(round, readings, timeMs);
      signals.addFaults(round);
      const batch = round.finish();
      if (batch.items.length > 0) await next.consume(batch);
    },
    async inventory(timeMs, said) {
      more = said;
      const record = context.signals.has('logs') ? inventory.changed(timeMs) : undefined;
      if (record) await next.consume(logsBatch([record]));
    },
    async fault({ uuid, kind, code, text }) {
      signals.fault(uuid, kind, code);
      context.log.warn('A GPU reported a fault.', { gpu: uuid, [kind]: code });
      if (!context.signals.has('logs')) return;
      const time = nanosFromMs(context.clock.now());
      const record: LogRecord = {
        resource: signals.resourceOf(uuid) ?? resource({ ...base, 'hw.id': uuid, 'hw.vendor': vendor }),
        scope: own,
        time,
        observedTime: time,
        severityNumber: ERROR,
        severityText: 'ERROR',
        eventName: `inference.gpu.${kind}`,
        body: text,
        attributes: { [`hw.gpu.${kind}`]: code },
        droppedAttributesCount: 0,
        flags: 0,
        traceId: '',
        spanId: '',
      };
      await next.consume(logsBatch([record]));
    },
    uuidOf: signals.uuidOf,
  };
}
