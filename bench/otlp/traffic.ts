/** The spans that are sent: what a request of 200 with 15 attributes each looks like on the wire. */
import { type AnyValue, resource, scope, tracesBatch } from '../../pipeline/model.ts';
import { encodeRequest } from '../../pipeline/wire/otlp/index.ts';

export const SPANS = 200;

const about = resource({
  'service.name': 'llm',
  'service.instance.id': 'r0',
  'host.name': 'node-1',
  'inference.engine': 'vllm',
});
const by = scope('vllm', '0.11');

/** Requests of one sender, one after the other; the same in every run. */
export function spanRequests(count = 8): Uint8Array[] {
  let state = 1;
  const random = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state;
  };
  const hex = (words: number) => Array.from({ length: words }, () => random().toString(16).padStart(8, '0')).join('');
  return Array.from({ length: count }, () => {
    const batch = tracesBatch(
      Array.from({ length: SPANS }, () => {
        const attributes: Record<string, AnyValue> = {};
        for (let k = 0; k < 15; k++)
          attributes[`gen_ai.attribute.number_${k}`] = k % 3 ? `value ${random() % 50}` : random() % 5000;
        const startTime = 1_700_000_000_000_000_000n + BigInt(random());
        return {
          resource: about,
          scope: by,
          traceId: hex(4),
          spanId: hex(2),
          parentSpanId: hex(2),
          traceState: '',
          flags: 1,
          name: 'llm_request',
          kind: 2,
          startTime,
          endTime: startTime + 1_000_000_000n,
          attributes,
          droppedAttributesCount: 0,
          events: [],
          droppedEventsCount: 0,
          links: [],
          droppedLinksCount: 0,
          status: { code: 0, message: '' },
        };
      }),
    );
    return encodeRequest(batch, 'protobuf');
  });
}
