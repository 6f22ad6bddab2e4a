/** GPM: what the SMs do, on Hopper and newer, without a profiler's lock. */
import type { GpuField } from '../../pipeline/kit/gpu-signals.ts';
import type { Device } from './device.ts';
import { Return } from './library.ts';
import type { Numbers } from './numbers.ts';

const pair = Buffer.alloc(8);

/** GPM ids (nvml.h) and what they are; percentages. */
const GPM: readonly (readonly [id: number, field: GpuField])[] = [
  [2, 'sm_active'],
  [3, 'sm_occupancy'],
  [5, 'tensor_active'],
  [10, 'dram_active'],
];
const GPM_METRIC = 40;
const gpm = Buffer.alloc(24 + GPM.length * GPM_METRIC);
const gpmSupport = Buffer.alloc(8);

/**
 * Hopper and newer count what the SMs do without anybody holding them: two samples, and the library says what happened
 * between. The first round only takes a sample.
 */
export function readGpm(device: Device, numbers: Numbers) {
  const { library, memory: kept } = device;
  if (kept.gpm === undefined) {
    gpmSupport.writeUInt32LE(1, 0);
    gpmSupport.writeUInt32LE(0, 4);
    kept.gpm = null;
    if (!device.ask('nvmlGpmQueryDeviceSupport', gpmSupport) || gpmSupport.readUInt32LE(4) !== 1) return;
    const samples: bigint[] = [];
    for (let i = 0; i < 2; i++) {
      if (library.call('nvmlGpmSampleAlloc', pair) === Return.OK) samples.push(pair.readBigUInt64LE(0));
    }
    if (samples.length === 2 && device.ask('nvmlGpmSampleGet', samples[0]!)) kept.gpm = samples;
    return;
  }
  if (kept.gpm === null) return;
  const [first, second] = kept.gpm as [bigint, bigint];
  if (!device.ask('nvmlGpmSampleGet', second)) return;
  kept.gpm = [second, first];
  gpm.fill(0);
  gpm.writeUInt32LE(1, 0);
  gpm.writeUInt32LE(GPM.length, 4);
  gpm.writeBigUInt64LE(first, 8);
  gpm.writeBigUInt64LE(second, 16);
  for (const [i, [id]] of GPM.entries()) gpm.writeUInt32LE(id, 24 + i * GPM_METRIC);
  if (library.call('nvmlGpmMetricsGet', gpm) !== Return.OK) return;
  for (const [i, [, field]] of GPM.entries()) {
    const at = 24 + i * GPM_METRIC;
    const value = gpm.readDoubleLE(at + 8);
    if (gpm.readInt32LE(at + 4) === Return.OK && value >= 0 && value <= 100) numbers[field] = value / 100;
  }
}
