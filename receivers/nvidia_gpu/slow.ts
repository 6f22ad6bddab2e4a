/** The slow group: limits, and what changes on a bad day. */
import { type GpuReading, PCIE_RATES } from '../../pipeline/kit/gpu-signals.ts';
import type { Device } from './device.ts';
import { Return } from './library.ts';
import { findMigs } from './mig.ts';
import { GRAPHICS, MEMORY_CLOCK, MHZ, type Numbers, put, SM, times, unsupported, VIDEO } from './numbers.ts';

const count = Buffer.alloc(4);
const SLOW_FIELDS = [
  { id: 5, field: 'ecc_corrected_lifetime' },
  { id: 6, field: 'ecc_uncorrected_lifetime' },
  { id: 29, field: 'retired_corrected' },
  { id: 30, field: 'retired_uncorrected' },
  { id: 31, field: 'retirement_pending' },
] as const;
const rows = [Buffer.alloc(4), Buffer.alloc(4), Buffer.alloc(4), Buffer.alloc(4)] as const;
/** nvmlMemoryErrorType_t and nvmlEccCounterType_t. */
const CORRECTED = 0;
const UNCORRECTED = 1;
const VOLATILE = 0;
/** nvmlPageRetirementCause_t. */
const MULTIPLE_SINGLE_BIT = 0;
const DOUBLE_BIT = 1;

export function readSlow(device: Device): GpuReading[] {
  const numbers: Numbers = {};
  put(numbers, 'power_limit', times(device.uint('nvmlDeviceGetEnforcedPowerLimit'), 1e-3));
  put(numbers, 'power_limit_requested', times(device.uint('nvmlDeviceGetPowerManagementLimit'), 1e-3));
  put(numbers, 'power_limit_default', times(device.uint('nvmlDeviceGetPowerManagementDefaultLimit'), 1e-3));
  put(numbers, 'temperature_limit_shutdown', device.uint('nvmlDeviceGetTemperatureThreshold', 0));
  put(numbers, 'temperature_limit_slowdown', device.uint('nvmlDeviceGetTemperatureThreshold', 1));
  put(numbers, 'temperature_limit_memory', device.uint('nvmlDeviceGetTemperatureThreshold', 2));
  put(numbers, 'temperature_limit_gpu', device.uint('nvmlDeviceGetTemperatureThreshold', 3));
  put(numbers, 'clock_graphics', times(device.uint('nvmlDeviceGetClockInfo', GRAPHICS), MHZ));
  put(numbers, 'clock_video', times(device.uint('nvmlDeviceGetClockInfo', VIDEO), MHZ));
  put(numbers, 'clock_sm_max', times(device.uint('nvmlDeviceGetMaxClockInfo', SM), MHZ));
  put(numbers, 'clock_memory_max', times(device.uint('nvmlDeviceGetMaxClockInfo', MEMORY_CLOCK), MHZ));
  put(numbers, 'clock_sm_application', times(device.uint('nvmlDeviceGetApplicationsClock', GRAPHICS), MHZ));
  put(numbers, 'clock_memory_application', times(device.uint('nvmlDeviceGetApplicationsClock', MEMORY_CLOCK), MHZ));
  const generation = device.uint('nvmlDeviceGetMaxPcieLinkGeneration');
  put(numbers, 'pcie_speed_max', generation === undefined ? undefined : PCIE_RATES[generation]);
  put(numbers, 'pcie_width_max', device.uint('nvmlDeviceGetMaxPcieLinkWidth') || undefined);
  put(numbers, 'ecc_corrected', device.ulong('nvmlDeviceGetTotalEccErrors', CORRECTED, VOLATILE));
  put(numbers, 'ecc_uncorrected', device.ulong('nvmlDeviceGetTotalEccErrors', UNCORRECTED, VOLATILE));
  const values = device.fields(SLOW_FIELDS);
  for (const [i, { field }] of SLOW_FIELDS.entries()) put(numbers, field, values[i]);
  readRetired(device, numbers);
  if (device.ask('nvmlDeviceGetRemappedRows', ...rows)) {
    put(numbers, 'remapped_corrected', rows[0].readUInt32LE(0));
    put(numbers, 'remapped_uncorrected', rows[1].readUInt32LE(0));
    put(numbers, 'remap_pending', rows[2].readUInt32LE(0));
    put(numbers, 'remap_failed', rows[3].readUInt32LE(0));
  }
  const bar = Buffer.alloc(24);
  if (device.ask('nvmlDeviceGetBAR1MemoryInfo', bar)) {
    put(numbers, 'bar1_limit', Number(bar.readBigUInt64LE(0)));
    put(numbers, 'bar1_used', Number(bar.readBigUInt64LE(16)));
  }
  findMigs(device);
  return [{ id: device.id, numbers }];
}

function readRetired(device: Device, numbers: Numbers) {
  const retired = (cause: number): number | undefined => {
    count.writeUInt32LE(0);
    const code = device.code('nvmlDeviceGetRetiredPages', cause, count, null);
    return code === Return.OK || code === Return.INSUFFICIENT_SIZE ? count.readUInt32LE(0) : undefined;
  };
  if (unsupported(device).has('retired')) return;
  if (numbers.retired_corrected === undefined) put(numbers, 'retired_corrected', retired(MULTIPLE_SINGLE_BIT));
  if (numbers.retired_uncorrected === undefined) put(numbers, 'retired_uncorrected', retired(DOUBLE_BIT));
  if (numbers.retirement_pending === undefined) {
    put(numbers, 'retirement_pending', device.uint('nvmlDeviceGetRetiredPagesPendingStatus'));
  }
  if (numbers.retired_corrected === undefined && numbers.retired_uncorrected === undefined)
    unsupported(device).add('retired');
}
