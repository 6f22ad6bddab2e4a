/** Logs of engines and the kernel, for the handful of lines that matter. */
import { t } from '../../config/schema.ts';
import { defineReceiver, type Running } from '../../pipeline/component.ts';
import { runEvery } from '../../pipeline/kit/every.ts';
import { feedResources, runLineFeed } from '../../pipeline/kit/feed.ts';
import { feedOptions, maxLine } from '../../pipeline/kit/feed-options.ts';
import { openKernelLog } from '../../pipeline/kit/kernel-log.ts';
import { createProbe } from '../../pipeline/kit/probe.ts';
import { createTree } from '../../pipeline/kit/tree.ts';
import { VERSION } from '../../pipeline/kit/version.ts';
import { type AnyValue, type LogRecord, logsBatch, scope } from '../../pipeline/model.ts';
import { createCounts } from './counts.ts';
import { type Match, match, ranksOf, unwrap } from './match.ts';
import { ENGINE_PATTERNS, KERNEL_PATTERNS, type LogPattern } from './patterns.ts';
import { createRecords } from './records.ts';

const SEVERITIES = { info: 9, warn: 13, error: 17 } as const;

export const engineLog = defineReceiver({
  type: 'engine_log',
  summary: 'The lines of engine and kernel logs that matter: JIT, full KV pools, failed transfers, OOM, XID',
  stability: 'beta',
  signals: ['logs', 'metrics'],
  config: feedOptions(
    'logs of engines. May be empty where only the kernel’s log is wanted',
    { include: [], interval: '1s' },
    {
      max_line_size: maxLine('Lines of engines that log requests can be long.'),
      kernel: t.boolean({
        description:
          'Also reads the kernel’s log (/dev/kmsg) for XIDs and killed processes. Needs CAP_SYSLOG on most machines.',
        default: false,
      }),
      root_path: t.path({ description: "Where the host's root is seen: `/host` in a container.", default: '/' }),
      counts_interval: t.duration({
        description: 'How often the signal `inference.engine.log.events` is sent.',
        default: '15s',
        minimum: '1s',
      }),
      patterns: t.list(
        t.item(
          {
            event: t.string({ description: 'The `event_name` of the record.', pattern: '^[a-z0-9_.]+$' }),
            words: t.string({ description: 'Has to be in the line as it stands.', minLength: 3 }),
            pattern: t.optional(
              t.string({
                description: 'A regular expression; what it matches becomes the body, named groups attributes.',
              }),
            ),
            severity: t.choice(['info', 'warn', 'error'], { description: 'Of the record.', default: 'warn' }),
          },
          { description: 'One more line to look for.' },
        ),
        { description: 'Lines to look for beside the built-in ones, before them.', default: [] },
      ),
    },
  ),
  validate(config) {
    const mistakes = config.patterns.flatMap(({ pattern }, i) => {
      try {
        if (pattern !== undefined) new RegExp(pattern);
        return [];
      } catch (error) {
        const because = error instanceof Error ? error.message : String(error);
        return [{ path: ['patterns', i, 'pattern'], message: `is no regular expression: ${because}` }];
      }
    });
    if (config.include.length > 0 || config.kernel) return mistakes;
    return [...mistakes, { path: ['include'], message: 'is empty: name logs, or set `kernel: true`' }];
  },
  async start(config, next, context): Promise<Running> {
    const { clock, log, meter } = context;
    const own = scope('enginelight/receivers/engine_log', VERSION);
    const about = feedResources(config.labels);
    const records = createRecords(own, clock);
    const matches = meter.counter('receiver_engine_log_matches', 'Lines that matter, by event.', '{line}');
    const more: LogPattern[] = config.patterns.map(({ event, words, pattern, severity }) => ({
      event,
      words,
      severity: SEVERITIES[severity],
      pattern: new RegExp(pattern ?? words.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')),
    }));
    const patterns = [...more, ...ENGINE_PATTERNS];
    const counts = createCounts(own, about({}), new Set(patterns.map((p) => p.event)), clock.now());
    const counting = context.signals.has('metrics')
      ? runEvery({
          clock,
          log,
          intervalMs: config.counts_interval,
          key: `${context.id}/counts`,
          async run({ time }) {
            try {
              await next.consume(counts.batch(time));
            } catch (error) {
              // The next number has it all.
              log.debug('Counts of events could not be handed on.', { error });
            }
            return undefined;
          },
        })
      : undefined;

    const lines = await runLineFeed(config, context, {
      maxLineBytes: config.max_line_size,
      signal: 'logs',
      async take(lines) {
        const out: LogRecord[] = [];
        const found: Match[] = [];
        for (const line of lines) {
          const { text, timeMs } = unwrap(line);
          const hit = match(text, patterns);
          if (!hit) continue;
          found.push(hit);
          const said: Record<string, AnyValue> = ranksOf(text);
          if (hit.pattern.engine) said['inference.engine'] = hit.pattern.engine;
          const record = records.make(hit, about(said), timeMs);
          if (record) out.push(record);
        }
        try {
          if (out.length > 0) await next.consume(logsBatch(out));
        } catch (error) {
          for (const record of out) records.unsaid(record);
          throw error;
        }
        for (const hit of found) {
          matches.add(1, { event: hit.pattern.event });
          counts.add(hit.pattern.event);
        }
      },
    });
    const feed: Running = {
      async stop(deadline) {
        await counting?.stop(deadline);
        await lines.stop(deadline);
      },
    };
    if (!config.kernel) return feed;

    const tree = createTree(config.root_path);
    // A replica on this machine has not said what its kernel says.
    const { node } = config.labels;
    const machine = feedResources(node === undefined ? {} : { node }, 'machine');
    const probe = createProbe(context, own);
    const kernel = openKernelLog(config.root_path);
    if ('because' in kernel) {
      probe.gap('kernel log', kernel.because, 'Give the daemon CAP_SYSLOG and /dev/kmsg.');
      return feed;
    }
    const loop = runEvery({
      clock,
      log,
      intervalMs: config.poll_interval,
      key: `${context.id}/kernel`,
      async run() {
        const out: LogRecord[] = [];
        for (const line of kernel.lines()) {
          const hit = match(line, KERNEL_PATTERNS);
          if (!hit) continue;
          matches.add(1, { event: hit.pattern.event });
          const said: Record<string, AnyValue> = {};
          const bus = hit.groups['pci'];
          if (bus !== undefined) {
            const address = busAddress(bus);
            said['hw.gpu.pci_bus_id'] = address;
            const uuid = /^GPU UUID:\s*(GPU-[0-9a-f-]+)/m.exec(
              tree.read(`/proc/driver/nvidia/gpus/${address}/information`) ?? '',
            )?.[1];
            if (uuid) said['hw.id'] = uuid;
          }
          const record = records.make(hit, machine(said), undefined);
          if (record) out.push(record);
        }
        try {
          if (out.length > 0) await next.consume(logsBatch(out));
        } catch (error) {
          // The kernel's log does not wait for us.
          meter.dropped('logs', out.length, 'queue_full');
          log.warn('Lines of the kernel could not be handed on.', { records: out.length, error });
        }
        return undefined;
      },
    });
    return {
      async stop(deadline) {
        await loop.stop(deadline);
        kernel.stop();
        await feed.stop(deadline);
      },
    };
  },
});

/** `PCI:0000:17:00` of the kernel as `0000:17:00.0`. */
function busAddress(text: string): string {
  const [domain = '', bus = '', device = ''] = text.toLowerCase().split(':');
  return `${domain.slice(-4)}:${bus}:${device.includes('.') ? device : `${device}.0`}`;
}
