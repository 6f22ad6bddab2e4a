/** Traces of torch.profiler: collectives with their time on the device, and the steps of the engine. */
import { t } from '../../config/schema.ts';
import { defineReceiver } from '../../pipeline/component.ts';
import { describeError } from '../../pipeline/errors.ts';
import { feedResources, lossTeller, runFileFeed } from '../../pipeline/kit/feed.ts';
import { feedOptions } from '../../pipeline/kit/feed-options.ts';
import { hookSpans } from '../../pipeline/kit/hook-span.ts';
import { readJsonElements } from '../../pipeline/kit/json-elements.ts';
import { createTraceReader, type Header, readBeside } from '../../pipeline/kit/kineto-trace.ts';
import { type Span, tracesBatch } from '../../pipeline/model.ts';

const BATCH = 2000;
/** A larger event is none that matters. */
const MAX_EVENT = 1 << 20;
/** What a file may become when it is decompressed. */
const MAX_RATIO = 50;

export const kineto = defineReceiver({
  type: 'kineto',
  summary: 'Traces of torch.profiler: collectives with their time on the device, and engine steps',
  stability: 'beta',
  signals: ['traces'],
  config: feedOptions(
    'traces in Chrome’s format, plain or gzip, as torch.profiler and the engines’ /start_profile write them',
    { interval: '10s' },
    { max_file_size: t.size({ description: 'Larger files are left out, with a warning.', default: '2GiB' }) },
  ),
  async start(config, next, context) {
    const about = feedResources(config.labels);
    const make = hookSpans('kineto', `${context.id}/${context.clock.now()}`);
    const { log } = context;
    const lost = lossTeller(context, 'traces');
    /** A file that could not be handed on whole comes again: how many of its spans somebody has already. */
    let started: { readonly file: string; spans: number } | undefined;
    return runFileFeed(config, context, {
      maxFileBytes: config.max_file_size,
      signal: 'traces',
      async take(file) {
        const limits = { list: 'traceEvents', maxElementBytes: MAX_EVENT, maxBytes: config.max_file_size * MAX_RATIO };
        const header: Header = { base: 0n, rank: undefined, worldSize: undefined, backend: '' };
        // What times are relative to may stand behind the events.
        const first = await readJsonElements(file.path, {
          ...limits,
          element() {},
          beside: (key, value) => readBeside(header, key, value),
        });
        const reader = createTraceReader(header, about);
        const key = `${file.path}/${file.bytes}/${file.writtenMs}`;
        const progress = started?.file === key ? started : { file: key, spans: 0 };
        started = progress;
        let spans: Span[] = [];
        let seen = 0;
        const hand = async () => {
          const batch = spans.slice(Math.max(0, progress.spans - seen));
          if (batch.length > 0) await next.consume(tracesBatch(batch));
          seen += spans.length;
          progress.spans = Math.max(progress.spans, seen);
          spans = [];
        };
        await readJsonElements(file.path, {
          ...limits,
          async element(text) {
            try {
              const span = reader.read(text);
              if (span) spans.push(make(span));
            } catch (error) {
              lost(1, describeError(error), file.path);
            }
            if (spans.length >= BATCH) await hand();
          },
        });
        for (const span of reader.steps()) {
          spans.push(make(span));
          if (spans.length >= BATCH) await hand();
        }
        await hand();
        started = undefined;
        log.info('Read a trace of the profiler.', {
          file: file.path,
          events: first.elements,
          spans: seen,
          without_number: reader.unnumbered,
          cut_off: first.cut,
        });
      },
    });
  },
});
