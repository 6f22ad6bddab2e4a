/** The medium group: links, PCIe, and the processes on a GPU. */
import {
  type GpuLink,
  type GpuProcess,
  type GpuReading,
  PCIE_RATES,
  plainBusId,
} from '../../pipeline/kit/gpu-signals.ts';
import type { Device } from './device.ts';
import { Return } from './library.ts';
import { type Numbers, percent, put, times, unsupported } from './numbers.ts';

const PCIE = [
  { id: 94, field: 'pcie_replays' },
  { id: 95, field: 'pcie_replay_rollovers' },
  { id: 169, field: 'pcie_recoveries' },
  { id: 174, field: 'pcie_nacks_received' },
  { id: 177, field: 'pcie_nacks_sent' },
  { id: 197, field: 'pcie_sent' },
  { id: 198, field: 'pcie_received' },
] as const;
const LINK_COUNT = 91;
const LINK_SENT = 138;
const LINK_RECEIVED = 139;
const LINKS = 18;
/** nvmlNvLinkErrorCounter_t. */
const LINK_ERRORS = ['replay', 'recovery', 'crc_flit', 'crc_data'];
const pci = Buffer.alloc(68);

/** nvmlPerfPolicyType_t, by the names that dcgm-exporter's counters get. */
const POLICIES = ['power', 'thermal', 'sync_boost', 'board_limit', 'low_utilization', 'reliability'];
const policy = Buffer.alloc(16);
const pair = Buffer.alloc(8);
const period = Buffer.alloc(4);

/** Seconds that the driver itself has counted, by policy. */
function readViolations(device: Device): Record<string, number> {
  const throttled: Record<string, number> = {};
  for (const [i, reason] of POLICIES.entries()) {
    const key = `policy ${i}`;
    if (unsupported(device).has(key)) continue;
    const code = device.code('nvmlDeviceGetViolationStatus', i, policy);
    if (code === Return.OK) throttled[reason] = Number(policy.readBigUInt64LE(8)) / 1e9;
    else if (code === Return.NOT_SUPPORTED || code === Return.FUNCTION_NOT_FOUND || code === Return.INVALID_ARGUMENT)
      unsupported(device).add(key);
  }
  return throttled;
}

export function readMedium(device: Device): GpuReading[] {
  const numbers: Numbers = {};
  if (device.ask('nvmlDeviceGetEncoderUtilization', pair, period))
    put(numbers, 'encoder', percent(pair.readUInt32LE(0)));
  if (device.ask('nvmlDeviceGetDecoderUtilization', pair, period))
    put(numbers, 'decoder', percent(pair.readUInt32LE(0)));
  const generation = device.uint('nvmlDeviceGetCurrPcieLinkGeneration');
  put(numbers, 'pcie_speed', generation === undefined ? undefined : PCIE_RATES[generation]);
  put(numbers, 'pcie_width', device.uint('nvmlDeviceGetCurrPcieLinkWidth') || undefined);
  const values = device.fields(PCIE);
  for (const [i, { field }] of PCIE.entries()) put(numbers, field, values[i]);
  if (numbers.pcie_replays === undefined) put(numbers, 'pcie_replays', device.uint('nvmlDeviceGetPcieReplayCounter'));
  if (numbers.pcie_sent === undefined) {
    // The driver measures for 20 ms, asleep.
    put(numbers, 'pcie_sent_rate', times(device.uint('nvmlDeviceGetPcieThroughput', 0), 1000));
    put(numbers, 'pcie_received_rate', times(device.uint('nvmlDeviceGetPcieThroughput', 1), 1000));
  }
  return [
    {
      id: device.id,
      numbers,
      throttled: readViolations(device),
      links: readLinks(device),
      processes: readProcesses(device),
    },
  ];
}

function readLinks(device: Device): GpuLink[] {
  const kept = device.memory;
  if (kept.links === undefined) kept.links = Math.min(device.fields([{ id: LINK_COUNT }])[0] ?? LINKS, 64);
  const links: GpuLink[] = [];
  for (let index = 0; index < kept.links; index++) {
    const state = device.uint('nvmlDeviceGetNvLinkState', index);
    if (state === undefined) continue;
    const errors: Record<string, number> = {};
    for (const [counter, type] of LINK_ERRORS.entries()) {
      const count = device.ulong('nvmlDeviceGetNvLinkErrorCounter', index, counter);
      if (count !== undefined) errors[type] = count;
    }
    const [sent, received] = device.fields([
      { id: LINK_SENT, scope: index },
      { id: LINK_RECEIVED, scope: index },
    ]);
    pci.fill(0);
    const remote =
      state === 1 && device.code('nvmlDeviceGetNvLinkRemotePciInfo_v2', index, pci) === Return.OK
        ? pci.subarray(36).toString('latin1').split('\0', 1)[0]
        : undefined;
    links.push({
      kind: 'nvlink',
      index,
      up: state === 1,
      errors,
      sent: times(sent, 1024),
      received: times(received, 1024),
      ...(remote ? { remote: plainBusId(remote) } : {}),
    });
  }
  return links;
}

const PROCESSES = 256;
const PROCESS_BYTES = 24;
const SAMPLE_BYTES = 32;
const list = Buffer.alloc(PROCESSES * PROCESS_BYTES);
const samples = Buffer.alloc(PROCESSES * SAMPLE_BYTES);
const count = Buffer.alloc(4);
const UNKNOWN_BYTES = 0xffff_ffff_ffff_ffffn;

function readProcesses(device: Device): GpuProcess[] | undefined {
  const found = new Map<number, { pid: number; memory?: number; utilization?: number }>();
  let any = false;
  for (const name of ['nvmlDeviceGetComputeRunningProcesses_v3', 'nvmlDeviceGetGraphicsRunningProcesses_v3'] as const) {
    count.writeUInt32LE(PROCESSES);
    if (!device.ask(name, count, list)) continue;
    any = true;
    for (let i = 0; i < Math.min(count.readUInt32LE(0), PROCESSES); i++) {
      const at = i * PROCESS_BYTES;
      const pid = list.readUInt32LE(at);
      const bytes = list.readBigUInt64LE(at + 8);
      found.set(pid, { pid, ...(bytes === UNKNOWN_BYTES ? {} : { memory: Number(bytes) }) });
    }
  }
  if (!any) return undefined;
  count.writeUInt32LE(PROCESSES);
  if (device.ask('nvmlDeviceGetProcessUtilization', samples, count, device.memory.sampledUntil)) {
    const sums = new Map<number, { total: number; n: number }>();
    for (let i = 0; i < Math.min(count.readUInt32LE(0), PROCESSES); i++) {
      const at = i * SAMPLE_BYTES;
      const pid = samples.readUInt32LE(at);
      const time = samples.readBigUInt64LE(at + 8);
      if (time > device.memory.sampledUntil) device.memory.sampledUntil = time;
      const sm = samples.readUInt32LE(at + 16);
      if (sm > 100) continue;
      const entry = sums.get(pid) ?? { total: 0, n: 0 };
      entry.total += sm;
      entry.n++;
      sums.set(pid, entry);
    }
    for (const [pid, { total, n }] of sums) {
      const process = found.get(pid);
      if (process) process.utilization = total / n / 100;
    }
  }
  return [...found.values()];
}
