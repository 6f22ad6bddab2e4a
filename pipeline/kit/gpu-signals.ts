/**
 * What is known about a GPU, whoever was asked (a driver's library, a tool, sysfs), and the signals that become of it:
 * the names and attributes that `normalize` gives to the exporters' pages, so that it does not matter where a number came
 * from. Shared by the GPU receivers.
 */
import { type Attributes, gauge, type Metric, type Resource, sum } from '../model.ts';
import { entryOf, type Round } from './probe.ts';

/** `ok`; `degraded`: it works, but asks for a reset or a repair; `failed`: lost, unplugged or not answering. */
export type GpuState = 'ok' | 'degraded' | 'failed';

/** One GPU or one MIG instance, at one moment. Numbers are fractions (0..1), bytes, W, J, Cel, Hz and seconds. */
export interface GpuReading {
  readonly id: GpuIdentity;
  readonly state?: GpuState | undefined;
  /** Why it is not `ok`: one clause. */
  readonly because?: string | undefined;
  readonly numbers: Partial<Record<GpuField, number>>;
  /** Why its clock is lowered now, out of the reasons that the source can tell. */
  readonly throttle?: { readonly active: readonly string[]; readonly known: readonly string[] } | undefined;
  /** Seconds spent per reason so far, where the hardware counts them itself. */
  readonly throttled?: Readonly<Record<string, number>> | undefined;
  /** Errors so far that have no field of their own: RAS blocks and the like. */
  readonly errors?: readonly { readonly type: string; readonly block?: string; readonly count: number }[] | undefined;
  readonly links?: readonly GpuLink[] | undefined;
  readonly processes?: readonly GpuProcess[] | undefined;
}

export interface GpuIdentity {
  /** UUID, or what stands for it: the join key of all sources. */
  readonly uuid: string;
  readonly index?: number | undefined;
  /** Lower case, `0000:17:00.0`. */
  readonly busId?: string | undefined;
  readonly model?: string | undefined;
  readonly serial?: string | undefined;
  readonly driver?: string | undefined;
  /** Of a MIG instance: the GPU it is a part of, and its GPU instance id. */
  readonly parent?: string | undefined;
  readonly migId?: number | undefined;
}

export interface GpuLink {
  readonly kind: 'nvlink' | 'xgmi';
  readonly index: number;
  readonly up?: boolean | undefined;
  /** Bytes so far. */
  readonly sent?: number | undefined;
  readonly received?: number | undefined;
  /** Errors so far, by type. */
  readonly errors: Readonly<Record<string, number>>;
  /** Bus id of the other end. */
  readonly remote?: string | undefined;
}

export interface GpuProcess {
  readonly pid: number;
  readonly memory?: number | undefined;
  readonly utilization?: number | undefined;
  readonly name?: string | undefined;
}

const UTILIZATION = gauge('hw.gpu.utilization', '1', 'Share of time busy');
const POWER_LIMIT = gauge('hw.power.limit', 'W', 'Power limit in force');
const TEMPERATURE = gauge('hw.temperature', 'Cel', 'Temperature');
const TEMPERATURE_LIMIT = gauge('hw.temperature.limit', 'Cel', 'Temperature at which the hardware slows down');
const CLOCK = gauge('hw.gpu.clock', 'Hz', 'Clock');
const CLOCK_LIMIT = gauge('hw.gpu.clock.limit', 'Hz', 'Clock limit');
const PCIE_SPEED = gauge('hw.gpu.pcie.speed', 'GT/s', 'PCIe signalling rate now');
const PCIE_WIDTH = gauge('hw.gpu.pcie.width', '{lane}', 'PCIe lanes in use now');
const IO = sum('hw.gpu.io', 'By', 'PCIe and NVLink bytes');
const IO_RATE = gauge('hw.gpu.io', 'By/s', 'PCIe and NVLink bytes');
const LINK_ERRORS = sum('hw.gpu.link.errors', '{error}', 'PCIe replays, NVLink errors');
const ERRORS = sum('hw.errors', '{error}', 'XID, ECC, retired pages');
const PENDING = gauge('hw.errors', '{error}', 'Repairs of memory that wait for a reset');
const LIFETIME = sum('hw.gpu.errors.lifetime', '{error}', 'Memory errors over the life of the board');
const STATUS = sum('hw.status', '1', '1 for the state the hardware is in, 0 for the others', false);
const THROTTLE = sum('hw.gpu.throttle', 's', 'Time throttled by reason');
const LINK_UP = gauge('hw.gpu.link.up', '1', '1 while a link between GPUs is up');
const PROCESS_MEMORY = sum('hw.gpu.process.memory.usage', 'By', 'Memory of a GPU that a process uses', false);
const PROCESS_UTILIZATION = gauge('hw.gpu.process.utilization', '1', 'Share of time a process kept the GPU busy');
const FOREIGN_COUNT = gauge('hw.gpu.foreign.processes', '{process}', "Processes beside an engine's on its GPU");
const FOREIGN_MEMORY = sum('hw.gpu.foreign.memory.usage', 'By', "Memory that others than the engine's use", false);
const FOREIGN_UTILIZATION = gauge('hw.gpu.foreign.utilization', '1', "Share of time others than the engine's ran");

const GPU = { 'hw.type': 'gpu' };
const pcie = (direction: string) => ({ link: 'pcie', 'network.io.direction': direction });
const nvlink = (direction: string) => ({ link: 'nvlink', 'network.io.direction': direction });
const clock = (name: string) => ({ clock: name });
const limit = (name: string, type: string) => ({ clock: name, limit_type: type });
const sensor = (name: string) => ({ 'hw.sensor_location': name });
const check = (state: GpuState, of: string) => ({ ...GPU, 'hw.state': state, check: of });
const pcieError = (type: string) => ({ link: 'pcie', 'error.type': type });
const nvlinkError = (type: string) => ({ link: 'nvlink', 'error.type': type });
const error = (type: string) => ({ 'error.type': type });

/** Every number a GPU has, its signal and the attributes of its series. */
const FIELDS = {
  utilization: [UTILIZATION, {}],
  encoder: [UTILIZATION, { 'hw.gpu.task': 'encoder' }],
  decoder: [UTILIZATION, { 'hw.gpu.task': 'decoder' }],
  sm_active: [gauge('hw.gpu.sm_active', '1', 'SMs with a warp'), {}],
  sm_occupancy: [gauge('hw.gpu.sm_occupancy', '1', 'Warps resident over the maximum'), {}],
  tensor_active: [gauge('hw.gpu.tensor_active', '1', 'Tensor pipe busy'), {}],
  dram_active: [gauge('hw.gpu.dram_active', '1', 'Memory interface busy'), {}],
  memory_activity: [gauge('hw.gpu.memory.activity', '1', 'Share of time device memory was read or written'), {}],
  memory_used: [sum('hw.gpu.memory.usage', 'By', 'Memory used', false), {}],
  memory_limit: [sum('hw.gpu.memory.limit', 'By', 'Memory size', false), {}],
  memory_reserved: [sum('hw.gpu.memory.reserved', 'By', 'Memory held by the driver', false), {}],
  memory_utilization: [gauge('hw.gpu.memory.utilization', '1', 'Memory used over what can be used'), {}],
  bar1_used: [sum('hw.gpu.bar1.usage', 'By', 'BAR1 window used', false), {}],
  bar1_limit: [sum('hw.gpu.bar1.limit', 'By', 'BAR1 window size', false), {}],
  power: [gauge('hw.power', 'W', 'Power draw'), GPU],
  power_limit: [POWER_LIMIT, GPU],
  power_limit_requested: [gauge('hw.power.limit.requested', 'W', 'Power limit somebody set'), GPU],
  power_limit_default: [gauge('hw.power.limit.default', 'W', 'Power limit the board ships with'), GPU],
  energy: [sum('hw.energy', 'J', 'Energy'), GPU],
  temperature_gpu: [TEMPERATURE, sensor('gpu')],
  temperature_memory: [TEMPERATURE, sensor('memory')],
  temperature_edge: [TEMPERATURE, sensor('edge')],
  temperature_junction: [TEMPERATURE, sensor('junction')],
  temperature_limit_shutdown: [TEMPERATURE_LIMIT, { limit_type: 'shutdown' }],
  temperature_limit_slowdown: [TEMPERATURE_LIMIT, { limit_type: 'slowdown' }],
  temperature_limit_memory: [TEMPERATURE_LIMIT, { limit_type: 'memory' }],
  temperature_limit_gpu: [TEMPERATURE_LIMIT, { limit_type: 'gpu' }],
  clock_sm: [CLOCK, clock('sm')],
  clock_memory: [CLOCK, clock('memory')],
  clock_graphics: [CLOCK, clock('graphics')],
  clock_video: [CLOCK, clock('video')],
  clock_sm_max: [CLOCK_LIMIT, limit('sm', 'max')],
  clock_memory_max: [CLOCK_LIMIT, limit('memory', 'max')],
  clock_sm_application: [CLOCK_LIMIT, limit('sm', 'application')],
  clock_memory_application: [CLOCK_LIMIT, limit('memory', 'application')],
  pcie_speed: [PCIE_SPEED, {}],
  pcie_speed_max: [PCIE_SPEED, { limit_type: 'max' }],
  pcie_width: [PCIE_WIDTH, {}],
  pcie_width_max: [PCIE_WIDTH, { limit_type: 'max' }],
  pcie_sent: [IO, pcie('transmit')],
  pcie_received: [IO, pcie('receive')],
  pcie_sent_rate: [IO_RATE, pcie('transmit')],
  pcie_received_rate: [IO_RATE, pcie('receive')],
  pcie_rate: [IO_RATE, { link: 'pcie' }],
  pcie_replays: [LINK_ERRORS, pcieError('replay')],
  pcie_replay_rollovers: [LINK_ERRORS, pcieError('replay_rollover')],
  pcie_recoveries: [LINK_ERRORS, pcieError('recovery')],
  pcie_nacks_sent: [LINK_ERRORS, pcieError('nack_sent')],
  pcie_nacks_received: [LINK_ERRORS, pcieError('nack_received')],
  nvlink_sent: [IO, nvlink('transmit')],
  nvlink_received: [IO, nvlink('receive')],
  nvlink_crc_flit: [LINK_ERRORS, nvlinkError('crc_flit')],
  nvlink_crc_data: [LINK_ERRORS, nvlinkError('crc_data')],
  nvlink_replays: [LINK_ERRORS, nvlinkError('replay')],
  nvlink_recoveries: [LINK_ERRORS, nvlinkError('recovery')],
  ecc_corrected: [ERRORS, error('corrected')],
  ecc_uncorrected: [ERRORS, error('uncorrected')],
  ecc_deferred: [ERRORS, error('deferred')],
  ecc_corrected_lifetime: [LIFETIME, error('corrected')],
  ecc_uncorrected_lifetime: [LIFETIME, error('uncorrected')],
  retired_corrected: [ERRORS, error('page_retired_corrected')],
  retired_uncorrected: [ERRORS, error('page_retired_uncorrected')],
  retirement_pending: [PENDING, error('page_retirement_pending')],
  remapped_corrected: [ERRORS, error('row_remapped_corrected')],
  remapped_uncorrected: [ERRORS, error('row_remapped_uncorrected')],
  remap_failed: [STATUS, check('failed', 'row_remap')],
  remap_pending: [PENDING, error('row_remap_pending')],
} satisfies Record<string, readonly [Metric, Attributes]>;

for (const [, attributes] of Object.values(FIELDS)) Object.freeze(attributes);

export type GpuField = keyof typeof FIELDS;
/** Counters of the hardware that have 32 bits in some driver, and so begin again at 0 after 2^32. */
const NARROW: ReadonlySet<GpuField> = new Set([
  'pcie_replays',
  'pcie_replay_rollovers',
  'pcie_nacks_sent',
  'pcie_nacks_received',
]);

/** Plain rows: this runs once a second, so V8 never optimises what destructuring would allocate. */
const ENTRIES = Object.entries(FIELDS).map(([name, [metric, attributes]]) => {
  const field = name as GpuField;
  return { field, metric, attributes, narrow: NARROW.has(field) };
});

const STATES: readonly (readonly [GpuState, Attributes])[] = (['ok', 'degraded', 'failed'] as const).map((state) => [
  state,
  Object.freeze(check(state, 'driver')),
]);

/** Attributes that come again with every look, as the same object. */
const kept = new Map<string, Attributes>();
function keep(key: string, make: () => Attributes): Attributes {
  const found = kept.get(key);
  if (found) return found;
  if (kept.size > 2000) kept.clear();
  const made = Object.freeze(make());
  kept.set(key, made);
  return made;
}

interface LinkAttributes {
  readonly plain: Attributes;
  readonly sent: Attributes;
  readonly received: Attributes;
  readonly errors: Record<string, Attributes>;
}
const links = new Map<string, LinkAttributes[]>();
function linkAttributes(kind: string, index: number): LinkAttributes {
  const own = entryOf<string, LinkAttributes[]>(links, kind, () => []);
  const found = own[index];
  if (found) return found;
  const plain = Object.freeze({ link: kind, 'link.index': index });
  const made: LinkAttributes = {
    plain,
    sent: Object.freeze({ ...plain, 'network.io.direction': 'transmit' }),
    received: Object.freeze({ ...plain, 'network.io.direction': 'receive' }),
    errors: Object.create(null) as Record<string, Attributes>,
  };
  own[index] = made;
  return made;
}

/** What is said of a process on a GPU. */
export interface ProcessOwner {
  readonly owner: 'engine' | 'foreign' | 'unknown';
  readonly attributes: Attributes;
}

export interface GpuSignalsOptions {
  /** A resource of a GPU, or of a process on it, with these attributes beside the node's. */
  resource(attributes: Attributes): Resource;
  /** Who was given a GPU or a MIG instance: pod, namespace, container. The same object as long as nothing changed. */
  place?(uuid: string): Attributes | undefined;
  readonly vendor: 'nvidia' | 'amd';
  /** Time without a sample that a reason is still taken to have held, milliseconds. */
  readonly longestGapMs: number;
  /** Whose the processes on one GPU are, in their order. */
  owners(processes: readonly GpuProcess[]): readonly ProcessOwner[];
}

export interface GpuSignals {
  /** Adds what was read to a round. */
  add(round: Round, readings: readonly GpuReading[], timeMs: number): void;
  /** Adds how often each XID (or the like) was seen; call it with every round. */
  addFaults(round: Round): void;
  /** A fault code was reported for a GPU. */
  fault(uuid: string, kind: string, code: number): void;
  /** Who a GPU is, if it was read before. */
  resourceOf(uuid: string): Resource | undefined;
  uuidOf(busId: string): string | undefined;
}

const GONE_AFTER = 600;

/** What a driver says of a GPU comes anew with every look. */
const same = (a: GpuIdentity, b: GpuIdentity): boolean =>
  a.uuid === b.uuid &&
  a.index === b.index &&
  a.busId === b.busId &&
  a.model === b.model &&
  a.serial === b.serial &&
  a.driver === b.driver &&
  a.parent === b.parent &&
  a.migId === b.migId;

export function createGpuSignals(options: GpuSignalsOptions): GpuSignals {
  const resources = new Map<string, { id: GpuIdentity; place: unknown; key: string; resource: Resource }>();
  /** Links that were up once: one that never was is not wired. */
  const wired = new Set<string>();
  const throttled = new Map<string, { at: number; seconds: Map<string, { total: number; attributes: Attributes }> }>();
  const narrow = new Map<string, { last: number; base: number }>();
  /** Reasons that the hardware counts itself, by GPU: its count is better than ours, whichever group it comes with. */
  const hardware = new Map<string, Set<string>>();
  const faults = new Map<string, { uuid: string; count: number; attributes: Attributes }>();

  const resourceFor = (id: GpuIdentity): Resource => {
    const known = resources.get(id.uuid);
    const place = options.place?.(id.uuid);
    if (known?.id === id && known.place === place) return known.resource;
    if (known && known.place === place && same(known.id, id)) {
      known.id = id;
      return known.resource;
    }
    const key = JSON.stringify([id, place]);
    if (known?.key === key) {
      known.id = id;
      known.place = place;
      return known.resource;
    }
    const resource = options.resource({
      'hw.id': id.uuid,
      'hw.vendor': options.vendor,
      ...(id.index === undefined ? {} : { 'hw.gpu.index': id.index }),
      ...(id.busId === undefined ? {} : { 'hw.gpu.pci_bus_id': id.busId }),
      ...(id.model === undefined ? {} : { 'hw.model': id.model }),
      ...(id.serial === undefined ? {} : { 'hw.serial_number': id.serial }),
      ...(id.driver === undefined ? {} : { 'hw.driver_version': id.driver }),
      ...(id.parent === undefined ? {} : { 'hw.parent': id.parent }),
      ...(id.migId === undefined ? {} : { 'hw.gpu.mig.id': String(id.migId) }),
      ...place,
    });
    if (resources.size > GONE_AFTER) resources.clear();
    resources.set(id.uuid, { id, place, key, resource });
    return resource;
  };

  /** A 32-bit counter that began again goes on; one that was reset does not. */
  const unwrap = (key: string, value: number): number => {
    const entry = narrow.get(key) ?? { last: value, base: 0 };
    if (value < entry.last) {
      const wrapped = entry.last > 0xc000_0000 && entry.last <= 0xffff_ffff && value < 0x4000_0000;
      entry.base = wrapped ? entry.base + 2 ** 32 : 0;
    }
    entry.last = value;
    narrow.set(key, entry);
    return entry.base + value;
  };

  const addThrottle = (round: Round, resource: Resource, reading: GpuReading, timeMs: number) => {
    const counted = reading.throttled ?? {};
    const own = hardware.get(reading.id.uuid) ?? new Set<string>();
    hardware.set(reading.id.uuid, own);
    for (const reason in counted) own.add(reason);
    for (const reason in counted)
      round.add(
        resource,
        THROTTLE,
        counted[reason],
        keep(reason, () => ({ reason })),
      );
    if (!reading.throttle) return;
    const entry = throttled.get(reading.id.uuid) ?? { at: timeMs, seconds: new Map() };
    const passed = Math.min(Math.max(0, timeMs - entry.at), options.longestGapMs) / 1000;
    entry.at = timeMs;
    throttled.set(reading.id.uuid, entry);
    for (const reason of reading.throttle.known) {
      const told = entry.seconds.get(reason) ?? { total: 0, attributes: keep(reason, () => ({ reason })) };
      entry.seconds.set(reason, told);
      if (reading.throttle.active.includes(reason)) told.total += passed;
      if (!own.has(reason)) round.add(resource, THROTTLE, told.total, told.attributes);
    }
  };

  const addLink = (round: Round, resource: Resource, link: GpuLink) => {
    const own = linkAttributes(link.kind, link.index);
    if (link.up !== undefined) round.add(resource, LINK_UP, link.up ? 1 : 0, own.plain);
    round.add(resource, IO, link.sent, own.sent);
    round.add(resource, IO, link.received, own.received);
    for (const type in link.errors) {
      own.errors[type] ??= Object.freeze({ ...own.plain, 'error.type': type });
      round.add(resource, LINK_ERRORS, link.errors[type], own.errors[type]);
    }
  };

  /** `hw.status{check=nvlink}`: failed while a link that was up is down. */
  const addLinkState = (round: Round, resource: Resource, uuid: string, links: readonly GpuLink[]) => {
    const told = links.filter((link) => link.up !== undefined);
    let down = false;
    for (const { kind, index, up } of told) {
      const key = `${uuid} ${kind} ${index}`;
      if (up) wired.add(key);
      else if (wired.has(key)) down = true;
    }
    if (!told.some((link) => wired.has(`${uuid} ${link.kind} ${link.index}`))) return;
    const { kind } = told[0]!;
    round.add(
      resource,
      STATUS,
      down ? 0 : 1,
      keep(`ok ${kind}`, () => check('ok', kind)),
    );
    round.add(
      resource,
      STATUS,
      down ? 1 : 0,
      keep(`failed ${kind}`, () => check('failed', kind)),
    );
  };

  const addProcesses = (round: Round, gpu: Resource, id: GpuIdentity, processes: readonly GpuProcess[]) => {
    const owners = options.owners(processes);
    let [count, memory, utilization] = [0, 0, 0];
    processes.forEach((process, i) => {
      const { owner, attributes } = owners[i]!;
      const resource = options.resource({
        'hw.id': id.uuid,
        ...(id.busId === undefined ? {} : { 'hw.gpu.pci_bus_id': id.busId }),
        ...options.place?.(id.uuid),
        'process.pid': process.pid,
        ...(process.name === undefined ? {} : { 'process.executable.name': process.name }),
        ...attributes,
      });
      const whose = keep(owner, () => ({ owner }));
      round.add(resource, PROCESS_MEMORY, process.memory, whose);
      round.add(resource, PROCESS_UTILIZATION, process.utilization, whose);
      if (owner !== 'foreign') return;
      count++;
      memory += process.memory ?? 0;
      utilization += process.utilization ?? 0;
    });
    round.add(gpu, FOREIGN_COUNT, count);
    round.add(gpu, FOREIGN_MEMORY, memory);
    round.add(gpu, FOREIGN_UTILIZATION, Math.min(1, utilization));
  };

  return {
    add(round, readings, timeMs) {
      for (const reading of readings) {
        const { id, numbers } = reading;
        const resource = resourceFor(id);
        if (reading.state) {
          for (const [state, attributes] of STATES) {
            round.add(resource, STATUS, state === reading.state ? 1 : 0, attributes);
          }
        }
        for (let i = 0; i < ENTRIES.length; i++) {
          const entry = ENTRIES[i]!;
          const value = numbers[entry.field];
          if (value === undefined) continue;
          const whole = entry.narrow ? unwrap(`${id.uuid} ${entry.field}`, value) : value;
          round.add(resource, entry.metric, whole, entry.attributes);
        }
        addThrottle(round, resource, reading, timeMs);
        for (const { type, block, count } of reading.errors ?? []) {
          const attributes = keep(`errors ${type} ${block ?? ''}`, () => ({
            'error.type': type,
            ...(block === undefined ? {} : { block }),
          }));
          round.add(resource, ERRORS, count, attributes);
        }
        if (reading.links) {
          for (const link of reading.links) addLink(round, resource, link);
          addLinkState(round, resource, id.uuid, reading.links);
        }
        if (reading.processes) addProcesses(round, resource, id, reading.processes);
      }
    },
    addFaults(round) {
      for (const { uuid, count, attributes } of faults.values()) {
        const known = resources.get(uuid);
        if (known) round.add(known.resource, ERRORS, count, attributes);
      }
    },
    fault(uuid, kind, code) {
      const key = `${uuid} ${kind} ${code}`;
      const entry = faults.get(key);
      if (entry) entry.count++;
      else if (faults.size < 1000)
        faults.set(key, { uuid, count: 1, attributes: { 'error.type': kind, [kind]: String(code) } });
    },
    resourceOf: (uuid) => resources.get(uuid)?.resource,
    uuidOf(busId) {
      for (const { id } of resources.values()) if (id.busId === busId && id.parent === undefined) return id.uuid;
      return undefined;
    },
  };
}

/** Signalling rate of a PCIe generation, GT/s. */
export const PCIE_RATES: readonly number[] = [Number.NaN, 2.5, 5, 8, 16, 32, 64, 128];

/** `00000000:17:00.0` and `17:00.0` as the kernel writes them: `0000:17:00.0`. */
export function plainBusId(text: string): string {
  const match = /^(?:([0-9a-f]+):)?([0-9a-f]{2}):([0-9a-f]{2})(?:\.([0-9a-f]))?$/i.exec(text.trim());
  if (!match) return text.trim().toLowerCase();
  const domain = (Number.parseInt(match[1] ?? '0', 16) || 0).toString(16).padStart(4, '0');
  return `${domain}:${match[2]}:${match[3]}.${match[4] ?? '0'}`.toLowerCase();
}
