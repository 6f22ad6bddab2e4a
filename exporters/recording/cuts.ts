/**
 * Recordings of incidents, cut out of the ring: from some minutes before the incident began until some after it ended. A cut
 * grows while its incident is open, so it is there when the daemon dies, and whatever the ring loses stays in it.
 */
import { join } from 'node:path';
import { type KeptFolder, namePart, stamp } from '../../pipeline/kit/kept-files.ts';
import type { Incident } from '../../pipeline/kit/verdict.ts';
import { decompress } from '../../pipeline/wire/compression.ts';
import { appendWhole, type Ring, readSegment } from './ring.ts';

export interface CutOptions {
  readonly folder: KeptFolder;
  readonly ring: Ring;
  readonly ending: string;
  readonly beforeMs: number;
  readonly afterMs: number;
  /** An incident that stays open longer is cut off here, milliseconds since its beginning. */
  readonly longestMs: number;
  readonly keep: { readonly files: number; readonly bytes: number; readonly ageMs: number };
  readonly append?: typeof appendWhole;
}

interface Cut {
  readonly file: string;
  readonly startedMs: number;
  /** Undefined while the incident is open. */
  endedMs: number | undefined;
  /** Whether what the ring had from before is in the file. */
  primed: boolean;
}

export const CUT_FILE = /^incident_\d{8}T\d{6}Z_.*\.jsonl(\.gz|\.zst)?$/;
/** More at once are one storm, whose first cuts show it. */
const MOST_AT_ONCE = 16;

export interface Cuts {
  /** News of an incident. False if so many are cut already that it gets none. */
  follow(incident: Incident): boolean;
  /** A piece was appended to the ring: the same goes into every open cut. Rejects with the system's error; all were tried. */
  piece(piece: Uint8Array, nowMs: number): Promise<void>;
  open(): number;
}

const isWhole = async (bytes: Uint8Array, ending: string): Promise<boolean> => {
  if (ending === '.jsonl') return bytes.at(-1) === 10;
  return decompress(bytes, ending === '.jsonl.gz' ? 'gzip' : 'zstd', 2 ** 30).then(
    () => true,
    () => false,
  );
};

export function createCuts(options: CutOptions): Cuts {
  const { folder, ring, ending, beforeMs, afterMs, longestMs, keep, append = appendWhole } = options;
  const cuts = new Map<string, Cut>();
  /** Done; news that come late must not begin them again. */
  const done = new Set<string>();

  /** All of the ring that the cut asks for; the piece that was appended last is in it. */
  const prime = async (cut: Cut) => {
    const from = cut.startedMs - beforeMs;
    for (const [i, segment] of [...ring.segments].entries()) {
      const next = ring.segments[i + 1];
      if (next && next.startMs <= from) continue;
      if (!segment.name.endsWith(ending)) continue;
      const bytes = await readSegment(folder, segment);
      if (bytes.length === 0) continue;
      // A process that was killed may have left half a piece, behind which nothing of the cut could be read.
      if (segment.former && !(await isWhole(bytes, ending))) continue;
      await append(join(folder.path, cut.file), bytes);
    }
  };

  return {
    open: () => cuts.size,
    follow(incident) {
      if (done.has(incident.id)) return true;
      const startedMs = Date.parse(incident.impact.started_at);
      const endedMs = incident.state === 'resolved' ? Date.parse(incident.impact.ended_at ?? '') : undefined;
      const known = cuts.get(incident.id);
      if (known) {
        known.endedMs = endedMs;
        return true;
      }
      if (cuts.size >= MOST_AT_ONCE || !Number.isFinite(startedMs)) return false;
      cuts.set(incident.id, {
        file: `incident_${stamp(startedMs)}_${namePart(incident.service)}_${namePart(incident.id)}${ending}`,
        startedMs,
        endedMs,
        primed: false,
      });
      return true;
    },
    async piece(piece, nowMs) {
      let failure: unknown;
      for (const [id, cut] of [...cuts]) {
        // The disk is behind.
        if (!cut.primed && nowMs < cut.startedMs - beforeMs) continue;
        try {
          if (cut.primed) await append(join(folder.path, cut.file), piece);
          else {
            // What a process before this one cut of the same incident would be in it twice.
            await folder.remove(cut.file);
            await prime(cut);
            cut.primed = true;
          }
        } catch (error) {
          // What is in it stays; the others are tried all the same.
          failure = error;
        }
        const ended = cut.endedMs !== undefined && !(nowMs < cut.endedMs + afterMs);
        if (ended || nowMs > cut.startedMs + longestMs) {
          cuts.delete(id);
          done.add(id);
          if (done.size > 1000) done.delete(done.values().next().value!);
        }
      }
      const growing = new Set([...cuts.values()].map((c) => c.file));
      await folder.prune(CUT_FILE, keep, nowMs, (file) => growing.has(file.name));
      if (failure !== undefined) throw failure;
    },
  };
}
