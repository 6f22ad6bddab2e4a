/** Files that Dynamo writes: what became of each request, and what each engine did in each iteration. */
import { defineReceiver } from '../../pipeline/component.ts';
import { describeError } from '../../pipeline/errors.ts';
import { dynamoSpan } from '../../pipeline/kit/dynamo-spans.ts';
import { feedResources, lossTeller, runLineFeed } from '../../pipeline/kit/feed.ts';
import { feedOptions, maxLine } from '../../pipeline/kit/feed-options.ts';
import { hookSpans } from '../../pipeline/kit/hook-span.ts';
import { type Span, tracesBatch } from '../../pipeline/model.ts';
import { readDynamoLine } from '../../pipeline/wire/dynamo-trace.ts';

export const dynamoTrace = defineReceiver({
  type: 'dynamo_trace',
  summary: 'Dynamo’s request traces and forward-pass metrics, from the files it writes',
  stability: 'beta',
  signals: ['traces'],
  config: feedOptions(
    'JSON Lines that Dynamo writes, plain or gzip',
    { include: ['/tmp/dynamo-request-trace*.jsonl*', '/tmp/dynamo-fpm.*.jsonl*'], interval: '1s' },
    { max_line_size: maxLine('Lines of request traces hold a hash per block of the prompt.') },
  ),
  async start(config, next, context) {
    const about = feedResources(config.labels);
    const make = hookSpans('dynamo_trace', `${context.id}/${context.clock.now()}`);
    const lost = lossTeller(context, 'traces');
    return runLineFeed(config, context, {
      maxLineBytes: config.max_line_size,
      signal: 'traces',
      async take(lines, file) {
        const spans: Span[] = [];
        for (const line of lines) {
          try {
            const read = readDynamoLine(line);
            if (read) spans.push(make(dynamoSpan(read, about)));
          } catch (error) {
            lost(1, describeError(error), file);
          }
        }
        if (spans.length > 0) await next.consume(tracesBatch(spans));
      },
    });
  },
});
