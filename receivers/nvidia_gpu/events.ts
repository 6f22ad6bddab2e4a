/** XIDs as they happen: NVML's event set, waited for in a thread of its own. */
import { plainBusId } from '../../pipeline/kit/gpu-signals.ts';
import { type Library, Return, wordsOf } from './library.ts';

export type EventSaid =
  | { readonly xid: number; readonly uuid: string; readonly busId: string }
  /** No events can be had: the thread ends. */
  | { readonly unavailable: string }
  /** The session broke and is opened again. */
  | { readonly broken: string };

const XID = 8n;
const EVENT_BYTES = 32;
const RETRY_MS = 5000;

/** Waits until `stop[0]` is 1. Blocks its thread. */
export function watchXids(library: Library, stop: Int32Array, waitMs: number, say: (said: EventSaid) => void): void {
  const number = Buffer.alloc(8);
  const word = Buffer.alloc(96);
  const event = Buffer.alloc(EVENT_BYTES);
  const pause = () => Atomics.wait(stop, 0, 0, RETRY_MS);
  const text = (buffer: Buffer) => buffer.toString('latin1').split('\0', 1)[0]!;

  /** The set and who is in it; a sentence's clause if it cannot be; undefined to try again later. */
  const open = (): { set: bigint; devices: Map<bigint, { uuid: string; busId: string }> } | string | undefined => {
    if (library.call('nvmlInit_v2') !== Return.OK) return undefined;
    const made = library.call('nvmlEventSetCreate', number);
    if (made !== Return.OK) return `event sets: ${wordsOf(made)}`;
    const set = number.readBigUInt64LE(0);
    const devices = new Map<bigint, { uuid: string; busId: string }>();
    let refused = 'no GPU has events';
    const count = library.call('nvmlDeviceGetCount_v2', number) === Return.OK ? number.readUInt32LE(0) : 0;
    for (let index = 0; index < count; index++) {
      if (library.call('nvmlDeviceGetHandleByIndex_v2', index, number) !== Return.OK) continue;
      const handle = number.readBigUInt64LE(0);
      const supported = library.call('nvmlDeviceGetSupportedEventTypes', handle, number);
      if (supported !== Return.OK || (number.readBigUInt64LE(0) & XID) === 0n) continue;
      const registered = library.call('nvmlDeviceRegisterEvents', handle, XID, set);
      if (registered !== Return.OK) {
        refused = `registering for events: ${wordsOf(registered)}`;
        continue;
      }
      const uuid = library.call('nvmlDeviceGetUUID', handle, word, word.length) === Return.OK ? text(word) : '';
      const pci = Buffer.alloc(68);
      library.call('nvmlDeviceGetPciInfo_v3', handle, pci);
      devices.set(handle, { uuid, busId: plainBusId(text(pci.subarray(36))) });
    }
    return devices.size === 0 ? refused : { set, devices };
  };

  while (Atomics.load(stop, 0) === 0) {
    const opened = open();
    if (opened === undefined) {
      pause();
      continue;
    }
    if (typeof opened === 'string') {
      library.call('nvmlShutdown');
      say({ unavailable: opened });
      return;
    }
    let code: number = Return.OK;
    while (Atomics.load(stop, 0) === 0 && (code === Return.OK || code === Return.TIMEOUT)) {
      code = library.call('nvmlEventSetWait_v2', opened.set, event, waitMs);
      if (code !== Return.OK || (event.readBigUInt64LE(8) & XID) === 0n) continue;
      const who = opened.devices.get(event.readBigUInt64LE(0));
      if (who) say({ xid: Number(event.readBigUInt64LE(16)), ...who });
    }
    library.call('nvmlEventSetFree', opened.set);
    library.call('nvmlShutdown');
    if (Atomics.load(stop, 0) !== 0) return;
    if (code === Return.FUNCTION_NOT_FOUND) {
      say({ unavailable: wordsOf(code) });
      return;
    }
    say({ broken: wordsOf(code) });
    pause();
  }
}
