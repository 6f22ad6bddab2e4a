/** Writes everything to a file: OTLP as lines of JSON (a recording, and what the Collector reads), or as protobuf. */
import { options, t } from '../../config/schema.ts';
import { defineExporter } from '../../pipeline/component.ts';
import { describeError, RetryableError } from '../../pipeline/errors.ts';
import { type Batch, logsBatch, metricsBatch, type Resource, SIGNALS, tracesBatch } from '../../pipeline/model.ts';
import { HAS_ZSTD } from '../../pipeline/wire/compression.ts';
import { encodeJsonLine, encodeRequest } from '../../pipeline/wire/otlp/index.ts';
import { valueText } from '../../pipeline/wire/prometheus-text-names.ts';
import { openWriter, type Writer } from './writer.ts';

const config = options({
  path: t.path({
    description: 'The file. With `group_by` it contains one `*`, which stands for the value of the attribute.',
    examples: ['./enginelight.jsonl', '/var/log/enginelight/*/otlp.jsonl'],
  }),
  format: t.choice(['json', 'proto'], {
    description:
      '`json`: one OTLP request per line; `proto`: each request in protobuf behind its length (4 bytes, big-endian).',
    default: 'json',
  }),
  append: t.boolean({
    description: 'Go on with a file that exists; otherwise it is emptied at the start.',
    default: true,
  }),
  compression: t.choice(['none', 'gzip', 'zstd'], {
    description: 'The file as a whole can be read with gunzip or unzstd. zstd needs Node 22.15 or later.',
    default: 'none',
  }),
  rotation: t.optional(
    t.section(
      {
        max_megabytes: t.integer({
          description: 'A file is finished before it gets larger than this many MiB; 0 is no limit.',
          default: 100,
          minimum: 0,
        }),
        interval: t.duration({
          description: 'A file is finished when it is this old; 0 is no limit.',
          default: '0',
        }),
        max_days: t.integer({
          description: 'Finished files older than this many days are deleted; 0 keeps them.',
          default: 0,
          minimum: 0,
        }),
        max_backups: t.integer({
          description: 'So many finished files are kept, the oldest are deleted; 0 keeps all.',
          default: 100,
          minimum: 0,
        }),
        localtime: t.boolean({
          description: 'Local time instead of UTC in the names of finished files.',
          default: false,
        }),
      },
      {
        description: 'Begins a new file now and then; finished ones get the time into their name. Off unless written.',
      },
    ),
  ),
  flush_interval: t.duration({ description: 'How long data may wait in memory; 0 writes at once.', default: '1s' }),
  fsync: t.choice(['never', 'rotate', 'flush'], {
    description: 'When the disk is told to keep what was written: never, when a file is finished, or with every write.',
    default: 'rotate',
  }),
  group_by: t.optional(
    t.section(
      {
        enabled: t.boolean({ description: 'Write one file for each value.', default: true }),
        resource_attribute: t.string({
          description: 'The attribute of the resource whose value goes into the path.',
          default: 'fileexporter.path_segment',
        }),
        max_open_files: t.integer({
          description: 'So many files are open at once; the one unused for the longest is closed.',
          default: 100,
          minimum: 1,
        }),
      },
      { description: 'Splits data into several files. Off unless written.' },
    ),
  ),
  create_directory: t.withoutEffect('missing folders are made in any case'),
  directory_permissions: t.withoutEffect("the process's umask decides"),
  permissions: t.string({
    description: 'Who may read and write new files, in octal.',
    default: '0640',
    pattern: '^0?[0-7]{3}$',
  }),
});

/** A piece of a path made of a stranger's text: no folders, no hidden files. */
function segment(value: string): string {
  const clean = value.replace(/[^A-Za-z0-9._-]/g, '_').slice(0, 120);
  return /^\.*$/.test(clean) ? 'MISSING' : clean.replace(/^\.+/, '_');
}

/** The items of each resource attribute's value. */
function grouped(batch: Batch, attribute: string): Map<string, Batch> {
  const names = new Map<Resource, string>();
  const groups = new Map<string, Batch['items'][number][]>();
  for (const item of batch.items) {
    const resource = 'series' in item ? item.series.resource : item.resource;
    let name = names.get(resource);
    if (name === undefined) {
      name = segment(valueText(resource.attributes[attribute] ?? null));
      names.set(resource, name);
    }
    const group = groups.get(name);
    if (group) group.push(item);
    else groups.set(name, [item]);
  }
  const make = batch.signal === 'metrics' ? metricsBatch : batch.signal === 'traces' ? tracesBatch : logsBatch;
  return new Map([...groups].map(([name, items]) => [name, make(items as never)]));
}

export const fileExporter = defineExporter({
  type: 'file',
  summary: 'OTLP as lines of JSON in a file: a recording',
  stability: 'beta',
  signals: SIGNALS,
  config,
  validate(config) {
    const mistakes: { path: string[]; message: string }[] = [];
    const put = (path: string[], message: string) => void mistakes.push({ path, message });
    const stars = config.path.split('*').length - 1;
    if (config.group_by?.enabled && stars !== 1)
      put(['path'], 'path must contain exactly one * when group_by is enabled');
    if (!config.group_by?.enabled && stars > 0) put(['path'], 'a * in the path needs group_by');
    if (config.compression === 'zstd' && !HAS_ZSTD) {
      put(['compression'], `zstd needs Node 22.15 or later, this is ${process.versions.node}; use gzip`);
    }
    if (config.flush_interval < 0) put(['flush_interval'], 'flush_interval must not be negative');
    return mistakes;
  },
  async start(config, { id, log, clock, meter, status }) {
    const { rotation, group_by: group } = config;
    const writers = new Map<string, Promise<Writer>>();
    const errors = meter.counter('exporter_file_errors', 'Pieces that the disk did not take.', '{error}');
    let stopped: Promise<void> | undefined;

    const open = (path: string) =>
      openWriter({
        path,
        append: config.append,
        lines: config.format === 'json',
        compression: config.compression,
        fsync: config.fsync,
        flushMs: config.flush_interval,
        rotation: rotation && {
          maxBytes: rotation.max_megabytes * 2 ** 20,
          maxAgeMs: rotation.interval,
          maxDays: rotation.max_days,
          maxBackups: rotation.max_backups,
          localtime: rotation.localtime,
        },
        mode: Number.parseInt(config.permissions, 8),
        clock,
        log,
        kept: (signal, items) => meter.sent(signal, items),
        lost(signal, items) {
          errors.add(1);
          meter.failed(signal, items);
          meter.dropped(signal, items, 'disk');
        },
        failed: (error) =>
          error ? status('recoverable_error', `${path} cannot be written: ${describeError(error)}`) : status('ok'),
      });

    const writerFor = (path: string): Promise<Writer> => {
      let writer = writers.get(path);
      if (writer) writers.delete(path);
      else {
        writer = open(path);
        for (const [oldest, used] of writers) {
          if (writers.size < (group?.max_open_files ?? 1)) break;
          writers.delete(oldest);
          used.then((w) => w.close()).catch(() => {});
        }
        // One that cannot be opened is tried again with the next batch.
        writer.catch(() => writers.delete(path));
      }
      writers.set(path, writer);
      return writer;
    };

    const encode = (batch: Batch): Uint8Array => {
      if (config.format === 'json') return encodeJsonLine(batch);
      const body = encodeRequest(batch, 'protobuf');
      const record = Buffer.allocUnsafe(4 + body.length);
      record.writeUInt32BE(body.length);
      record.set(body, 4);
      return record;
    };

    const lost = (batch: Batch, path: string, error: unknown) => {
      errors.add(1);
      meter.failed(batch.signal, batch.items.length);
      meter.dropped(batch.signal, batch.items.length, 'disk');
      log.error('A file cannot be opened, its data is dropped. Make room or fix its folder.', { path, error });
      status('recoverable_error', `${path} cannot be opened: ${describeError(error)}`);
    };

    let only: Writer | undefined;
    if (!group?.enabled) {
      only = await open(config.path).catch((error) => {
        throw new Error(`${config.path} (exporters::file::path) cannot be opened: ${describeError(error)}`, {
          cause: error,
        });
      });
    }

    const writeGroups = async (batch: Batch, attribute: string) => {
      for (const [name, part] of grouped(batch, attribute)) {
        const path = config.path.replace('*', () => name);
        try {
          await (await writerFor(path)).write(encode(part), part.signal, part.items.length);
        } catch (error) {
          lost(part, path, error);
        }
      }
    };

    return {
      consume(batch) {
        if (stopped) throw new RetryableError(`${id} is stopping`, { reason: 'shutdown' });
        if (batch.items.length === 0) return;
        if (only) return only.write(encode(batch), batch.signal, batch.items.length);
        return writeGroups(batch, group?.resource_attribute ?? '');
      },
      stop(deadline) {
        stopped ??= (async () => {
          await only?.close(deadline);
          for (const writer of writers.values()) await (await writer.catch(() => undefined))?.close(deadline);
        })();
        return stopped;
      },
    };
  },
});
