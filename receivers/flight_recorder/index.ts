/** Dumps of PyTorch's flight recorder, as collectives: those that hang, and those whose time was measured. */
import { basename } from 'node:path';
import { t } from '../../config/schema.ts';
import { defineReceiver } from '../../pipeline/component.ts';
import { feedResources, runFileFeed } from '../../pipeline/kit/feed.ts';
import { feedOptions } from '../../pipeline/kit/feed-options.ts';
import { readDump } from '../../pipeline/kit/flight-recorder-dump.ts';
import { dumpSpans } from '../../pipeline/kit/flight-recorder-spans.ts';
import { hookSpans } from '../../pipeline/kit/hook-span.ts';
import { readWhole } from '../../pipeline/kit/read-file.ts';
import { tracesBatch } from '../../pipeline/model.ts';

export const flightRecorder = defineReceiver({
  type: 'flight_recorder',
  summary: 'Dumps of PyTorch’s NCCL flight recorder: collectives that hang, and those that were timed',
  stability: 'beta',
  signals: ['traces'],
  config: feedOptions(
    'dumps, as TORCH_NCCL_DEBUG_INFO_TEMP_FILE names them',
    { include: ['/tmp/nccl_trace_rank_*'], interval: '5s' },
    {
      max_file_size: t.size({ description: 'Larger dumps are left out, with a warning.', default: '256MiB' }),
    },
  ),
  async start(config, next, context) {
    const about = feedResources(config.labels);
    const make = hookSpans('flight_recorder', `${context.id}/${context.clock.now()}`);
    const { meter, log } = context;
    const untimed = meter.counter(
      'receiver_flight_recorder_untimed',
      'Finished operations whose time was not measured and that are left out; TORCH_NCCL_ENABLE_TIMING=1 measures it.',
      '{operation}',
    );
    return runFileFeed(config, context, {
      maxFileBytes: config.max_file_size,
      signal: 'traces',
      async take(file) {
        const dump = readDump(await readWhole(file.path, config.max_file_size));
        const made = dumpSpans(dump, { name: basename(file.path), writtenMs: file.writtenMs, about, make });
        if (dump.bad + made.bad > 0) meter.dropped('traces', dump.bad + made.bad, 'bad_line');
        if (made.untimed > 0) untimed.add(made.untimed);
        log.info('Read a dump of the flight recorder.', {
          file: file.path,
          rank: made.rank ?? 'unknown',
          open: made.open,
          timed: made.spans.length - made.open,
          untimed: made.untimed,
        });
        if (made.spans.length > 0) await next.consume(tracesBatch(made.spans));
      },
    });
  },
});
