/** What the groups share: numbers of a reading, units, and memory, which has two forms. */
import type { GpuField } from '../../pipeline/kit/gpu-signals.ts';
import type { Device } from './device.ts';

export type Numbers = Partial<Record<GpuField, number>>;

export const percent = (value: number | undefined) => (value === undefined || value > 100 ? undefined : value / 100);
export const times = (value: number | undefined, factor: number) => (value === undefined ? undefined : value * factor);
export const MHZ = 1e6;
/** nvml.h: clocks, sensors, counters, field ids. */
export const SM = 1;
export const MEMORY_CLOCK = 2;
export const GRAPHICS = 0;
export const VIDEO = 3;

export function put(numbers: Numbers, field: GpuField, value: number | undefined) {
  if (value !== undefined) numbers[field] = value;
}

const memory = Buffer.alloc(40);

/** sizeof(nvmlMemory_v2_t) | 2 << 24: how NVML versions its structs. */
const MEMORY_V2 = 40 | (2 << 24);

export function readMemory(device: Device, numbers: Numbers) {
  memory.fill(0);
  memory.writeUInt32LE(MEMORY_V2, 0);
  const big = (at: number) => Number(memory.readBigUInt64LE(at));
  if (device.ask('nvmlDeviceGetMemoryInfo_v2', memory)) {
    const [total, reserved, used] = [big(8), big(16), big(32)];
    put(numbers, 'memory_limit', total);
    put(numbers, 'memory_reserved', reserved);
    put(numbers, 'memory_used', used);
    if (total > reserved) put(numbers, 'memory_utilization', used / (total - reserved));
    return;
  }
  // Older drivers count what is reserved as used.
  if (!device.ask('nvmlDeviceGetMemoryInfo', memory)) return;
  put(numbers, 'memory_limit', big(0));
  put(numbers, 'memory_used', big(16));
  if (big(0) > 0) put(numbers, 'memory_utilization', big(16) / big(0));
}

/** What a device has shown not to support beyond whole functions. */
const missing = new WeakMap<Device, Set<string>>();
export function unsupported(device: Device): Set<string> {
  let set = missing.get(device);
  if (!set) {
    set = new Set();
    missing.set(device, set);
  }
  return set;
}
