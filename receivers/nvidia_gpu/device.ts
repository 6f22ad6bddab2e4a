/** One GPU of a session: its handle, what it does not support, and calls that know what an answer means for it. */
import type { GpuIdentity } from '../../pipeline/kit/gpu-signals.ts';
import { type FunctionName, type Library, type Refusal, Return } from './library.ts';

/** This GPU, or the whole session, cannot be used: NVML's code says why. */
export class Unusable extends Error {
  readonly code: number;
  constructor(code: number) {
    super(`NVML answered ${code}`);
    this.code = code;
  }
}

const UNUSABLE: ReadonlySet<number> = new Set([
  Return.UNINITIALIZED,
  Return.DRIVER_NOT_LOADED,
  Return.LIB_RM_VERSION_MISMATCH,
  Return.GPU_IS_LOST,
  Return.GPU_NOT_FOUND,
]);

/** Answers that stay as they are for this GPU and driver: not asked for again. */
const NEVER: ReadonlySet<number> = new Set([Return.NOT_SUPPORTED, Return.FUNCTION_NOT_FOUND]);

/** A value of nvmlDeviceGetFieldValues that is wanted; `scope` is a link or the like. */
export interface FieldWish {
  readonly id: number;
  readonly scope?: number;
}

export interface Device {
  readonly id: GpuIdentity;
  readonly handle: bigint;
  readonly library: Library;
  /** Calls with the handle first. True if the answer is OK. Throws Unusable. */
  ask(name: FunctionName, ...args: (number | bigint | Buffer | null)[]): boolean;
  /** As `ask`, and gives NVML's code. */
  code(name: FunctionName, ...args: (number | bigint | Buffer | null)[]): number;
  /** An unsigned int that a function writes; `which` picks among several (a sensor, a clock). */
  uint(name: FunctionName, which?: number): number | undefined;
  ulong(name: FunctionName, ...which: number[]): number | undefined;
  /** Values by the place of their wish; undefined where there is none. */
  fields(wishes: readonly FieldWish[]): readonly (number | undefined)[];
  needsReset(): boolean;
  /** What was refused since the last call of this. */
  refusals(): readonly Refusal[];
  /** Kept between rounds by whoever reads a group. */
  readonly memory: { gpm?: bigint[] | null; gpmAt?: number; sampledUntil: bigint; links?: number; migs?: Device[] };
  close(): void;
}

const FIELD_BYTES = 40;
/** Rounds after which "not supported" is asked once more: a setting may have changed. */
const ASK_AGAIN = 600;

export function openDevice(library: Library, handle: bigint, id: GpuIdentity): Device {
  const never = new Map<string, number>();
  const refusals = new Map<string, Refusal>();
  const out = Buffer.alloc(8);
  let fieldBuffer = Buffer.alloc(0);
  let reset = false;
  let calls = 0;

  const judge = (name: FunctionName, key: string, code: number): number => {
    if (code === Return.OK) return code;
    if (UNUSABLE.has(code)) throw new Unusable(code);
    if (NEVER.has(code)) never.set(key, calls);
    else if (code === Return.RESET_REQUIRED) reset = true;
    else if (code !== Return.NOT_FOUND && code !== Return.INVALID_ARGUMENT) refusals.set(name, { call: name, code });
    return code;
  };

  const skipped = (key: string): boolean => {
    const since = never.get(key);
    if (since === undefined) return false;
    if (calls - since < ASK_AGAIN * 30) return true;
    never.delete(key);
    return false;
  };

  const device: Device = {
    id,
    handle,
    library,
    memory: { sampledUntil: 0n },
    code(name, ...args) {
      calls++;
      return judge(name, name, library.call(name, handle, ...args));
    },
    ask(name, ...args) {
      calls++;
      if (skipped(name)) return false;
      return judge(name, name, library.call(name, handle, ...args)) === Return.OK;
    },
    uint(name, which) {
      calls++;
      const key = which === undefined ? name : `${name} ${which}`;
      if (skipped(key)) return undefined;
      const code = which === undefined ? library.call(name, handle, out) : library.call(name, handle, which, out);
      return judge(name, key, code) === Return.OK ? out.readUInt32LE(0) : undefined;
    },
    ulong(name, ...which) {
      calls++;
      const key = which.length === 0 ? name : `${name} ${which.join(' ')}`;
      if (skipped(key)) return undefined;
      return judge(name, key, library.call(name, handle, ...which, out)) === Return.OK
        ? Number(out.readBigUInt64LE(0))
        : undefined;
    },
    fields(wishes) {
      if (fieldBuffer.length < wishes.length * FIELD_BYTES) fieldBuffer = Buffer.alloc(wishes.length * FIELD_BYTES);
      const found: (number | undefined)[] = new Array(wishes.length).fill(undefined);
      const asked: number[] = [];
      for (const [i, wish] of wishes.entries()) {
        if (skipped(`field ${wish.id} ${wish.scope ?? 0}`)) continue;
        const at = asked.length * FIELD_BYTES;
        fieldBuffer.fill(0, at, at + FIELD_BYTES);
        fieldBuffer.writeUInt32LE(wish.id, at);
        fieldBuffer.writeUInt32LE(wish.scope ?? 0, at + 4);
        asked.push(i);
      }
      calls++;
      if (asked.length === 0 || skipped('nvmlDeviceGetFieldValues')) return found;
      const code = library.call('nvmlDeviceGetFieldValues', handle, asked.length, fieldBuffer);
      if (judge('nvmlDeviceGetFieldValues', 'nvmlDeviceGetFieldValues', code) !== Return.OK) return found;
      for (const [place, i] of asked.entries()) {
        const at = place * FIELD_BYTES;
        const wish = wishes[i]!;
        const answer = fieldBuffer.readInt32LE(at + 28);
        if (answer === Return.OK) found[i] = fieldValue(fieldBuffer, at);
        // Ids that a driver does not know are INVALID_ARGUMENT; they will not become known.
        else if (answer === Return.INVALID_ARGUMENT) never.set(`field ${wish.id} ${wish.scope ?? 0}`, calls);
        else judge('nvmlDeviceGetFieldValues', `field ${wish.id} ${wish.scope ?? 0}`, answer);
      }
      return found;
    },
    needsReset: () => reset,
    refusals() {
      const found = [...refusals.values()];
      refusals.clear();
      return found;
    },
    close() {
      for (const sample of device.memory.gpm ?? []) library.call('nvmlGpmSampleFree', sample);
      delete device.memory.gpm;
    },
  };
  return device;
}

/** The value of an nvmlFieldValue_t, by its type. */
function fieldValue(buffer: Buffer, at: number): number | undefined {
  switch (buffer.readUInt32LE(at + 24)) {
    case 0:
      return buffer.readDoubleLE(at + 32);
    case 1:
      return buffer.readUInt32LE(at + 32);
    case 2:
    case 3:
      return Number(buffer.readBigUInt64LE(at + 32));
    case 4:
      return Number(buffer.readBigInt64LE(at + 32));
    case 5:
      return buffer.readInt32LE(at + 32);
    case 6:
      return buffer.readUInt16LE(at + 32);
    default:
      return undefined;
  }
}
