/**
 * The sending queue on disk: one spool for each signal and shard of an exporter, in a folder that one process uses at a
 * time. When the disk takes nothing more, data is accepted into memory only, which is said once and counted.
 */
import { mkdir, open, readFile, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { Context } from '../component.ts';
import { describeError } from '../errors.ts';
import { type Batch, itemCount, type Signal } from '../model.ts';
import { createInterner, openRequest } from '../wire/otlp/index.ts';
import type { Entry } from './deliver-lane.ts';
import type { StorageConfig } from './deliver-options.ts';
import { openSpool, type Spool, type SpoolRecord } from './deliver-spool.ts';

export interface QueueOnDisk {
  /**
   * Writes an accepted batch. 'full' if it has no room there; without a record if the disk failed and the batch is in
   * memory only. `forget`: the batch need not stay in memory.
   */
  store(batch: Batch, payload: Uint8Array): Promise<{ record: SpoolRecord | undefined; forget: boolean } | 'full'>;
  /** The batch of an entry; undefined (counted, said) if the disk has lost it. */
  load(entry: Entry): Promise<Batch | undefined>;
  done(entry: Entry): void;
  /** What a former run left. */
  recovered(): Entry[];
}

export interface QueuesOnDisk {
  queue(signal: Signal, shard: number): Promise<QueueOnDisk>;
  close(): Promise<void>;
}

/** So many accepted batches are kept in memory as well, so that a queue that keeps up never reads its disk. */
const HOT = 32;

const locked = new Set<string>();

/** Opens the exporter's folder; rejects, naming it, if it cannot be used or another process uses it. */
export async function openQueues(config: StorageConfig, context: Context): Promise<QueuesOnDisk> {
  const { log, meter, clock } = context;
  const folder = join(config.directory, `${context.kind}-${context.id.replace(/[^A-Za-z0-9_.-]/g, '-')}`);
  try {
    await mkdir(folder, { recursive: true });
    await lock(folder);
  } catch (error) {
    throw new Error(
      `the queue of ${context.id} cannot be kept in ${folder} (sending_queue.storage.directory): ${describeError(error)}`,
      { cause: error },
    );
  }
  const spools: Spool[] = [];
  const corrupt = meter.counter(
    'exporter_queue_corrupt_records',
    'Stretches of the queue on disk that were damaged and skipped.',
    '{record}',
  );
  const diskErrors = meter.counter(
    'exporter_queue_disk_errors',
    'Writes that the disk of the queue refused.',
    '{error}',
  );
  meter.gauge(
    'exporter_queue_disk_bytes',
    'What the queue takes on disk.',
    () => spools.reduce((n, s) => n + s.bytes(), 0),
    'By',
  );
  let diskFailing = false;

  async function queue(signal: Signal, shard: number): Promise<QueueOnDisk> {
    const spool = await openSpool({
      directory: join(folder, shard === 0 ? signal : `${signal}-${shard}`),
      storage: config,
      clock,
      log,
      onCorrupt: () => corrupt.add(1, { signal }),
    });
    spools.push(spool);
    if (spool.recovered.length > 0) {
      log.info('Going on with the queue that the last run left on disk.', {
        signal,
        batches: spool.recovered.length,
        items: spool.recovered.reduce((n, r) => n + r.items, 0),
      });
    }
    const interner = createInterner();
    let hot = 0;
    return {
      recovered: () =>
        spool.recovered.map((record) => ({ items: record.items, bytes: record.length, batch: undefined, record })),
      async store(batch, payload) {
        try {
          const record = await spool.append(payload, itemCount(batch));
          if (record === 'full') return 'full';
          if (diskFailing) {
            diskFailing = false;
            log.info('The disk takes the queue again.', { directory: folder });
          }
          const forget = hot >= HOT;
          if (!forget) hot++;
          return { record, forget };
        } catch (error) {
          diskErrors.add(1, { signal });
          if (!diskFailing) {
            diskFailing = true;
            log.error(
              'The disk does not take the queue. Data is accepted into memory only, a restart would lose it. Make room or fix the disk.',
              { directory: folder, error },
            );
          }
          return { record: undefined, forget: false };
        }
      },
      async load(entry) {
        if (entry.batch || !entry.record) return entry.batch;
        try {
          return openRequest(signal, await spool.read(entry.record), { interner });
        } catch (error) {
          corrupt.add(1, { signal });
          meter.dropped(signal, entry.items, 'disk');
          log.error('A batch of the queue on disk cannot be read and is skipped.', {
            dropped_items: entry.items,
            error,
          });
          return undefined;
        }
      },
      done(entry) {
        if (!entry.record) return;
        if (entry.batch && hot > 0) hot--;
        spool.done(entry.record);
      },
    };
  }

  return {
    queue,
    async close() {
      for (const spool of spools) await spool.close();
      await unlink(join(folder, 'lock')).catch(() => {});
      locked.delete(folder);
    },
  };
}

/** Two daemons in one folder would send and delete each other's data. */
async function lock(folder: string): Promise<void> {
  if (locked.has(folder)) throw new Error('another exporter of this process uses it');
  const path = join(folder, 'lock');
  for (let tries = 0; ; tries++) {
    try {
      const handle = await open(path, 'wx');
      await handle.write(String(process.pid));
      await handle.close();
      locked.add(folder);
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST' || tries > 0) throw error;
      const pid = Number(await readFile(path, 'utf8').catch(() => ''));
      if (pid > 0 && pid !== process.pid && alive(pid)) throw new Error(`process ${pid} uses it (${path})`);
      await unlink(path);
    }
  }
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
