/** Records what flows into a ring on disk, and cuts a recording out of it around every incident. */
import { options, t } from '../../config/schema.ts';
import { defineExporter } from '../../pipeline/component.ts';
import { describeError, RetryableError } from '../../pipeline/errors.ts';
import type { Timer } from '../../pipeline/kit/clock.ts';
import { openKeptFolder } from '../../pipeline/kit/kept-files.ts';
import {
  ALERT_EVENT,
  FINDING_EVENT,
  INCIDENT_EVENT,
  INSUFFICIENT_EVENT,
  incidentOf,
  TOPOLOGY_EVENT,
} from '../../pipeline/kit/verdict.ts';
import { type Batch, logsBatch, SIGNALS, type Signal } from '../../pipeline/model.ts';
import { compress, HAS_ZSTD } from '../../pipeline/wire/compression.ts';
import { encodeJsonLine } from '../../pipeline/wire/otlp/index.ts';
import { createCuts } from './cuts.ts';
import { openRing } from './ring.ts';

const config = options({
  directory: t.path({
    description: 'The folder for the recordings, made if it is missing. Only the daemon’s user can read what is in it.',
    examples: ['/var/lib/enginelight/recordings'],
  }),
  keep: t.duration({
    description: 'So much of the past is always there, as long as `max_megabytes` and the disk allow it.',
    default: '1h',
    minimum: '1m',
  }),
  max_megabytes: t.integer({
    description: 'The ring is not larger than this many MiB; the oldest goes first.',
    default: 1024,
    minimum: 1,
  }),
  segment: t.duration({
    description: 'How much time one file of the ring covers.',
    default: '1m',
    minimum: '1s',
  }),
  compression: t.choice(['gzip', 'zstd', 'none'], {
    description: 'zstd needs Node 22.15 or later, to write and to read.',
    default: 'gzip',
  }),
  flush_interval: t.duration({
    description: 'How long data waits in memory before it is compressed and written.',
    default: '5s',
    minimum: '100ms',
  }),
  incidents: t.section(
    {
      enabled: t.boolean({ description: 'Cut a recording around every incident.', default: true }),
      before: t.duration({
        description: 'So much from before the incident is in it: what is normal is known from there.',
        default: '15m',
      }),
      after: t.duration({ description: 'So much from after its end is in it.', default: '5m' }),
      max_duration: t.duration({
        description: 'A recording ends this long after its incident began, even if that goes on.',
        default: '2h',
        minimum: '1m',
      }),
      max_files: t.integer({
        description: 'So many incidents are kept, the oldest are deleted; 0 is no limit.',
        default: 50,
        minimum: 0,
      }),
      max_megabytes: t.integer({
        description: 'The recordings of incidents together are not larger than this many MiB; 0 is no limit.',
        default: 2048,
        minimum: 0,
      }),
      max_days: t.integer({
        description: 'Recordings of incidents older than this many days are deleted; 0 keeps them.',
        default: 90,
        minimum: 0,
      }),
    },
    { description: 'Recordings that are cut out of the ring and stay when it has moved on.' },
  ),
});

const ENDINGS = { gzip: '.jsonl.gz', zstd: '.jsonl.zst', none: '.jsonl' } as const;
/** A piece is written when it is this large, or after `flush_interval`, bytes before compression. */
const PIECE = 4 << 20;
/** The pipeline waits while this much waits for the disk, bytes before compression. */
const PATIENCE = 16 << 20;
/** What a replay finds out again by itself. */
const VERDICTS = new Set([FINDING_EVENT, INCIDENT_EVENT, INSUFFICIENT_EVENT, ALERT_EVENT, TOPOLOGY_EVENT]);

interface Piece {
  readonly lines: Uint8Array[];
  bytes: number;
  readonly items: Map<Signal, number>;
}
const newPiece = (): Piece => ({ lines: [], bytes: 0, items: new Map() });

/** What did not come from the daemon's own detectors. */
function withoutVerdicts(batch: Batch): Batch {
  if (batch.signal !== 'logs' || !batch.items.some((record) => VERDICTS.has(record.eventName))) return batch;
  return logsBatch(batch.items.filter((record) => !VERDICTS.has(record.eventName)));
}

export const recordingExporter = defineExporter({
  type: 'recording',
  summary: 'The last hour on disk, and a recording of every incident, to diagnose again',
  stability: 'beta',
  signals: SIGNALS,
  config,
  validate(config) {
    if (config.compression !== 'zstd' || HAS_ZSTD) return [];
    return [
      {
        path: ['compression'],
        message: `zstd needs Node 22.15 or later, this is ${process.versions.node}; use gzip`,
      },
    ];
  },
  async start(config, { id, log, clock, meter, status }) {
    const folder = await openKeptFolder(config.directory).catch((error) => {
      throw new Error(`${config.directory} (exporters::${id}::directory) cannot be used: ${describeError(error)}`, {
        cause: error,
      });
    });
    const ending = ENDINGS[config.compression];
    const ring = await openRing({
      folder,
      ending,
      segmentMs: config.segment,
      keepMs: config.keep,
      maxBytes: config.max_megabytes * 2 ** 20,
    });
    const { incidents } = config;
    const cuts = createCuts({
      folder,
      ring,
      ending,
      beforeMs: incidents.before,
      afterMs: incidents.after,
      longestMs: incidents.max_duration,
      keep: {
        files: incidents.max_files,
        bytes: incidents.max_megabytes * 2 ** 20,
        ageMs: incidents.max_days * 86_400_000,
      },
    });
    let piece = newPiece();
    let waiting = 0;
    let timer: Timer | undefined;
    let writing: Promise<void> = Promise.resolve();
    let stopped: Promise<void> | undefined;
    let complained = 0;
    meter.gauge('exporter_recording_bytes', 'Size of the ring on disk.', () => ring.bytes(), 'By');
    meter.gauge(
      'exporter_recording_covered',
      'How much of the past the ring holds.',
      () => (ring.segments[0] ? Math.max(0, (clock.now() - ring.segments[0].startMs) / 1000) : 0),
      's',
    );
    meter.gauge('exporter_recording_cuts_open', 'Incidents being recorded.', () => cuts.open(), '{incident}');

    const lost = (piece: Piece) => {
      for (const [signal, items] of piece.items) {
        meter.failed(signal, items);
        meter.dropped(signal, items, 'disk');
      }
    };

    const troubled = (error: unknown) => {
      log.error('A recording cannot be written; the daemon goes on. Make room or fix its folder.', {
        directory: config.directory,
        error,
      });
      status('recoverable_error', `${config.directory} cannot be written: ${describeError(error)}`);
    };

    const write = async (ready: Piece, now: number) => {
      let bytes: Uint8Array;
      try {
        const text = Buffer.concat(ready.lines);
        bytes = config.compression === 'none' ? text : await compress(text, config.compression);
        await ring.append(bytes, now);
      } catch (error) {
        lost(ready);
        troubled(error);
        return;
      }
      for (const [signal, items] of ready.items) meter.sent(signal, items);
      if (ring.cutShort() > complained) {
        complained = ring.cutShort();
        log.warn('The ring is shorter than it should be: it is full, or its disk. Make room, or raise max_megabytes.', {
          directory: config.directory,
          files: ring.segments.length,
        });
      }
      try {
        await cuts.piece(bytes, now);
        status('ok');
      } catch (error) {
        troubled(error);
      }
    };

    const flush = (): Promise<void> => {
      timer?.cancel();
      timer = undefined;
      if (piece.bytes === 0) return writing;
      const ready = piece;
      piece = newPiece();
      const now = clock.now();
      writing = writing
        .then(() => write(ready, now))
        .finally(() => {
          waiting -= ready.bytes;
        });
      return writing;
    };

    return {
      consume(given) {
        if (stopped) throw new RetryableError(`${id} is stopping`, { reason: 'shutdown' });
        if (given.signal === 'logs' && incidents.enabled) {
          for (const record of given.items) {
            if (record.eventName !== INCIDENT_EVENT) continue;
            const incident = incidentOf(record);
            if (incident && !cuts.follow(incident))
              log.warn('An incident gets no recording of its own: too many are open.', { incident: incident.id });
          }
        }
        const batch = withoutVerdicts(given);
        if (batch.items.length === 0) return;
        const line = encodeJsonLine(batch);
        piece.lines.push(line);
        piece.bytes += line.length;
        waiting += line.length;
        piece.items.set(batch.signal, (piece.items.get(batch.signal) ?? 0) + batch.items.length);
        if (piece.bytes >= PIECE) flush();
        else timer ??= clock.after(config.flush_interval, () => void flush());
        if (waiting > PATIENCE) return writing;
      },
      stop(deadline) {
        stopped ??= (async () => {
          const late = new Promise<'late'>((done) => {
            if (deadline?.aborted) done('late');
            deadline?.addEventListener('abort', () => done('late'), { once: true });
          });
          await Promise.race([flush(), late]);
        })();
        return stopped;
      },
    };
  },
});
