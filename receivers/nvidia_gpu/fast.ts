/** The fast group: what moves within seconds. */
import type { GpuReading } from '../../pipeline/kit/gpu-signals.ts';
import type { Device } from './device.ts';
import { readGpm } from './gpm.ts';
import { Return } from './library.ts';
import { readMigs } from './mig.ts';
import { MEMORY_CLOCK, MHZ, type Numbers, percent, put, readMemory, SM, times, unsupported } from './numbers.ts';
import { activeReasons, REASONS } from './reasons.ts';

const pair = Buffer.alloc(8);
const period = Buffer.alloc(4);

const MEMORY_TEMPERATURE = 82;
/** Nanoseconds by reason; field ids where a driver has them. */
const COUNTED = [
  { id: 269, reason: 'sw_thermal' },
  { id: 270, reason: 'hw_thermal' },
  { id: 271, reason: 'hw_power_brake' },
];
/** nvmlPerfPolicyType_t, by the names that dcgm-exporter's counters get. */
const POLICIES = ['power', 'thermal', 'sync_boost', 'board_limit', 'low_utilization', 'reliability'];
const FAST_FIELDS = [{ id: MEMORY_TEMPERATURE }, ...COUNTED];
const policy = Buffer.alloc(16);

export function readFast(device: Device): GpuReading[] {
  const numbers: Numbers = {};
  if (device.ask('nvmlDeviceGetUtilizationRates', pair)) {
    put(numbers, 'utilization', percent(pair.readUInt32LE(0)));
    put(numbers, 'memory_activity', percent(pair.readUInt32LE(4)));
  }
  if (device.ask('nvmlDeviceGetEncoderUtilization', pair, period))
    put(numbers, 'encoder', percent(pair.readUInt32LE(0)));
  if (device.ask('nvmlDeviceGetDecoderUtilization', pair, period))
    put(numbers, 'decoder', percent(pair.readUInt32LE(0)));
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
  for (const [i, reason] of POLICIES.entries()) {
    const key = `policy ${i}`;
    if (unsupported(device).has(key)) continue;
    const code = device.code('nvmlDeviceGetViolationStatus', i, policy);
    if (code === Return.OK) throttled[reason] = Number(policy.readBigUInt64LE(8)) / 1e9;
    else if (code === Return.NOT_SUPPORTED || code === Return.FUNCTION_NOT_FOUND || code === Return.INVALID_ARGUMENT)
      unsupported(device).add(key);
  }
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
