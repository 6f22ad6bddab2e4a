/**
 * `nvidia-smi -q -x` to readings. The XML is nvidia-smi's own (nvsmi_device_v*.dtd); "N/A", "[N/A]", "Unknown Error",
 * "Requested functionality has been deprecated" and numbers in another language's form are no numbers.
 */
import {
  type GpuField,
  type GpuLink,
  type GpuProcess,
  type GpuReading,
  PCIE_RATES,
  plainBusId,
} from '../../pipeline/kit/gpu-signals.ts';

export interface XmlNode {
  readonly name: string;
  readonly id: string | undefined;
  readonly children: XmlNode[];
  text: string;
}

const TOKEN = /<!--[\s\S]*?-->|<[?!][^>]*>|<(\/?)([A-Za-z_][\w.-]*)([^>]*?)(\/?)>|([^<]+)/g;
const ENTITIES: Record<string, string> = { '&lt;': '<', '&gt;': '>', '&quot;': '"', '&apos;': "'", '&amp;': '&' };
const DEEPEST = 32;

/** Reads the little XML that nvidia-smi writes; undefined where it is none, or cut off. */
export function parseXml(text: string): XmlNode | undefined {
  const root: XmlNode = { name: '', id: undefined, children: [], text: '' };
  const open: XmlNode[] = [root];
  for (const [, close, name, attributes, single, words] of text.matchAll(TOKEN)) {
    const top = open.at(-1)!;
    if (words !== undefined) top.text += words;
    else if (name === undefined) continue;
    else if (close) {
      if (top.name !== name || open.length === 1) return undefined;
      open.pop();
    } else {
      const node: XmlNode = { name, id: /\bid="([^"]*)"/.exec(attributes ?? '')?.[1], children: [], text: '' };
      top.children.push(node);
      if (!single) open.push(node);
      if (open.length > DEEPEST) return undefined;
    }
  }
  return open.length === 1 && root.children.length === 1 ? root.children[0] : undefined;
}

const child = (node: XmlNode | undefined, path: string): XmlNode | undefined =>
  path.split('/').reduce<XmlNode | undefined>((at, name) => at?.children.find((c) => c.name === name), node);

const word = (node: XmlNode | undefined, path: string): string | undefined => {
  const text = child(node, path)
    ?.text.trim()
    .replace(/&(lt|gt|quot|apos|amp);/g, (entity) => ENTITIES[entity]!);
  return text === undefined || text === '' || /^\[?(N\/A|Not |Unknown|Requested|GPU is lost|ERR)/i.test(text)
    ? undefined
    : text;
};

/** Bytes, W, Hz, … by the unit that nvidia-smi writes behind a number. */
const UNITS: Record<string, number> = {
  '': 1,
  '%': 0.01,
  mib: 2 ** 20,
  gib: 2 ** 30,
  kib: 2 ** 10,
  w: 1,
  mw: 1e-3,
  c: 1,
  mhz: 1e6,
  x: 1,
  us: 1e-6,
  'kb/s': 1000,
  'mb/s': 1e6,
  j: 1,
};

/** `86 %` → 0.86, `40960 MiB` → bytes. Undefined for whatever is no number with a known unit. */
export function quantity(text: string | undefined): number | undefined {
  const match = text === undefined ? null : /^(-?\d+(?:\.\d+)?)\s*([A-Za-z%/]*)$/.exec(text);
  if (!match) return undefined;
  const factor = UNITS[match[2]!.toLowerCase()];
  return factor === undefined ? undefined : Number(match[1]) * factor;
}

/** Where a number stands. The first path that has one counts: names changed between drivers. */
const PATHS: readonly (readonly [GpuField, ...string[]])[] = [
  ['utilization', 'utilization/gpu_util'],
  ['memory_activity', 'utilization/memory_util'],
  ['encoder', 'utilization/encoder_util'],
  ['decoder', 'utilization/decoder_util'],
  ['memory_limit', 'fb_memory_usage/total'],
  ['memory_used', 'fb_memory_usage/used'],
  ['memory_reserved', 'fb_memory_usage/reserved'],
  ['bar1_limit', 'bar1_memory_usage/total'],
  ['bar1_used', 'bar1_memory_usage/used'],
  ['power', 'gpu_power_readings/power_draw', 'gpu_power_readings/instant_power_draw', 'power_readings/power_draw'],
  [
    'power_limit',
    'gpu_power_readings/current_power_limit',
    'power_readings/enforced_power_limit',
    'power_readings/power_limit',
  ],
  ['power_limit_requested', 'gpu_power_readings/requested_power_limit', 'power_readings/power_limit'],
  ['power_limit_default', 'gpu_power_readings/default_power_limit', 'power_readings/default_power_limit'],
  ['temperature_gpu', 'temperature/gpu_temp'],
  ['temperature_memory', 'temperature/memory_temp'],
  ['temperature_limit_shutdown', 'temperature/gpu_temp_max_threshold'],
  ['temperature_limit_slowdown', 'temperature/gpu_temp_slow_threshold'],
  ['temperature_limit_gpu', 'temperature/gpu_temp_max_gpu_threshold'],
  ['temperature_limit_memory', 'temperature/gpu_temp_max_mem_threshold'],
  ['clock_sm', 'clocks/sm_clock'],
  ['clock_memory', 'clocks/mem_clock'],
  ['clock_graphics', 'clocks/graphics_clock'],
  ['clock_video', 'clocks/video_clock'],
  ['clock_sm_max', 'max_clocks/sm_clock'],
  ['clock_memory_max', 'max_clocks/mem_clock'],
  ['clock_sm_application', 'applications_clocks/graphics_clock'],
  ['clock_memory_application', 'applications_clocks/mem_clock'],
  ['pcie_width', 'pci/pci_gpu_link_info/link_widths/current_link_width'],
  ['pcie_width_max', 'pci/pci_gpu_link_info/link_widths/max_link_width'],
  ['pcie_replays', 'pci/replay_counter'],
  ['pcie_replay_rollovers', 'pci/replay_rollover_counter'],
  ['pcie_sent_rate', 'pci/tx_util'],
  ['pcie_received_rate', 'pci/rx_util'],
  ['retired_corrected', 'retired_pages/multiple_single_bit_retirement/retired_count'],
  ['retired_uncorrected', 'retired_pages/double_bit_retirement/retired_count'],
  ['remapped_corrected', 'remapped_rows/remapped_row_corr'],
  ['remapped_uncorrected', 'remapped_rows/remapped_row_unc'],
];

/** Tags of clocks_event_reasons (before 535: clocks_throttle_reasons) and what they are called here. */
const REASON_TAGS: readonly (readonly [tag: string, reason: string])[] = [
  ['gpu_idle', 'idle'],
  ['applications_clocks_setting', 'applications_clocks'],
  ['sw_power_cap', 'sw_power_cap'],
  ['hw_slowdown', 'hw_slowdown'],
  ['sync_boost', 'sync_boost'],
  ['sw_thermal_slowdown', 'sw_thermal'],
  ['hw_thermal_slowdown', 'hw_thermal'],
  ['hw_power_brake_slowdown', 'hw_power_brake'],
  ['display_clocks_setting', 'display_clocks'],
];

/** Everything in one answer. Undefined if it is no answer of nvidia-smi's. */
export function readingsOfXml(text: string): { readings: GpuReading[]; cuda: string | undefined } | undefined {
  const log = parseXml(text);
  if (log?.name !== 'nvidia_smi_log') return undefined;
  const driver = word(log, 'driver_version');
  const readings = log.children.filter((node) => node.name === 'gpu').flatMap((gpu, at) => readGpu(gpu, at, driver));
  return { readings, cuda: word(log, 'cuda_version') };
}

function readGpu(gpu: XmlNode, at: number, driver: string | undefined): GpuReading[] {
  const busId = gpu.id === undefined ? undefined : plainBusId(gpu.id);
  const uuid = word(gpu, 'uuid') ?? busId;
  if (uuid === undefined) return [];
  const id = {
    uuid,
    index: at,
    busId,
    model: word(gpu, 'product_name'),
    serial: word(gpu, 'serial'),
    driver,
  };
  const numbers: Partial<Record<GpuField, number>> = {};
  for (const [field, ...paths] of PATHS) {
    for (const path of paths) {
      const value = quantity(word(gpu, path));
      if (value === undefined) continue;
      numbers[field] = value;
      break;
    }
  }
  const usable = (numbers.memory_limit ?? 0) - (numbers.memory_reserved ?? 0);
  if (numbers.memory_used !== undefined && usable > 0) numbers.memory_utilization = numbers.memory_used / usable;
  const link = child(gpu, 'pci/pci_gpu_link_info/pcie_gen');
  const generation = (name: string) => PCIE_RATES[quantity(word(link, name)) ?? 0];
  const [now, max] = [generation('current_link_gen'), generation('max_link_gen')];
  if (now) numbers.pcie_speed = now;
  if (max) numbers.pcie_speed_max = max;
  readEcc(gpu, numbers);
  const yes = (path: string) => {
    const text = word(gpu, path);
    return text === undefined ? undefined : text === 'Yes' ? 1 : text === 'No' ? 0 : quantity(text);
  };
  for (const [field, path] of [
    ['remap_pending', 'remapped_rows/remapped_row_pending'],
    ['remap_failed', 'remapped_rows/remapped_row_failure'],
    ['retirement_pending', 'retired_pages/pending_retirement'],
  ] as const) {
    const value = yes(path);
    if (value !== undefined) numbers[field] = value;
  }
  const lost = /GPU is lost/i.test(allText(gpu));
  return [
    {
      id,
      numbers,
      ...reasons(gpu),
      links: readLinks(gpu),
      processes: readProcesses(gpu),
      state: lost ? 'failed' : 'ok',
      ...(lost ? { because: 'the GPU is lost' } : {}),
    },
    ...readMigs(gpu, id),
  ];
}

function reasons(gpu: XmlNode): Pick<GpuReading, 'throttle'> {
  const block = child(gpu, 'clocks_event_reasons') ?? child(gpu, 'clocks_throttle_reasons');
  if (!block) return {};
  const known: string[] = [];
  const active: string[] = [];
  for (const [tag, reason] of REASON_TAGS) {
    const said = word(block, `clocks_event_reason_${tag}`) ?? word(block, `clocks_throttle_reason_${tag}`);
    if (said !== 'Active' && !/^Not Active$/i.test(rawWord(block, tag) ?? '')) continue;
    known.push(reason);
    if (said === 'Active') active.push(reason);
  }
  return known.length === 0 ? {} : { throttle: { active, known } };
}

const rawWord = (block: XmlNode, tag: string): string | undefined =>
  (child(block, `clocks_event_reason_${tag}`) ?? child(block, `clocks_throttle_reason_${tag}`))?.text.trim();

/** The tags of Ampere and newer, and of those before. */
function readEcc(gpu: XmlNode, numbers: Partial<Record<GpuField, number>>) {
  const total = (span: string, ...tags: string[]) => {
    const values = tags.flatMap((tag) => quantity(word(gpu, `ecc_errors/${span}/${tag}`)) ?? []);
    return values.length === 0 ? undefined : values.reduce((a, b) => a + b, 0);
  };
  for (const [span, suffix] of [
    ['volatile', ''],
    ['aggregate', '_lifetime'],
  ] as const) {
    const corrected = total(span, 'sram_correctable', 'dram_correctable') ?? total(span, 'single_bit/total');
    const uncorrected =
      total(
        span,
        'sram_uncorrectable',
        'sram_uncorrectable_parity',
        'sram_uncorrectable_secded',
        'dram_uncorrectable',
      ) ?? total(span, 'double_bit/total');
    if (corrected !== undefined) numbers[`ecc_corrected${suffix}`] = corrected;
    if (uncorrected !== undefined) numbers[`ecc_uncorrected${suffix}`] = uncorrected;
  }
}

/** No `-q` of any driver tells NVLink; some newer ones do under this tag. */
function readLinks(gpu: XmlNode): GpuLink[] | undefined {
  const block = child(gpu, 'nvlink') ?? child(gpu, 'nv_link');
  if (!block) return undefined;
  const links = block.children.filter((node) => /^link(_\d+)?$/.test(node.name));
  return links.map((node, at) => ({
    kind: 'nvlink',
    index: Number(/\d+$/.exec(node.name)?.[0] ?? node.id ?? at),
    up: word(node, 'state') === undefined ? undefined : word(node, 'state') === 'Active',
    errors: {},
  }));
}

function readProcesses(gpu: XmlNode): GpuProcess[] | undefined {
  const block = child(gpu, 'processes');
  if (!block) return undefined;
  return block.children.flatMap((node) => {
    const pid = quantity(word(node, 'pid'));
    if (node.name !== 'process_info' || pid === undefined) return [];
    const memory = quantity(word(node, 'used_memory'));
    const name = word(node, 'process_name')?.split(/\s/)[0]?.split('/').at(-1);
    return [{ pid, ...(memory === undefined ? {} : { memory }), ...(name ? { name: name.slice(0, 64) } : {}) }];
  });
}

function readMigs(gpu: XmlNode, parent: GpuReading['id']): GpuReading[] {
  return (child(gpu, 'mig_devices')?.children ?? []).flatMap((node) => {
    const instance = quantity(word(node, 'gpu_instance_id'));
    if (node.name !== 'mig_device' || instance === undefined) return [];
    const numbers: Partial<Record<GpuField, number>> = {};
    const total = quantity(word(node, 'fb_memory_usage/total'));
    const used = quantity(word(node, 'fb_memory_usage/used'));
    if (total !== undefined) numbers.memory_limit = total;
    if (used !== undefined) numbers.memory_used = used;
    const { index, busId, model, driver } = parent;
    // The XML has no UUIDs of instances.
    const uuid = `${parent.uuid}/${instance}/${quantity(word(node, 'compute_instance_id')) ?? 0}`;
    return [{ id: { uuid, index, busId, model, driver, parent: parent.uuid, migId: instance }, numbers }];
  });
}

const allText = (node: XmlNode): string => node.text + node.children.map(allText).join(' ');
