/** What Dynamo's files say as spans: requests at its frontend, iterations of its engines. */
import { type AnyValue, type Attributes, nanosFromMs, type Resource } from '../model.ts';
import type { ForwardPass, RequestEnd } from '../wire/dynamo-trace.ts';
import { type HookSpan, hashHex, hex16 } from './hook-span.ts';

type About = (said: Attributes) => Resource;

export const dynamoSpan = (read: RequestEnd | ForwardPass, about: About): HookSpan =>
  read.kind === 'request' ? requestSpan(read, about) : stepSpan(read, about);

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
