/**
 * AMD GPUs from what the amdgpu driver shows in /sys, readable by everybody: the table of the firmware, hwmon, PCIe, RAS
 * counters and KFD. Nothing is read that acts when it is read (`xgmi_error` clears what it shows).
 */

import { type GpuField, type GpuIdentity, type GpuReading, plainBusId } from '../../pipeline/kit/gpu-signals.ts';
import type { GpuSource, GpuSourceKind, Look } from '../../pipeline/kit/gpu-source.ts';
import { keyedNumbers, type Tree } from '../../pipeline/kit/tree.ts';
import { type KfdNode, kfdNodes, kfdProcesses } from './kfd.ts';
import { AMD_REASONS, type MetricsTable, readMetricsTable } from './metrics-table.ts';

type Numbers = Partial<Record<GpuField, number>>;

export interface SysfsOptions {
  readonly tree: Tree;
  /** Milliseconds that never jump. */
  readonly now: () => number;
  /** CPU milliseconds of the process so far. */
  readonly cpu: () => number;
  readonly intervals: Readonly<Record<'fast' | 'medium' | 'slow', number>>;
  readonly watch?: GpuSource['watch'];
  readonly stop?: GpuSource['stop'];
}

interface Card {
  readonly base: string;
  readonly hwmon: string | undefined;
  readonly id: GpuIdentity;
  /** Seconds throttled by reason so far, out of the firmware's samples. */
  readonly throttled: Map<string, number>;
  before?: { readonly at: number; readonly samples: number; readonly residency: Readonly<Record<string, number>> };
}

const DRM = '/sys/class/drm';
const AMD = '0x1002';

export function listCards(tree: Tree): Card[] {
  const driver = tree.read('/sys/module/amdgpu/version')?.trim();
  const names = tree.list(DRM).filter((name) => /^card\d+$/.test(name));
  names.sort((a, b) => Number(a.slice(4)) - Number(b.slice(4)));
  const cards: Card[] = [];
  for (const name of names) {
    const base = `${DRM}/${name}/device`;
    if (tree.read(`${base}/vendor`)?.trim() !== AMD) continue;
    // A device without VRAM counters is not driven by amdgpu.
    if (tree.read(`${base}/mem_info_vram_total`) === undefined && tree.bytes(`${base}/gpu_metrics`) === undefined)
      continue;
    const address =
      tree.link(base)?.split('/').at(-1) ?? /PCI_SLOT_NAME=(\S+)/.exec(tree.read(`${base}/uevent`) ?? '')?.[1];
    const busId = address === undefined ? undefined : plainBusId(address);
    const unique = tree.read(`${base}/unique_id`)?.trim();
    const hwmon = tree.list(`${base}/hwmon`).find((entry) => entry.startsWith('hwmon'));
    cards.push({
      base,
      hwmon: hwmon === undefined ? undefined : `${base}/hwmon/${hwmon}`,
      throttled: new Map(),
      id: {
        uuid: unique && !/^(0x)?0*$/.test(unique) ? unique.replace(/^0x/, '') : (busId ?? name),
        index: cards.length,
        busId,
        model: tree.read(`${base}/product_name`)?.trim() || undefined,
        serial: tree.read(`${base}/serial_number`)?.trim() || undefined,
        driver,
      },
    });
  }
  return cards;
}

export function sysfsKind(options: SysfsOptions): GpuSourceKind {
  const { tree, intervals } = options;
  return {
    name: 'amdgpu-sysfs',
    async open() {
      let cards = listCards(tree);
      if (cards.length === 0) {
        const denied = tree.problem() === 'denied';
        return {
          because: denied ? '/sys may not be read' : 'there is no AMD GPU in /sys/class/drm',
          enable: 'load the amdgpu driver; in a container, mount /sys of the host read-only, or set root_path',
        };
      }
      let nodes = kfdNodes(tree);
      /** Every GPU that was ever seen. */
      const seen = new Map<string, GpuIdentity>();

      const find = () => {
        const found = listCards(tree);
        const before = new Map(cards.map((card) => [`${card.base} ${card.id.uuid}`, card]));
        // Kept for what they have counted.
        cards = found.map((card) => before.get(`${card.base} ${card.id.uuid}`) ?? card);
        nodes = kfdNodes(tree);
      };

      const look = (group: string): Look => {
        const before = options.cpu();
        if (group === 'slow') find();
        const processes = group === 'medium' ? kfdProcesses(tree, nodes) : undefined;
        const here = new Set<string>();
        const readings: GpuReading[] = [];
        for (const card of cards) {
          seen.set(card.id.uuid, card.id);
          here.add(card.id.uuid);
          const node = nodes.find((n) => n.busId === card.id.busId);
          const reading =
            group === 'fast'
              ? readFast(tree, card, options.now())
              : group === 'medium'
                ? readMedium(tree, card, node)
                : readSlow(tree, card);
          const own = node && processes?.get(node.gpuId);
          readings.push(own ? { ...reading, processes: own } : reading);
        }
        for (const [uuid, id] of seen) {
          if (!here.has(uuid)) readings.push({ id, numbers: {}, state: 'failed', because: 'it is no longer there' });
        }
        const gaps =
          group === 'medium' && processes === undefined
            ? [
                {
                  what: 'gpu_processes',
                  because: 'there is no /sys/class/kfd/kfd/proc, or it may not be read',
                  enable: 'load amdgpu with KFD (the kernel’s compute driver) and let /sys/class/kfd be seen',
                },
              ]
            : [];
        return { readings, gaps, costMs: options.cpu() - before };
      };

      return {
        groups: [
          { group: 'fast', intervalMs: intervals.fast, share: 0.6 },
          { group: 'medium', intervalMs: intervals.medium, share: 0.25 },
          { group: 'slow', intervalMs: intervals.slow, share: 0.15 },
        ],
        first: look('slow'),
        look: async (group) => look(group),
        ...(options.watch ? { watch: options.watch } : {}),
        stop: async (deadline) => options.stop?.(deadline),
      };
    },
  };
}

const put = (numbers: Numbers, field: GpuField, value: number | undefined, factor = 1) => {
  if (value !== undefined) numbers[field] = value * factor;
};

/** A GPU whose registers cannot be read any more answers its files with errors, or with nothing. */
function readFast(tree: Tree, card: Card, now: number): GpuReading {
  const { base, hwmon } = card;
  const numbers: Numbers = {};
  const raw = tree.bytes(`${base}/gpu_metrics`);
  const broken = raw === undefined ? tree.problem() === 'unreadable' : false;
  const table = raw && readMetricsTable(raw);
  const busy = tree.number(`${base}/gpu_busy_percent`);
  const dead = broken && busy === undefined && tree.problem() === 'unreadable';
  put(numbers, 'utilization', busy ?? table?.gfx, 0.01);
  put(numbers, 'dram_active', tree.number(`${base}/mem_busy_percent`) ?? table?.umc, 0.01);
  const total = tree.number(`${base}/mem_info_vram_total`);
  const used = tree.number(`${base}/mem_info_vram_used`);
  put(numbers, 'memory_limit', total);
  put(numbers, 'memory_used', used);
  if (total && used !== undefined) numbers.memory_utilization = used / total;
  if (hwmon) {
    put(numbers, 'power', tree.number(`${hwmon}/power1_average`) ?? tree.number(`${hwmon}/power1_input`), 1e-6);
    for (let i = 1; i <= 3; i++) {
      const field = SENSORS[tree.read(`${hwmon}/temp${i}_label`)?.trim() ?? ''];
      if (field) put(numbers, field, tree.number(`${hwmon}/temp${i}_input`), 1e-3);
    }
    for (let i = 1; i <= 2; i++) {
      const label = tree.read(`${hwmon}/freq${i}_label`)?.trim();
      const field = label === 'sclk' ? 'clock_sm' : label === 'mclk' ? 'clock_memory' : undefined;
      if (field) put(numbers, field, tree.number(`${hwmon}/freq${i}_input`));
    }
  }
  if (numbers.power === undefined) put(numbers, 'power', table?.power);
  put(numbers, 'energy', table?.energy);
  const fill = (field: GpuField, value: number | undefined, factor = 1) => {
    if (numbers[field] === undefined) put(numbers, field, value, factor);
  };
  fill('temperature_edge', table?.edge);
  fill('temperature_junction', table?.hotspot);
  fill('temperature_memory', table?.memory);
  fill('clock_sm', table?.gfxClock, 1e6);
  fill('clock_memory', table?.memoryClock, 1e6);
  const counted = table && residencies(card, table, now);
  return {
    id: card.id,
    numbers,
    state: dead ? 'failed' : 'ok',
    ...(dead ? { because: 'the driver answers with errors' } : {}),
    ...(counted ? { throttled: counted } : {}),
    ...(table?.active ? { throttle: { active: table.active, known: AMD_REASONS } } : {}),
  };
}

const SENSORS: Record<string, GpuField> = {
  edge: 'temperature_edge',
  junction: 'temperature_junction',
  mem: 'temperature_memory',
};

/** Seconds by reason: of the time between two looks, the share of the firmware's samples in which the reason held. */
function residencies(card: Card, table: MetricsTable, now: number): Record<string, number> | undefined {
  const { samples, residency } = table;
  if (samples === undefined || !residency) return undefined;
  const { before } = card;
  card.before = { at: now, samples, residency };
  for (const reason in residency) {
    const known = card.throttled.get(reason) ?? 0;
    // 32 bits: they begin again.
    const passed = before ? (samples - before.samples) >>> 0 : 0;
    const held = before ? (residency[reason]! - (before.residency[reason] ?? residency[reason]!)) >>> 0 : 0;
    const share = passed > 0 && held <= passed ? held / passed : 0;
    card.throttled.set(reason, known + (before ? (share * (now - before.at)) / 1000 : 0));
  }
  return Object.fromEntries(card.throttled);
}

/** `16.0 GT/s PCIe` → 16. */
const transfers = (text: string | undefined) => {
  const match = text && /^(\d+(?:\.\d+)?)\s*GT\/s/.exec(text);
  return match ? Number(match[1]) : undefined;
};
const lanes = (width: number | undefined) => (width === undefined || width === 0 || width >= 255 ? undefined : width);

function readMedium(tree: Tree, card: Card, node: KfdNode | undefined): GpuReading {
  const { base } = card;
  const numbers: Numbers = {};
  const raw = tree.bytes(`${base}/gpu_metrics`);
  const table = raw && readMetricsTable(raw);
  // The table says what the GPU negotiated; the files in /sys are those of its own bridge on some boards.
  put(numbers, 'pcie_speed', table?.pcieSpeed ?? transfers(tree.read(`${base}/current_link_speed`)));
  put(numbers, 'pcie_width', table?.pcieWidth ?? lanes(tree.number(`${base}/current_link_width`)));
  put(numbers, 'pcie_replays', table?.pcieReplays ?? tree.number(`${base}/pcie_replay_count`));
  put(numbers, 'pcie_replay_rollovers', table?.pcieRollovers);
  put(numbers, 'pcie_recoveries', table?.pcieRecoveries);
  put(numbers, 'pcie_nacks_sent', table?.nacksSent);
  put(numbers, 'pcie_nacks_received', table?.nacksReceived);
  const links = [...(table?.links ?? [])];
  // Which link leads to which peer is not told: the inventory lists them.
  for (const [i, remote] of (node?.peers ?? []).entries()) {
    links[i] = { ...(links[i] ?? { kind: 'xgmi' as const, index: i, errors: {} }), remote };
  }
  return { id: card.id, numbers, links };
}

function readSlow(tree: Tree, card: Card): GpuReading {
  const { base, hwmon } = card;
  const numbers: Numbers = {};
  if (hwmon) {
    put(numbers, 'power_limit', tree.number(`${hwmon}/power1_cap`), 1e-6);
    put(numbers, 'power_limit_default', tree.number(`${hwmon}/power1_cap_default`), 1e-6);
    for (let i = 1; i <= 3; i++) {
      const label = tree.read(`${hwmon}/temp${i}_label`)?.trim();
      const critical = tree.number(`${hwmon}/temp${i}_crit`);
      if (label === 'junction') {
        put(numbers, 'temperature_limit_slowdown', critical, 1e-3);
        put(numbers, 'temperature_limit_shutdown', tree.number(`${hwmon}/temp${i}_emergency`), 1e-3);
      } else if (label === 'mem') put(numbers, 'temperature_limit_memory', critical, 1e-3);
    }
  }
  put(numbers, 'pcie_speed_max', transfers(tree.read(`${base}/max_link_speed`)));
  put(numbers, 'pcie_width_max', lanes(tree.number(`${base}/max_link_width`)));
  put(numbers, 'clock_sm_max', highest(tree.read(`${base}/pp_dpm_sclk`)), 1e6);
  put(numbers, 'clock_memory_max', highest(tree.read(`${base}/pp_dpm_mclk`)), 1e6);
  const errors: { type: string; block: string; count: number }[] = [];
  for (const file of tree.list(`${base}/ras`)) {
    const block = /^(\w+)_err_count$/.exec(file)?.[1];
    if (block === undefined) continue;
    const counts = keyedNumbers(tree.read(`${base}/ras/${file}`) ?? '');
    for (const [key, type] of RAS) {
      const count = counts.get(key);
      if (count !== undefined) errors.push({ type, block, count });
    }
  }
  for (const [field, type] of [
    ['ecc_corrected', 'corrected'],
    ['ecc_uncorrected', 'uncorrected'],
    ['ecc_deferred', 'deferred'],
  ] as const) {
    const own = errors.filter((e) => e.type === type);
    // The blocks stand beside the sum, as in the exporter's pages.
    if (own.length > 0) numbers[field] = own.reduce((sum, e) => sum + e.count, 0);
  }
  return { id: card.id, numbers, errors };
}

const RAS = [
  ['ce', 'corrected'],
  ['ue', 'uncorrected'],
  ['de', 'deferred'],
] as const;

/** `0: 500Mhz\n1: 2100Mhz *` → 2100. */
function highest(text: string | undefined): number | undefined {
  const values = [...(text ?? '').matchAll(/^\s*\w+:\s*(\d+)\s*mhz/gim)].map((match) => Number(match[1]));
  return values.length === 0 ? undefined : Math.max(...values);
}
