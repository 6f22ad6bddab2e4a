/** The fast group: what moves within seconds. */
import type { GpuReading } from '../../pipeline/kit/gpu-signals.ts';
import type { Device } from './device.ts';
import { readGpm } from './gpm.ts';
import { readMigs } from './mig.ts';
import { MEMORY_CLOCK, MHZ, type Numbers, percent, put, readMemory, SM, times } from './numbers.ts';
import { activeReasons, REASONS } from './reasons.ts';

const pair = Buffer.alloc(8);

const MEMORY_TEMPERATURE = 82;
/** Nanoseconds by reason; field ids where a driver has them. */
const COUNTED = [
  { id: 269, reason: 'sw_thermal' },
  { id: 270, reason: 'hw_thermal' },
  { id: 271, reason: 'hw_power_brake' },
];
const FAST_FIELDS = [{ id: MEMORY_TEMPERATURE }, ...COUNTED];

export function readFast(device: Device): GpuReading[] {
  const numbers: Numbers = {};
  if (device.ask('nvmlDeviceGetUtilizationRates', pair)) {
    put(numbers, 'utilization', percent(pair.readUInt32LE(0)));
    put(numbers, 'memory_activity', percent(pair.readUInt32LE(4)));
  }
  readMemory(device, numbers);
  put(numbers, 'power', times(device.uint('nvmlDeviceGetPowerUsage'), 1e-3));
  put(numbers, 'energy', times(device.ulong('nvmlDeviceGetTotalEnergyConsumption'), 1e-3));
  put(numbers, 'temperature_gpu', device.uint('nvmlDeviceGetTemperature', 0));
  put(numbers, 'clock_sm', times(device.uint('nvmlDeviceGetClockInfo', SM), MHZ));
  put(numbers, 'clock_memory', times(device.uint('nvmlDeviceGetClockInfo', MEMORY_CLOCK), MHZ));
  const [temperature, ...counted] = device.fields(FAST_FIELDS);
  // 0 is what boards without the sensor say.
  if (temperature !== undefined && temperature > 0) numbers.temperature_memory = temperature;
  const throttled: Record<string, number> = {};
  for (const [i, ns] of counted.entries()) if (ns !== undefined) throttled[COUNTED[i]!.reason] = ns / 1e9;
  const bits =
    device.ulong('nvmlDeviceGetCurrentClocksEventReasons') ?? device.ulong('nvmlDeviceGetCurrentClocksThrottleReasons');
  readGpm(device, numbers);
  return [
    {
      id: device.id,
      numbers,
      throttled,
      ...(bits === undefined ? {} : { throttle: { active: activeReasons(bits), known: REASONS } }),
    },
    ...readMigs(device),
  ];
}
