/**
 * `amd-smi metric|list|process --json` and `rocm-smi … --json` to readings. Numbers come bare, as `{value, unit}`, or in
 * rocm-smi as text with the unit in the key; "N/A" is no number.
 */
import { type GpuField, type GpuProcess, type GpuReading, plainBusId } from '../../pipeline/kit/gpu-signals.ts';

type Numbers = Partial<Record<GpuField, number>>;
type Json = Readonly<Record<string, unknown>>;

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** The list of GPUs; newer versions wrap it. */
function gpusIn(text: string): Json[] | undefined {
  let parsed: unknown;
  try {
    // Warnings of the tool may stand before the JSON.
    parsed = JSON.parse(text.slice(Math.max(0, text.search(/^\s*[[{]/m))));
  } catch {
    return undefined;
  }
  const list = isObject(parsed) ? parsed['gpu_data'] : parsed;
  return Array.isArray(list) ? list.filter(isObject) : undefined;
}

const at = (from: unknown, path: string): unknown =>
  path.split('.').reduce<unknown>((value, key) => (isObject(value) ? value[key] : undefined), from);

const number = (value: unknown): number | undefined => {
  const bare = isObject(value) ? value['value'] : value;
  const parsed = typeof bare === 'string' && /^-?\d+(\.\d+)?$/.test(bare.trim()) ? Number(bare) : bare;
  return typeof parsed === 'number' && Number.isFinite(parsed) ? parsed : undefined;
};

const unitOf = (value: unknown): string => (isObject(value) ? String(value['unit'] ?? '').toUpperCase() : '');
const BYTES: Record<string, number> = { B: 1, KB: 2 ** 10, MB: 2 ** 20, GB: 2 ** 30 };
/** What a bare number of memory is counted in: MB. */
const bytes = (value: unknown): number | undefined => {
  const n = number(value);
  return n === undefined ? undefined : n * (BYTES[unitOf(value)] ?? 2 ** 20);
};

/** The first path that has a number counts. */
const METRICS: readonly (readonly [field: GpuField, factor: number, ...paths: string[]])[] = [
  ['utilization', 0.01, 'usage.gfx_activity'],
  ['dram_active', 0.01, 'usage.umc_activity'],
  ['power', 1, 'power.socket_power', 'power.average_socket_power', 'power.current_socket_power'],
  ['power_limit', 1, 'power.power_limit', 'limit.socket_power_limit', 'limit.max_power'],
  ['energy', 1, 'energy.total_energy_consumption'],
  ['temperature_edge', 1, 'temperature.edge'],
  ['temperature_junction', 1, 'temperature.hotspot'],
  ['temperature_memory', 1, 'temperature.mem'],
  ['clock_sm', 1e6, 'clock.gfx_0.clk', 'clock.gfx.cur_clk', 'clock.gfx_0.cur_clk'],
  ['clock_memory', 1e6, 'clock.mem_0.clk', 'clock.mem.cur_clk', 'clock.mem_0.cur_clk'],
  ['clock_sm_max', 1e6, 'clock.gfx_0.max_clk', 'clock.gfx.max_clk'],
  ['clock_memory_max', 1e6, 'clock.mem_0.max_clk', 'clock.mem.max_clk'],
  ['pcie_width', 1, 'pcie.width', 'pcie.current_lanes'],
  ['pcie_speed', 1, 'pcie.speed', 'pcie.current_speed'],
  ['pcie_replays', 1, 'pcie.replay_count'],
  ['pcie_replay_rollovers', 1, 'pcie.replay_roll_over_count'],
  ['pcie_recoveries', 1, 'pcie.l0_to_recovery_count'],
  ['pcie_nacks_sent', 1, 'pcie.nak_sent_count'],
  ['pcie_nacks_received', 1, 'pcie.nak_received_count'],
  ['ecc_corrected', 1, 'ecc.total_correctable_count', 'ecc.total_correctable'],
  ['ecc_uncorrected', 1, 'ecc.total_uncorrectable_count', 'ecc.total_uncorrectable'],
  ['ecc_deferred', 1, 'ecc.total_deferred_count', 'ecc.total_deferred'],
];

/** Throttling: samples in which a reason held, under `throttle`; names end in `_accumulated`. */
const THROTTLE: readonly (readonly [key: string, reason: string])[] = [
  ['prochot', 'processor_hot'],
  ['ppt', 'power'],
  ['socket_thermal', 'thermal'],
  ['vr_thermal', 'vr_thermal'],
  ['hbm_thermal', 'memory_thermal'],
];

export interface SmiWho {
  readonly uuid: string;
  readonly busId: string | undefined;
}

/** Who is who, by the tool's number: `amd-smi list --json`. */
export function readList(text: string): Map<number, SmiWho> {
  const found = new Map<number, SmiWho>();
  for (const gpu of gpusIn(text) ?? []) {
    const index = number(gpu['gpu']);
    const bdf = typeof gpu['bdf'] === 'string' ? plainBusId(gpu['bdf']) : undefined;
    const uuid = typeof gpu['uuid'] === 'string' && gpu['uuid'] !== 'N/A' ? gpu['uuid'] : bdf;
    if (index !== undefined && uuid !== undefined) found.set(index, { uuid, busId: bdf });
  }
  return found;
}

/** Processes by the tool's number: `amd-smi process --json`. */
export function readProcesses(text: string): Map<number, GpuProcess[]> {
  const found = new Map<number, GpuProcess[]>();
  for (const gpu of gpusIn(text) ?? []) {
    const index = number(gpu['gpu']);
    const list = Array.isArray(gpu['process_list']) ? gpu['process_list'] : [];
    if (index === undefined) continue;
    found.set(
      index,
      list.flatMap((entry) => {
        const info = at(entry, 'process_info');
        const pid = number(at(info, 'pid'));
        if (pid === undefined) return [];
        const memory = bytes(at(info, 'memory_usage.vram_mem') ?? at(info, 'mem'));
        return [{ pid, ...(memory === undefined ? {} : { memory }) }];
      }),
    );
  }
  return found;
}

/** `amd-smi metric --json`. Undefined if it is no such answer. */
export function readMetric(text: string, who: ReadonlyMap<number, SmiWho>): GpuReading[] | undefined {
  return gpusIn(text)?.flatMap((gpu) => {
    const index = number(gpu['gpu']);
    if (index === undefined) return [];
    const numbers: Numbers = {};
    for (const [field, factor, ...paths] of METRICS) {
      const value = paths.map((path) => number(at(gpu, path))).find((v) => v !== undefined);
      if (value !== undefined) numbers[field] = value * factor;
    }
    const [total, used] = [bytes(at(gpu, 'mem_usage.total_vram')), bytes(at(gpu, 'mem_usage.used_vram'))];
    if (total !== undefined) numbers.memory_limit = total;
    if (used !== undefined) numbers.memory_used = used;
    if (total && used !== undefined) numbers.memory_utilization = used / total;
    const errors: { type: string; block: string; count: number }[] = [];
    const blocks = gpu['ecc_blocks'];
    for (const [block, counts] of Object.entries(isObject(blocks) ? blocks : {})) {
      for (const type of ['correctable', 'uncorrectable', 'deferred']) {
        const count = number(at(counts, `${type}_count`));
        if (count !== undefined) errors.push({ type: type.replace('able', 'ed'), block: block.toLowerCase(), count });
      }
    }
    const status = at(gpu, 'power.throttle_status');
    const own = who.get(index);
    return [
      {
        id: { uuid: own?.uuid ?? `gpu${index}`, index, busId: own?.busId },
        numbers,
        state: 'ok' as const,
        errors,
        ...(throttleOf(gpu, status) ?? {}),
      },
    ];
  });
}

/** Reasons that hold now: the tool says of each whether it is active, or only that some does. */
function throttleOf(gpu: Json, status: unknown): Pick<GpuReading, 'throttle'> | undefined {
  const known: string[] = [];
  const active: string[] = [];
  for (const [key, reason] of THROTTLE) {
    const said = at(gpu, `throttle.${key}_violation_status`);
    if (said !== 'ACTIVE' && said !== 'NOT ACTIVE') continue;
    known.push(reason);
    if (said === 'ACTIVE') active.push(reason);
  }
  if (known.length > 0) return { throttle: { known, active } };
  if (status !== 'THROTTLED' && status !== 'UNTHROTTLED') return undefined;
  return { throttle: { known: ['any'], active: status === 'THROTTLED' ? ['any'] : [] } };
}

/** rocm-smi's keys: sentences with the unit in parentheses. */
const ROCM: readonly (readonly [field: GpuField, factor: number, key: RegExp])[] = [
  ['utilization', 0.01, /^GPU use \(%\)$/i],
  ['dram_active', 0.01, /^GPU memory (activity|use) \(%\)$/i],
  ['memory_limit', 1, /^VRAM Total Memory \(B\)$/i],
  ['memory_used', 1, /^VRAM Total Used Memory \(B\)$/i],
  ['power', 1, /^(Average|Current Socket) Graphics Package Power \(W\)$/i],
  ['power_limit', 1, /^Max Graphics Package Power \(W\)$/i],
  ['temperature_edge', 1, /^Temperature \(Sensor edge\) \(C\)$/i],
  ['temperature_junction', 1, /^Temperature \(Sensor junction\) \(C\)$/i],
  ['temperature_memory', 1, /^Temperature \(Sensor memory\) \(C\)$/i],
  ['clock_sm', 1e6, /^sclk clock speed:?$/i],
  ['clock_memory', 1e6, /^mclk clock speed:?$/i],
  ['pcie_replays', 1, /^PCIe Replay Count$/i],
];

export const ROCM_ARGUMENTS = [
  '--showuniqueid',
  '--showbus',
  '--showuse',
  '--showmemuse',
  '--showmeminfo',
  'vram',
  '--showpower',
  '--showmaxpower',
  '--showtemp',
  '--showclocks',
  '--showreplaycount',
  '--json',
];

/** `rocm-smi … --json`. Undefined if it is no such answer. */
export function readRocm(text: string): GpuReading[] | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text.slice(Math.max(0, text.indexOf('{'))));
  } catch {
    return undefined;
  }
  if (!isObject(parsed)) return undefined;
  return Object.entries(parsed).flatMap(([card, values]) => {
    const index = /^card(\d+)$/.exec(card)?.[1];
    if (index === undefined || !isObject(values)) return [];
    const numbers: Numbers = {};
    for (const [key, value] of Object.entries(values)) {
      const rule = ROCM.find(([, , pattern]) => pattern.test(key));
      // `(1700Mhz)`
      const plain = typeof value === 'string' ? value.replace(/^\((\d+)\s*Mhz\)$/i, '$1') : value;
      const n = number(plain);
      if (rule && n !== undefined) numbers[rule[0]] = n * rule[1];
    }
    if (numbers.memory_limit && numbers.memory_used !== undefined)
      numbers.memory_utilization = numbers.memory_used / numbers.memory_limit;
    const bus = values['PCI Bus'];
    const busId = typeof bus === 'string' ? plainBusId(bus) : undefined;
    const unique = values['Unique ID'];
    const uuid = typeof unique === 'string' && /^0x[0-9a-f]+$/i.test(unique) ? unique.slice(2).toLowerCase() : busId;
    return [{ id: { uuid: uuid ?? card, index: Number(index), busId }, numbers, state: 'ok' as const }];
  });
}
