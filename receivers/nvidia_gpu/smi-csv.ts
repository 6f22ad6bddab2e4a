/** `nvidia-smi --query-gpu=… --format=csv,noheader,nounits` to readings: for drivers whose XML cannot be read. */
import { type GpuField, type GpuReading, PCIE_RATES, plainBusId } from '../../pipeline/kit/gpu-signals.ts';
import { activeReasons, REASONS } from './reasons.ts';

const WHO = ['index', 'uuid', 'pci.bus_id', 'name', 'serial', 'driver_version'] as const;

/** Fields of --query-gpu that all drivers since 450 know, with the factor to our units. */
const FIELDS: readonly (readonly [query: string, field: GpuField, factor: number])[] = [
  ['utilization.gpu', 'utilization', 0.01],
  ['utilization.memory', 'memory_activity', 0.01],
  ['memory.total', 'memory_limit', 2 ** 20],
  ['memory.used', 'memory_used', 2 ** 20],
  ['power.draw', 'power', 1],
  ['enforced.power.limit', 'power_limit', 1],
  ['power.default_limit', 'power_limit_default', 1],
  ['temperature.gpu', 'temperature_gpu', 1],
  ['temperature.memory', 'temperature_memory', 1],
  ['clocks.current.sm', 'clock_sm', 1e6],
  ['clocks.current.memory', 'clock_memory', 1e6],
  ['clocks.max.sm', 'clock_sm_max', 1e6],
  ['clocks.max.memory', 'clock_memory_max', 1e6],
  ['pcie.link.width.current', 'pcie_width', 1],
  ['pcie.link.width.max', 'pcie_width_max', 1],
  ['ecc.errors.corrected.volatile.total', 'ecc_corrected', 1],
  ['ecc.errors.uncorrected.volatile.total', 'ecc_uncorrected', 1],
  ['ecc.errors.corrected.aggregate.total', 'ecc_corrected_lifetime', 1],
  ['ecc.errors.uncorrected.aggregate.total', 'ecc_uncorrected_lifetime', 1],
];
const MORE = ['pcie.link.gen.current', 'pcie.link.gen.max', 'clocks_throttle_reasons.active'] as const;

export const CSV_QUERY = [...WHO, ...FIELDS.map(([query]) => query), ...MORE].join(',');

const known = (text: string | undefined) =>
  text === undefined || text === '' || /^\[|^N\/A$|^ERR/i.test(text) ? undefined : text;

/** A whole number, with a decimal point or a decimal comma of some locale. */
const number = (text: string | undefined) => {
  const plain = known(text);
  return plain !== undefined && /^-?\d+(\.\d+)?$/.test(plain) ? Number(plain) : undefined;
};

export function readingsOfCsv(text: string): GpuReading[] {
  return text.split(/\r?\n/).flatMap((line) => {
    const cells = line.split(',').map((cell) => cell.trim());
    if (cells.length !== WHO.length + FIELDS.length + MORE.length) return [];
    const [index, uuid, bus, model, serial, driver] = cells;
    if (!uuid?.startsWith('GPU-')) return [];
    const numbers: Partial<Record<GpuField, number>> = {};
    for (const [i, [, field, factor]] of FIELDS.entries()) {
      const value = number(cells[WHO.length + i]);
      if (value !== undefined) numbers[field] = value * factor;
    }
    const [now, max, mask] = cells.slice(-MORE.length);
    const speed = PCIE_RATES[number(now) ?? 0];
    const fastest = PCIE_RATES[number(max) ?? 0];
    if (speed) numbers.pcie_speed = speed;
    if (fastest) numbers.pcie_speed_max = fastest;
    if (numbers.memory_used !== undefined && numbers.memory_limit) {
      numbers.memory_utilization = numbers.memory_used / numbers.memory_limit;
    }
    const bits = /^0x[0-9a-f]+$/i.test(mask ?? '') ? Number(mask) : undefined;
    return [
      {
        id: {
          uuid,
          index: number(index),
          busId: bus ? plainBusId(bus) : undefined,
          model: known(model),
          serial: known(serial),
          driver: known(driver),
        },
        numbers,
        state: 'ok' as const,
        ...(bits === undefined ? {} : { throttle: { active: activeReasons(bits), known: REASONS } }),
      },
    ];
  });
}
