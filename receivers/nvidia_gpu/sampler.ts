/**
 * One look at every GPU through NVML: what group by group is read, and what the answers mean. Runs in the worker; gives
 * plain readings back, and what could not be had.
 */
import type { GpuIdentity, GpuReading, GpuState } from '../../pipeline/kit/gpu-signals.ts';
import { plainBusId } from '../../pipeline/kit/gpu-signals.ts';
import { type Device, openDevice, Unusable } from './device.ts';
import { openXidEvents, type Xid, type XidEvents } from './events.ts';
import { readFast } from './fast.ts';
import { type FunctionName, type Library, type Refusal, Return, wordsOf } from './library.ts';
import { readMedium } from './medium.ts';
import { readSlow } from './slow.ts';

export type Group = 'fast' | 'medium' | 'slow';

export interface Sample {
  readonly readings: readonly GpuReading[];
  readonly refusals: readonly Refusal[];
  /** Set while there is no session with the driver: why. */
  readonly lost?: { readonly code: number; readonly because: string };
  /** Milliseconds spent in the driver, and the function that took most of it. */
  readonly spentMs: number;
  readonly slowest: string;
  readonly cuda?: string | undefined;
  /** What happened since the last look at the fast group. */
  readonly xids: readonly Xid[];
  /** Why XIDs cannot be had as events. */
  readonly noXids?: string | undefined;
}

export interface Sampler {
  sample(group: Group): Sample;
  close(): void;
}

/** Codes that say the whole session is gone: the driver was unloaded, reloaded or updated. */
const SESSION_LOST: ReadonlySet<number> = new Set([
  Return.UNINITIALIZED,
  Return.DRIVER_NOT_LOADED,
  Return.LIB_RM_VERSION_MISMATCH,
]);

/** Milliseconds that never jump. */
export type Stopwatch = () => number;

/** These wait for a measurement that the driver takes, asleep: their time is nobody's CPU. */
const ASLEEP: ReadonlySet<FunctionName> = new Set(['nvmlDeviceGetPcieThroughput']);

/** A library whose calls are timed. */
export interface TimedLibrary extends Library {
  /** Milliseconds by function since the last call of this. */
  spent(): { readonly ms: number; readonly slowest: string };
}

export function timed(library: Library, now: Stopwatch): TimedLibrary {
  const spent = new Map<FunctionName, number>();
  return {
    has: library.has,
    call(name, ...args) {
      const before = now();
      const code = library.call(name, ...args);
      if (!ASLEEP.has(name)) spent.set(name, (spent.get(name) ?? 0) + now() - before);
      return code;
    },
    spent() {
      let ms = 0;
      let slowest = '';
      let most = 0;
      for (const [name, took] of spent) {
        ms += took;
        if (took > most) [slowest, most] = [name, took];
      }
      spent.clear();
      return { ms, slowest };
    },
  };
}

const text = (buffer: Buffer): string => buffer.toString('latin1').split('\0', 1)[0]!.trim();

export function createSampler(library: TimedLibrary): Sampler {
  let open = false;
  let devices: Device[] = [];
  /** Every GPU that was ever seen, so that one that is gone is told. */
  const seen = new Map<string, { id: GpuIdentity; state: GpuState; because: string }>();
  let driver: string | undefined;
  let cuda: string | undefined;
  const word = Buffer.alloc(96);
  const number = Buffer.alloc(8);

  let events: XidEvents | undefined;
  let noXids: string | undefined;
  /** The devices that events are told of. */
  let listened = '';
  let late: Xid[] = [];

  const closeEvents = () => {
    events?.close();
    events = undefined;
  };

  const closeSession = () => {
    if (!open) return;
    closeEvents();
    listened = '';
    for (const device of devices) device.close();
    devices = [];
    library.call('nvmlShutdown');
    open = false;
  };

  const textFrom = (name: FunctionName, handle?: bigint): string | undefined => {
    word.fill(0);
    const code =
      handle === undefined ? library.call(name, word, word.length) : library.call(name, handle, word, word.length);
    if (SESSION_LOST.has(code)) throw new Unusable(code);
    return code === Return.OK ? text(word) : undefined;
  };

  /** Throws Unusable if there is no session to be had. */
  const openSession = () => {
    const code = library.call('nvmlInit_v2');
    if (code !== Return.OK) throw new Unusable(code);
    open = true;
    driver = textFrom('nvmlSystemGetDriverVersion');
    const version =
      library.call('nvmlSystemGetCudaDriverVersion_v2', number) === Return.OK ? number.readInt32LE(0) : undefined;
    cuda = version === undefined ? undefined : `${Math.floor(version / 1000)}.${Math.floor((version % 1000) / 10)}`;
    discover();
  };

  const discover = () => {
    for (const device of devices) device.close();
    devices = [];
    const code = library.call('nvmlDeviceGetCount_v2', number);
    if (code !== Return.OK) throw new Unusable(code);
    const count = number.readUInt32LE(0);
    for (let index = 0; index < Math.min(count, 256); index++) {
      const got = library.call('nvmlDeviceGetHandleByIndex_v2', index, number);
      if (SESSION_LOST.has(got)) throw new Unusable(got);
      // A lost GPU keeps its place but cannot be had; whoever it was is told below.
      if (got !== Return.OK) continue;
      const handle = number.readBigUInt64LE(0);
      const uuid = textFrom('nvmlDeviceGetUUID', handle);
      if (uuid === undefined) continue;
      const pci = Buffer.alloc(68);
      const bus = library.call('nvmlDeviceGetPciInfo_v3', handle, pci) === Return.OK ? text(pci.subarray(36)) : '';
      const id: GpuIdentity = {
        uuid,
        index,
        ...(bus === '' ? {} : { busId: plainBusId(bus) }),
        model: textFrom('nvmlDeviceGetName', handle),
        serial: textFrom('nvmlDeviceGetSerial', handle),
        driver,
      };
      devices.push(openDevice(library, handle, id));
    }
    // Handles change when GPUs come and go.
    const now = devices.map((d) => `${d.handle}${d.id.uuid}`).join();
    if (now !== listened) {
      const pending = events?.take() ?? [];
      closeEvents();
      const opened = openXidEvents(library, devices);
      events = 'because' in opened ? undefined : opened;
      noXids = 'because' in opened ? opened.because : undefined;
      listened = now;
      late.push(...pending);
    }
    for (const [uuid, entry] of seen) {
      if (!devices.some((d) => d.id.uuid === uuid) && entry.state === 'ok') {
        entry.state = 'failed';
        entry.because = 'it is no longer there';
      }
    }
  };

  const read = (device: Device, group: Group): readonly GpuReading[] => {
    const entry = seen.get(device.id.uuid) ?? { id: device.id, state: 'ok' as GpuState, because: '' };
    entry.id = device.id;
    seen.set(device.id.uuid, entry);
    try {
      const readings = group === 'fast' ? readFast(device) : group === 'medium' ? readMedium(device) : readSlow(device);
      entry.state = device.needsReset() ? 'degraded' : 'ok';
      entry.because = device.needsReset() ? wordsOf(Return.RESET_REQUIRED) : '';
      return readings;
    } catch (error) {
      if (!(error instanceof Unusable) || SESSION_LOST.has(error.code)) throw error;
      entry.state = 'failed';
      entry.because = wordsOf(error.code);
      return [];
    }
  };

  return {
    sample(group) {
      library.spent();
      const readings: GpuReading[] = [];
      const refusals = new Map<string, Refusal>();
      let lost: Sample['lost'];
      const xids: Xid[] = [];
      try {
        if (!open) openSession();
        // What was plugged, pulled out, lost or repaired is found here.
        else if (group === 'slow') discover();
        for (const device of devices) {
          readings.push(...read(device, group));
          for (const refusal of device.refusals()) refusals.set(`${refusal.call} ${refusal.code}`, refusal);
        }
        if (group === 'fast') xids.push(...late, ...(events?.take() ?? []));
        if (group === 'fast') late = [];
      } catch (error) {
        if (!(error instanceof Unusable)) throw error;
        lost = { code: error.code, because: wordsOf(error.code) };
        closeSession();
      }
      for (const { id, state, because } of seen.values()) {
        const gone: GpuState = lost ? 'failed' : state;
        if (group === 'medium' && gone === 'ok') continue;
        readings.push({ id, numbers: {}, state: gone, because: lost ? lost.because : because });
      }
      const { ms, slowest } = library.spent();
      return {
        readings,
        refusals: [...refusals.values()],
        spentMs: ms,
        slowest,
        cuda,
        xids,
        noXids,
        ...(lost ? { lost } : {}),
      };
    },
    close: closeSession,
  };
}
