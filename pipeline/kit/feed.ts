/** What receivers of files have in common: looking again and again, whom the files are about, and what is said of losses. */
import { hostname } from 'node:os';
import type { Context, Running } from '../component.ts';
import { describeError } from '../errors.ts';
import { type AnyValue, type Attributes, type Resource, resource, type Signal } from '../model.ts';
import { runEvery } from './every.ts';
import type { FeedConfig } from './feed-options.ts';
import { createFolderFeed, type WholeFile } from './new-files.ts';
import { entryOf } from './probe.ts';
import { attributesFromLabels } from './scrape-who.ts';
import { openStateFile } from './state-file.ts';
import { createTail } from './tail.ts';

const RESOURCES = 4096;

/**
 * Gives the resource of what is read: the labels' attributes win over what the files say, the host's name is there. An
 * engine's also has a replica; `machine` is for what the machine itself says.
 */
export function feedResources(
  labels: Readonly<Record<string, string>>,
  of: 'engine' | 'machine' = 'engine',
): (said: Attributes) => Resource {
  const fixed = attributesFromLabels(labels, 'keep');
  let known = new Map<string, Resource>();
  return (said) => {
    if (known.size > RESOURCES) known = new Map();
    return entryOf(known, JSON.stringify(said), () => {
      const out: Record<string, AnyValue> = Object.assign(
        Object.create(null),
        { 'host.name': hostname() },
        said,
        fixed,
      );
      if (of === 'engine') out['service.instance.id'] ??= out['host.name']!;
      return resource(out);
    });
  };
}

/** Counts and says what was lost: the first time and then with every tenfold. */
export function lossTeller(context: Pick<Context, 'meter' | 'log'>, signal: Signal) {
  const counts = new Map<string, number>();
  return (items: number, why: string, file: string): void => {
    context.meter.dropped(signal, items, 'bad_line');
    const kind = why.replace(/\d+/g, '#').slice(0, 60);
    if (counts.size > 1000) counts.clear();
    const before = counts.get(kind) ?? 0;
    counts.set(kind, before + items);
    if (before === 0 || Math.floor(Math.log10(before)) < Math.floor(Math.log10(before + items))) {
      context.log.warn('Something in a file cannot be used and is left out.', {
        file,
        because: why,
        so_far: before + items,
      });
    }
  };
}

export interface LineFeed {
  readonly maxLineBytes: number;
  readonly signal: Signal;
  /** Hands on what the lines say; rejects with a RetryableError to get them again. */
  take(lines: readonly string[], file: string): Promise<void>;
}

/** Tails the files of a config until it is stopped. */
export async function runLineFeed(config: FeedConfig, context: Context, feed: LineFeed): Promise<Running> {
  const { clock, log, meter } = context;
  const state = config.storage ? await openStateFile(config.storage.directory, context.id, log) : undefined;
  const tail = await createTail({
    include: config.include,
    startAt: config.start_at,
    maxLineBytes: feed.maxLineBytes,
    maxFiles: config.max_files,
    state,
    log,
    now: () => clock.now(),
    take: feed.take,
    lost: lossTeller(context, feed.signal),
  });
  meter.gauge('receiver_feed_files', 'Files that are read', () => tail.files, '{file}');
  meter.gauge('receiver_feed_behind', 'Bytes of files that are not read yet', () => tail.behind, 'By');
  return looking(
    config,
    context,
    () => tail.poll(),
    () => tail.close(),
  );
}

export interface FileFeed {
  readonly maxFileBytes: number;
  readonly signal: Signal;
  /** Hands on what the file says; rejects with a RetryableError to get it again, with anything else to be rid of it. */
  take(file: WholeFile): Promise<void>;
}

/** Takes whole files of a config, once they are no longer written, until it is stopped. */
export async function runFileFeed(config: FeedConfig, context: Context, feed: FileFeed): Promise<Running> {
  const state = config.storage ? await openStateFile(config.storage.directory, context.id, context.log) : undefined;
  const folder = await createFolderFeed({
    include: config.include,
    startAt: config.start_at,
    maxFileBytes: feed.maxFileBytes,
    maxFiles: config.max_files,
    state,
    now: () => context.clock.now(),
    take: feed.take,
    lost: lossTeller(context, feed.signal),
  });
  return looking(
    config,
    context,
    () => folder.poll(),
    () => folder.close(),
  );
}

async function looking(
  config: FeedConfig,
  context: Context,
  poll: () => Promise<void>,
  close: () => Promise<void>,
): Promise<Running> {
  const { clock, log } = context;
  // Once before anything is said to be ready: what comes from now on is new.
  await poll();
  context.status('ok');
  const loop = runEvery({
    clock,
    log,
    intervalMs: config.poll_interval,
    key: context.id,
    async run() {
      try {
        await poll();
      } catch (error) {
        log.error('Files could not be read.', { error: describeError(error) });
      }
      return undefined;
    },
  });
  let stopped: Promise<void> | undefined;
  return {
    stop(deadline) {
      stopped ??= (async () => {
        await loop.stop(deadline);
        await close();
      })();
      return stopped;
    },
  };
}
