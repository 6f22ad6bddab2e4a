/** Files that Dynamo writes: what became of each request, and what each engine did in each iteration. */
import { defineReceiver } from '../../pipeline/component.ts';
import { describeError } from '../../pipeline/errors.ts';
import { feedResources, lossTeller, runLineFeed } from '../../pipeline/kit/feed.ts';
import { feedOptions, maxLine } from '../../pipeline/kit/feed-options.ts';
import { type HookSpan, hashHex, hex16, hookSpans } from '../../pipeline/kit/hook-span.ts';
import {
  type AnyValue,
  type Attributes,
  nanosFromMs,
  type Resource,
  type Span,
  tracesBatch,
} from '../../pipeline/model.ts';
import { type ForwardPass, type RequestEnd, readDynamoLine } from './lines.ts';

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
            if (read) spans.push(make(read.kind === 'request' ? requestSpan(read, about) : stepSpan(read, about)));
          } catch (error) {
            lost(1, describeError(error), file);
          }
        }
        if (spans.length > 0) await next.consume(tracesBatch(spans));
      },
    });
  },
});

type About = (said: Attributes) => Resource;

/** As `normalize` would have it from a span of the frontend. */
function requestSpan(request: RequestEnd, about: About): HookSpan {
  const attributes: Record<string, AnyValue> = { 'inference.stage': 'request' };
  const put = (name: string, value: AnyValue | undefined) => {
    if (value !== undefined && value !== '') attributes[name] = value;
  };
  const seconds = (ms: number | undefined) => (ms === undefined ? undefined : ms / 1000);
  put('inference.request.id', request.callerId || request.id);
  put('request_id', request.id);
  put('gen_ai.request.model', request.model);
  put('gen_ai.usage.input_tokens', request.inputTokens);
  put('gen_ai.usage.output_tokens', request.outputTokens);
  put('gen_ai.usage.cache_read.input_tokens', request.cachedTokens);
  put('gen_ai.server.request.duration', seconds(request.totalMs));
  put('gen_ai.server.time_to_first_token', seconds(request.ttftMs));
  put('inference.request.queue.duration', seconds(request.waitMs));
  put('inference.request.prefill.duration', seconds(request.prefillMs));
  if (request.ttftMs !== undefined && request.totalMs >= request.ttftMs) {
    put('inference.request.decode.duration', seconds(request.totalMs - request.ttftMs));
  }
  put('inference.request.transfer.duration', seconds(request.transferMs));
  put('inference.request.prefill.worker', request.prefillWorker);
  put('inference.request.decode.worker', request.decodeWorker);
  put('gen_ai.response.finish_reasons', request.finishReason === '' ? undefined : [request.finishReason]);
  const id = hashHex(request.id || String(request.receivedMs));
  return {
    resource: about({ 'inference.engine': 'dynamo', 'inference.role': 'frontend' }),
    name: 'http-request',
    traceId: id + hashHex(`${id}/request`),
    start: nanosFromMs(request.receivedMs),
    end: nanosFromMs(request.receivedMs + request.totalMs),
    attributes,
    error: request.finishReason === 'error' ? 'error' : undefined,
  };
}

function stepSpan(step: ForwardPass, about: About): HookSpan {
  const said: Record<string, AnyValue> = { 'inference.rank.dp': step.dpRank };
  if (step.worker !== '') said['service.instance.id'] = step.worker;
  if (step.component !== '') said['inference.pool'] = step.component;
  return {
    resource: about(said),
    name: 'engine_step',
    traceId: hashHex(`${step.worker}/${step.dpRank}`) + hex16(step.step),
    start: nanosFromMs(step.endMs - step.tookMs),
    end: nanosFromMs(step.endMs),
    attributes: {
      'step.id': step.step,
      'step.prefill_tokens': step.prefillTokens,
      'step.prefill_seqs': step.prefillRequests,
      'step.decode_seqs': step.decodeRequests,
      'step.waiting': step.waiting,
      'hook.clock': 'host',
      ...(step.sampled ? { 'hook.sampled': true } : {}),
    },
  };
}
