/** The options of `deliver`, spelt and defaulted as the Collector's exporters have them. */
import { type Static, t } from '../../config/schema.ts';
import type { ConfigMistake } from '../component.ts';

const SIZERS = ['requests', 'items', 'bytes'] as const;

const storageSection = t.section(
  {
    directory: t.path({
      description:
        'The folder to keep the queue in; made if it is missing. Each exporter uses its own folder inside it.',
      default: './enginelight-queue',
    }),
    max_size: t.size({
      description: 'How many bytes the queue may take on disk; beyond that new data is refused.',
      default: '1GiB',
    }),
    fsync: t.choice(['never', 'interval', 'always'], {
      description:
        '`always`: data is accepted once the disk has it; `interval`: the disk is told every `fsync_interval`, a power cut costs at most that; `never`: the operating system decides. A crash of the daemon alone loses nothing in any case.',
      default: 'interval',
    }),
    fsync_interval: t.duration({ description: 'How often the disk is told, with `fsync: interval`.', default: '1s' }),
  },
  {
    description:
      'Keeps the queue on disk, so that a restart goes on where the last run ended: everything is delivered at least once. Off unless written.',
  },
);

const batchSection = t.section(
  {
    flush_timeout: t.duration({
      description: 'Data waits at most this long for `min_size` to be reached.',
      default: '200ms',
    }),
    min_size: t.integer({ description: 'A request is sent once this much waits.', default: 8192, minimum: 0 }),
    max_size: t.integer({ description: 'No request is larger than this; 0 is no limit.', default: 0, minimum: 0 }),
    sizer: t.optional(
      t.choice(['items', 'bytes'], {
        description: 'What `min_size` and `max_size` count; the sizer of the queue, or items, when left out.',
      }),
    ),
  },
  { description: 'Puts waiting data together into larger requests. Off unless written.' },
);

/** Spread into the options of an exporter that delivers over a network. */
export const deliverOptions = (defaults: { timeout?: string; numConsumers?: number } = {}) => ({
  sending_queue: t.section(
    {
      enabled: t.boolean({
        description: 'Accept data into a queue; without it a sender waits until its data was delivered or refused.',
        default: true,
      }),
      num_consumers: t.integer({
        description: 'How many requests are in flight at once, per signal.',
        default: defaults.numConsumers ?? 10,
        minimum: 1,
      }),
      queue_size: t.integer({
        description: 'How much may wait or be in flight, per signal, counted by `sizer`; beyond that data is refused.',
        default: 1000,
        minimum: 1,
      }),
      sizer: t.choice(SIZERS, {
        description: 'What `queue_size` counts: requests (batches as they come), items, or bytes as OTLP.',
        default: 'requests',
      }),
      block_on_overflow: t.boolean({
        description: 'Let a sender wait for room instead of refusing its data.',
        default: false,
      }),
      wait_for_result: t.boolean({
        description: 'A sender is answered only when its data was delivered or lost. Not together with `storage`.',
        default: false,
      }),
      batch: t.optional(batchSection),
      storage: t.optional(storageSection),
    },
    { description: 'The queue in front of the exporter: one for each signal.' },
  ),
  retry_on_failure: t.section(
    {
      enabled: t.boolean({ description: 'Try again what may succeed later.', default: true }),
      initial_interval: t.duration({ description: 'Wait after the first failure.', default: '5s' }),
      randomization_factor: t.number({
        description: 'Each wait is varied by up to this share, so that many senders do not return together.',
        default: 0.5,
        minimum: 0,
        maximum: 1,
      }),
      multiplier: t.number({
        description: 'Each wait is this many times the one before.',
        default: 1.5,
        minimum: 1,
      }),
      max_interval: t.duration({
        description: 'No wait is longer, unless the other side asks for it.',
        default: '30s',
      }),
      max_elapsed_time: t.duration({
        description: 'Data is dropped (and counted) when it could not be delivered in this time; 0 tries forever.',
        default: '5m',
      }),
    },
    { description: 'What happens when the other side cannot be reached or says that it has no room.' },
  ),
  timeout: t.duration({
    description: 'How long one attempt may take; 0 is no limit.',
    default: defaults.timeout ?? '5s',
  }),
});

type Declared = ReturnType<typeof deliverOptions>;

/** What the code gets for `deliverOptions`. */
export interface DeliverConfig {
  readonly sending_queue: Static<Declared['sending_queue']>;
  readonly retry_on_failure: Static<Declared['retry_on_failure']>;
  readonly timeout: number;
}
export type QueueConfig = DeliverConfig['sending_queue'];
export type RetryConfig = DeliverConfig['retry_on_failure'];
export type StorageConfig = NonNullable<QueueConfig['storage']>;

/** Mistakes in these options that the schema cannot see; for a definition's `validate`. */
export function checkDeliverOptions(config: DeliverConfig): ConfigMistake[] {
  const mistakes: ConfigMistake[] = [];
  const put = (path: string[], message: string) => void mistakes.push({ path, message });
  const { sending_queue: queue, retry_on_failure: retry } = config;
  const batch = queue.batch;
  if (batch) {
    const at = ['sending_queue', 'batch'];
    const sizer = batchSizer(queue);
    if (batch.flush_timeout <= 0) put([...at, 'flush_timeout'], '`flush_timeout` must be positive');
    if (batch.max_size > 0 && batch.max_size < batch.min_size) {
      put([...at, 'max_size'], '`max_size` must be greater or equal to `min_size`');
    }
    if (sizer === queue.sizer && batch.min_size > queue.queue_size) {
      put([...at, 'min_size'], '`min_size` must be less than or equal to `queue_size`');
    }
    if (!queue.enabled) put(at, '`batch` needs the queue: set `sending_queue.enabled: true`');
  }
  if (queue.storage) {
    const at = ['sending_queue', 'storage'];
    if (queue.wait_for_result) put(at, '`wait_for_result` is not supported with `storage`');
    if (!queue.enabled) put(at, '`storage` needs the queue: set `sending_queue.enabled: true`');
    if (queue.storage.max_size < 1 << 20) put([...at, 'max_size'], '`max_size` must be at least 1MiB');
    if (queue.storage.fsync === 'interval' && queue.storage.fsync_interval <= 0) {
      put([...at, 'fsync_interval'], '`fsync_interval` must be positive');
    }
  }
  if (retry.initial_interval < 0)
    put(['retry_on_failure', 'initial_interval'], "'initial_interval' must be non-negative");
  if (retry.max_interval < 0) put(['retry_on_failure', 'max_interval'], "'max_interval' must be non-negative");
  if (retry.max_elapsed_time < 0)
    put(['retry_on_failure', 'max_elapsed_time'], "'max_elapsed_time' must be non-negative");
  if (retry.max_elapsed_time > 0 && retry.max_elapsed_time < retry.initial_interval) {
    put(['retry_on_failure', 'max_elapsed_time'], "'max_elapsed_time' must not be less than 'initial_interval'");
  }
  if (config.timeout < 0) put(['timeout'], "'timeout' must be non-negative");
  return mistakes;
}

/** What the sizes of a batch count: an own sizer, else the queue's where it can be one, else items. */
export function batchSizer(queue: QueueConfig): 'items' | 'bytes' {
  return queue.batch?.sizer ?? (queue.sizer === 'bytes' ? 'bytes' : 'items');
}
