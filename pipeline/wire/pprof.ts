/** A profile in pprof's format, uncompressed. Source: proto/profile.proto of google/pprof. */
import { BackwardWriter } from './protobuf/writer.ts';

export interface PprofProfile {
  /** Names of functions. */
  readonly frames: readonly string[];
  /** Numbers of frames, the innermost first, as pprof has them; and one value for each type. */
  readonly samples: Iterable<{ readonly stack: readonly number[]; readonly values: readonly number[] }>;
  /** What the values are: `['time', 'nanoseconds']`. */
  readonly types: readonly (readonly [string, string])[];
  /** Nanoseconds since the epoch, and how long. */
  readonly timeNanos: bigint;
  readonly durationNanos: number;
  readonly comment: string;
}

const VARINT = 0;
const BYTES = 2;
const tag = (field: number, wire: number) => (field << 3) | wire;

/** Each message is written back to front, so fields are in reverse here too. */
export function encodePprof(profile: PprofProfile): Uint8Array {
  const w = new BackwardWriter();
  /** The first string is always the empty one. */
  const strings = ['', ...profile.frames];
  const string = (text: string): number => strings.push(text) - 1;
  const types = profile.types.map(([type, unit]) => [string(type), string(unit)] as const);
  const comment = string(profile.comment);

  const message = (field: number, write: () => void) => {
    const before = w.length;
    write();
    w.room(24);
    w.varint(w.length - before);
    w.varint(tag(field, BYTES));
  };
  const number = (field: number, value: number) => {
    if (value === 0) return;
    w.room(24);
    w.int(value);
    w.varint(tag(field, VARINT));
  };
  const packed = (field: number, values: readonly number[], plus: number) =>
    message(field, () => {
      for (let i = values.length - 1; i >= 0; i--) {
        w.room(16);
        w.int(values[i]! + plus);
      }
    });

  number(14, types.length > 0 ? types[0]![0] : 0);
  number(13, comment);
  number(10, profile.durationNanos);
  if (profile.timeNanos > 0n) {
    w.room(24);
    w.varint64(profile.timeNanos);
    w.varint(tag(9, VARINT));
  }
  for (let i = strings.length - 1; i >= 0; i--) {
    w.text(strings[i]!);
    w.room(16);
    w.varint(tag(6, BYTES));
  }
  for (let i = profile.frames.length; i > 0; i--) {
    message(5, () => {
      number(2, i);
      number(1, i);
    });
    // A location of its own for every function.
    message(4, () => {
      message(4, () => number(1, i));
      number(1, i);
    });
  }
  const samples = [...profile.samples];
  for (let i = samples.length - 1; i >= 0; i--) {
    const { stack, values } = samples[i]!;
    message(2, () => {
      packed(2, values, 0);
      packed(1, stack, 1);
    });
  }
  for (let i = types.length - 1; i >= 0; i--) {
    message(1, () => {
      number(2, types[i]![1]);
      number(1, types[i]![0]);
    });
  }
  return w.take();
}
