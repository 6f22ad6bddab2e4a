/**
 * /sys/class/drm/cardN/device/gpu_metrics: the driver's table of what the firmware knows, versions 1.1 to 1.7 (Linux,
 * drivers/gpu/drm/amd/include/kgd_pp_interface.h). Little-endian; 0xffff (or all ones) stands for what a board lacks.
 * Versions 2.x and 3.x belong to APUs and are not read.
 */
import type { GpuLink } from '../../pipeline/kit/gpu-signals.ts';

export interface MetricsTable {
  readonly version: string;
  /** Percent. */
  readonly gfx?: number | undefined;
  readonly umc?: number | undefined;
  /** W. */
  readonly power?: number | undefined;
  /** J since the driver was loaded. */
  readonly energy?: number | undefined;
  /** °C. */
  readonly edge?: number | undefined;
  readonly hotspot?: number | undefined;
  readonly memory?: number | undefined;
  /** MHz. */
  readonly gfxClock?: number | undefined;
  readonly memoryClock?: number | undefined;
  /** Lanes; GT/s. */
  readonly pcieWidth?: number | undefined;
  readonly pcieSpeed?: number | undefined;
  readonly pcieReplays?: number | undefined;
  readonly pcieRollovers?: number | undefined;
  readonly pcieRecoveries?: number | undefined;
  readonly nacksSent?: number | undefined;
  readonly nacksReceived?: number | undefined;
  /** Reasons that hold now. */
  readonly active?: readonly string[] | undefined;
  /** Samples of the firmware so far, and in how many of them each reason held. */
  readonly samples?: number | undefined;
  readonly residency?: Readonly<Record<string, number>> | undefined;
  /** Bytes by XGMI link so far. */
  readonly links?: readonly GpuLink[] | undefined;
}

/** Reasons in the order in which the bits of the ASIC-independent mask come (amdgpu_smu.h). */
const BITS: readonly (readonly [first: number, last: number, reason: string])[] = [
  [0, 7, 'power'],
  [16, 23, 'power'],
  [32, 33, 'thermal'],
  [34, 34, 'memory_thermal'],
  [35, 37, 'thermal'],
  [38, 39, 'vr_thermal'],
  [40, 41, 'memory_thermal'],
  [42, 43, 'thermal'],
  [44, 45, 'vr_thermal'],
  [46, 47, 'processor_hot'],
  [56, 56, 'power'],
  [57, 57, 'reliability'],
];
/** MI300's own mask (versions 1.4 and 1.5). */
const MI300_BITS = ['processor_hot', 'power', 'thermal', 'vr_thermal', 'memory_thermal'];
/** In the order of the residency counters (1.6 and newer). */
const RESIDENCY = ['processor_hot', 'power', 'thermal', 'vr_thermal', 'memory_thermal'];

export const AMD_REASONS: readonly string[] = [
  'power',
  'thermal',
  'memory_thermal',
  'vr_thermal',
  'processor_hot',
  'reliability',
];

const ENERGY_UNIT = 2 ** -16;
const XGMI_LINKS = 8;

/** Reads a table; undefined if it is cut off or of a version that is not known. */
export function readMetricsTable(table: Buffer): MetricsTable | undefined {
  if (table.length < 4) return undefined;
  const [size, format, content] = [table.readUInt16LE(0), table[2]!, table[3]!];
  if (format !== 1 || table.length < size) return undefined;
  if (content >= 1 && content <= 3)
    return size >= (content === 3 ? 120 : 96) ? readDiscrete(table, content) : undefined;
  const layout = MI300[content];
  return layout && size >= layout.end ? readMi300(table, content, layout) : undefined;
}

const u16 = (table: Buffer, at: number) => {
  const value = table.readUInt16LE(at);
  return value === 0xffff ? undefined : value;
};
const u32 = (table: Buffer, at: number) => {
  const value = table.readUInt32LE(at);
  return value === 0xffff_ffff ? undefined : value;
};
const u64 = (table: Buffer, at: number) => {
  const value = table.readBigUInt64LE(at);
  return value === 0xffff_ffff_ffff_ffffn ? undefined : Number(value);
};
const times = (value: number | undefined, factor: number) => (value === undefined ? undefined : value * factor);
const some = (value: number | undefined) => value || undefined;

/** 1.1, 1.2, 1.3: MI100, MI200 and boards for desks. */
function readDiscrete(table: Buffer, content: number): MetricsTable {
  const mask = content === 3 ? table.readBigUInt64LE(112) : undefined;
  const known = mask === undefined || mask === 0xffff_ffff_ffff_ffffn ? undefined : mask;
  return {
    version: `1.${content}`,
    edge: u16(table, 4),
    hotspot: u16(table, 6),
    memory: u16(table, 8),
    gfx: u16(table, 16),
    umc: u16(table, 18),
    power: u16(table, 22),
    energy: times(u64(table, 24), ENERGY_UNIT),
    gfxClock: u16(table, 54),
    memoryClock: u16(table, 58),
    pcieWidth: some(u16(table, 74)),
    pcieSpeed: some(times(u16(table, 76), 0.1)),
    active: known === undefined ? undefined : reasonsOf(known),
  };
}

function reasonsOf(mask: bigint): string[] {
  const found = new Set<string>();
  for (const [first, last, reason] of BITS) {
    for (let bit = first; bit <= last; bit++) if ((mask >> BigInt(bit)) & 1n) found.add(reason);
  }
  return [...found];
}

/** Where things stand in the tables of MI300 and newer. `throttle`: a mask; `samples`: the counters that came instead. */
interface Layout {
  readonly energy: number;
  readonly throttle?: number;
  readonly samples?: number;
  readonly pcie: number;
  readonly nacks?: number;
  readonly replays: number;
  readonly xgmi: number;
  readonly clocks: number;
  readonly end: number;
}

const layoutOf = (energy: number, throttled: 'mask' | 'samples', nacks: boolean): Layout => {
  const after = energy + 16;
  // mask, lock status | samples, five residencies, lock status
  const pcie = after + (throttled === 'mask' ? 8 : 28);
  // width, speed, XGMI width, speed, two activities; then 64-bit fields at their own alignment.
  const bandwidth = Math.ceil((pcie + 16) / 8) * 8;
  const replays = bandwidth + 16;
  const xgmi = replays + 24 + (nacks ? 8 : 0);
  const clocks = xgmi + 2 * XGMI_LINKS * 8 + 8;
  return {
    energy,
    ...(throttled === 'mask' ? { throttle: after } : { samples: after }),
    pcie,
    ...(nacks ? { nacks: replays + 24 } : {}),
    replays,
    xgmi,
    clocks,
    end: clocks + 42,
  };
};

const MI300: Readonly<Record<number, Layout>> = {
  4: layoutOf(24, 'mask', false),
  // 32 JPEG engines stand before the energy.
  5: layoutOf(88, 'mask', true),
  6: layoutOf(16, 'samples', true),
  // The memory's bandwidth stands before the energy.
  7: layoutOf(24, 'samples', true),
};

function readMi300(table: Buffer, content: number, layout: Layout): MetricsTable {
  const links: GpuLink[] = [];
  for (let index = 0; index < XGMI_LINKS; index++) {
    const received = times(u64(table, layout.xgmi + index * 8), 1024);
    const sent = times(u64(table, layout.xgmi + (XGMI_LINKS + index) * 8), 1024);
    if (received === undefined && sent === undefined) continue;
    links.push({ kind: 'xgmi', index, received, sent, errors: {} });
  }
  const mask = layout.throttle === undefined ? undefined : u32(table, layout.throttle);
  const samples = layout.samples === undefined ? undefined : u32(table, layout.samples);
  const residency: Record<string, number> = {};
  if (samples !== undefined) {
    for (const [i, reason] of RESIDENCY.entries()) {
      const value = u32(table, layout.samples! + 4 * (i + 1));
      if (value !== undefined) residency[reason] = value;
    }
  }
  return {
    version: `1.${content}`,
    hotspot: u16(table, 4),
    memory: u16(table, 6),
    power: u16(table, 10),
    gfx: u16(table, 12),
    umc: u16(table, 14),
    energy: times(u64(table, layout.energy), ENERGY_UNIT),
    gfxClock: u16(table, layout.clocks),
    memoryClock: u16(table, layout.clocks + 2 * (8 + 4 + 4 + 4)),
    pcieWidth: some(u16(table, layout.pcie)),
    pcieSpeed: some(times(u16(table, layout.pcie + 2), 0.1)),
    pcieRecoveries: u64(table, layout.replays),
    pcieReplays: u64(table, layout.replays + 8),
    pcieRollovers: u64(table, layout.replays + 16),
    nacksSent: layout.nacks === undefined ? undefined : u32(table, layout.nacks),
    nacksReceived: layout.nacks === undefined ? undefined : u32(table, layout.nacks + 4),
    active: mask === undefined ? undefined : MI300_BITS.filter((_reason, bit) => (mask >> bit) & 1),
    ...(samples === undefined ? {} : { samples, residency }),
    links,
  };
}
