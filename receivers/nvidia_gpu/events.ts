/** XIDs through NVML's event set: registered once a session, and emptied with every look at the fast group. */
import type { Device } from './device.ts';
import { type Library, Return, wordsOf } from './library.ts';

export interface Xid {
  readonly xid: number;
  readonly uuid: string;
  readonly busId: string;
}

export interface XidEvents {
  /** What happened since the last call. Never waits. */
  take(): Xid[];
  close(): void;
}

const XID = 8n;
const EVENT_BYTES = 32;
/** Of one call: a GPU that reports without end must not hold us up. */
const MOST = 64;

/** Registers for the XIDs of all devices that have them; a sentence's clause says why there are none. */
export function openXidEvents(library: Library, devices: readonly Device[]): XidEvents | { readonly because: string } {
  const number = Buffer.alloc(8);
  const event = Buffer.alloc(EVENT_BYTES);
  const made = library.call('nvmlEventSetCreate', number);
  if (made !== Return.OK) return { because: `event sets: ${wordsOf(made)}` };
  const set = number.readBigUInt64LE(0);
  const registered = new Map<bigint, Device>();
  let because = 'no GPU has such events';
  for (const device of devices) {
    const supported = library.call('nvmlDeviceGetSupportedEventTypes', device.handle, number);
    if (supported !== Return.OK || (number.readBigUInt64LE(0) & XID) === 0n) continue;
    const code = library.call('nvmlDeviceRegisterEvents', device.handle, XID, set);
    if (code === Return.OK) registered.set(device.handle, device);
    else because = `registering for events: ${wordsOf(code)}`;
  }
  const close = () => void library.call('nvmlEventSetFree', set);
  if (registered.size === 0 || !library.has('nvmlEventSetWait_v2')) {
    close();
    return { because: registered.size === 0 ? because : wordsOf(Return.FUNCTION_NOT_FOUND) };
  }
  return {
    take() {
      const found: Xid[] = [];
      for (let i = 0; i < MOST; i++) {
        if (library.call('nvmlEventSetWait_v2', set, event, 0) !== Return.OK) break;
        const who = registered.get(event.readBigUInt64LE(0))?.id;
        if (!who || (event.readBigUInt64LE(8) & XID) === 0n) continue;
        found.push({ xid: Number(event.readBigUInt64LE(16)), uuid: who.uuid, busId: who.busId ?? '' });
      }
      return found;
    },
    close,
  };
}
