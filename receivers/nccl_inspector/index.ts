/** Logs of NCCL's Inspector plug-in: every collective of every rank, with its time and bandwidth. */
import { defineReceiver } from '../../pipeline/component.ts';
import { describeError, RetryableError } from '../../pipeline/errors.ts';
import { nowNanos } from '../../pipeline/kit/clock.ts';
import { feedResources, lossTeller, runLineFeed } from '../../pipeline/kit/feed.ts';
import { feedOptions, maxLine } from '../../pipeline/kit/feed-options.ts';
import { collectiveTrace, hookSpans } from '../../pipeline/kit/hook-span.ts';
import { VERSION } from '../../pipeline/kit/version.ts';
import { type AnyValue, metricsBatch, nanosFromMs, type Span, scope, tracesBatch } from '../../pipeline/model.ts';
import { readInspectorLine } from './line.ts';
import { createMeasures } from './measures.ts';

export const ncclInspector = defineReceiver({
  type: 'nccl_inspector',
  summary: 'Logs of NCCL’s Inspector plug-in: every collective with its time and bandwidth',
  stability: 'beta',
  signals: ['traces', 'metrics'],
  config: feedOptions(
    'logs, as they are in NCCL_INSPECTOR_DUMP_DIR',
    { interval: '1s' },
    { max_line_size: maxLine('Verbose lines have a few kilobytes.') },
  ),
  async start(config, next, context) {
    const about = feedResources(config.labels);
    const make = hookSpans('nccl_inspector', `${context.id}/${context.clock.now()}`);
    const measures = createMeasures(scope('enginelight/receivers/nccl_inspector', VERSION));
    const lost = lossTeller(context, 'traces');
    return runLineFeed(config, context, {
      maxLineBytes: config.max_line_size,
      signal: 'traces',
      async take(lines, file) {
        const spans: Span[] = [];
        const measured: (() => void)[] = [];
        for (const text of lines) {
          let line: ReturnType<typeof readInspectorLine>;
          try {
            line = readInspectorLine(text);
          } catch (error) {
            lost(1, describeError(error), file);
            continue;
          }
          const said: Record<string, AnyValue> = {};
          if (line.host !== '') said['host.name'] = line.host;
          if (line.pid !== undefined) said['process.pid'] = line.pid;
          const resource = about(said);
          measured.push(() => measures.add(resource, line, nowNanos(context.clock)));
          if (!context.signals.has('traces')) continue;
          const attributes: Record<string, AnyValue> = {
            'comm.id': line.comm,
            'comm.seq': line.seq,
            'comm.op': line.op,
            'comm.bytes': line.bytes,
            'comm.size': line.size,
            'comm.rank': line.rank,
            'comm.backend': 'nccl',
            'hook.clock': line.clock,
          };
          if (line.peer !== undefined) attributes['comm.peer'] = line.peer;
          spans.push(
            make({
              resource,
              name: 'collective',
              traceId: collectiveTrace(line.comm, line.op, line.seq),
              start: nanosFromMs(line.startUs / 1000),
              end: nanosFromMs(line.endUs / 1000),
              attributes,
            }),
          );
        }
        if (spans.length > 0) await next.consume(tracesBatch(spans));
        // Only now: had the spans been refused, the lines would come again.
        for (const add of measured) add();
        if (!context.signals.has('metrics')) return;
        const points = measures.points(nowNanos(context.clock));
        if (points.length === 0) return;
        try {
          await next.consume(metricsBatch(points));
          measures.sent();
        } catch (error) {
          // Sums: the next ones say it too. To reject would bring the same lines again, and count them twice.
          if (!(error instanceof RetryableError)) throw error;
        }
      },
    });
  },
});
