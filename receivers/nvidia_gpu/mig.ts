/** MIG: the instances that a GPU is split into, each with its own UUID and memory. */
import type { GpuReading } from '../../pipeline/kit/gpu-signals.ts';
import { type Device, openDevice } from './device.ts';
import { Return } from './library.ts';
import { type Numbers, readMemory } from './numbers.ts';

const pair = Buffer.alloc(8);
const period = Buffer.alloc(4);
const big = Buffer.alloc(8);

export function findMigs(device: Device) {
  const kept = device.memory;
  kept.migs = [];
  if (!device.ask('nvmlDeviceGetMigMode', pair, period) || pair.readUInt32LE(0) !== 1) return;
  const most = Math.min(device.uint('nvmlDeviceGetMaxMigDeviceCount') ?? 0, 64);
  for (let i = 0; i < most; i++) {
    if (device.code('nvmlDeviceGetMigDeviceHandleByIndex', i, big) !== Return.OK) continue;
    const handle = big.readBigUInt64LE(0);
    const word = Buffer.alloc(96);
    if (device.library.call('nvmlDeviceGetUUID', handle, word, word.length) !== Return.OK) continue;
    const uuid = word.toString('latin1').split('\0', 1)[0]!;
    const instance =
      device.library.call('nvmlDeviceGetGpuInstanceId', handle, pair) === Return.OK ? pair.readUInt32LE(0) : undefined;
    const { index, busId, model, driver } = device.id;
    kept.migs.push(
      openDevice(device.library, handle, {
        uuid,
        index,
        busId,
        model,
        driver,
        parent: device.id.uuid,
        migId: instance,
      }),
    );
  }
}

/** Readings of the MIG instances of a GPU. */
export function readMigs(device: Device): GpuReading[] {
  if (device.memory.migs === undefined) findMigs(device);
  return device.memory.migs!.map(readMig);
}

function readMig(mig: Device): GpuReading {
  const numbers: Numbers = {};
  readMemory(mig, numbers);
  return { id: mig.id, numbers };
}
