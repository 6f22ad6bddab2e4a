/** Request spans as the engines send them at the end of a request: vLLM's `llm_request`, SGLang's request span, Dynamo's. */
import { random } from '../random.ts';
import type { Replica, Request, World } from '../world/types.ts';
import { clockError } from './hooks.ts';
import { attributes, hexId, nanos, spansLine, spanText } from './otlp.ts';

/** Calls `put` with a line for a sampled request, and for every request in the slow tail. */
export function requestEmitter(w: World, epochMs: number, put: (line: string) => void) {
  const { spec } = w;
  const r = random(spec.seed, 'spans');
  const resources = new Map<Replica, string>();
  let serial = 1;
  let usual = 2;
  const resourceOf = (rep: Replica): string => {
    let text = resources.get(rep);
    if (!text) {
      text = attributes([
        ['service.name', spec.deploy.service],
        ['service.instance.id', rep.id],
        ['inference.engine', spec.deploy.engine === 'dynamo' ? 'vllm' : spec.deploy.engine],
        ['inference.role', rep.role],
        ['host.name', rep.node.name],
        ...(spec.cluster.kubernetes
          ? ([
              ['k8s.namespace.name', 'inference'],
              ['k8s.pod.name', rep.pod],
            ] as const)
          : []),
        ...(spec.deploy.engine === 'sglang' ? [] : ([['vllm.process_kind', 'api_server']] as const)),
      ]);
      resources.set(rep, text);
    }
    return text;
  };
  const traceOf = (request: Request) =>
    `${hexId(spec.seed % 0xffffffff, 8)}${hexId(request.attempt, 8)}${hexId(request.id + 1, 16)}`;

  const engineSpan = (request: Request, rep: Replica, parent: string) => {
    const shift = clockError(w, rep.node);
    const vllm = spec.deploy.engine !== 'sglang';
    const leg = rep.role === 'prefill';
    const end = leg ? request.finished : request.finished;
    const common = [
      ['gen_ai.usage.prompt_tokens', request.promptTokens],
      ['gen_ai.usage.completion_tokens', leg ? 1 : request.outputTokens],
      ['gen_ai.request.id', `chatcmpl-${hexId(request.id, 8)}-0`],
      ['gen_ai.request.max_tokens', request.maxTokens],
      ['gen_ai.latency.time_to_first_token', round(request.firstToken - request.engineArrival)],
      ['gen_ai.latency.e2e', round(end - request.engineArrival)],
      ['gen_ai.latency.time_in_queue', round(request.firstScheduled - request.queuedAt)],
      ['gen_ai.latency.time_in_model_prefill', round(request.firstToken - request.firstScheduled)],
      ['gen_ai.latency.time_in_model_decode', round(end - request.firstToken)],
      ['gen_ai.latency.time_in_model_inference', round(end - request.firstScheduled)],
    ] as const;
    const sglang = [
      ['rid', hexId(request.id, 32)],
      ['module', 'sglang::request'],
      ['gen_ai.usage.prompt_tokens', request.promptTokens],
      ['gen_ai.usage.completion_tokens', leg ? 1 : request.outputTokens],
      ['gen_ai.usage.cached_tokens', request.cached],
      ['gen_ai.latency.time_to_first_token', round(request.firstToken - request.engineArrival)],
      ['gen_ai.latency.e2e', round(end - request.engineArrival)],
      ['gen_ai.latency.time_in_queue', round(request.firstScheduled - request.queuedAt)],
    ] as const;
    const span = spanText({
      traceId: traceOf(request),
      spanId: hexId(serial++, 16),
      ...(parent ? { parent } : {}),
      name: vllm ? 'llm_request' : `${rep.role === 'aggregated' ? '' : `${rep.role} `}Req ${hexId(request.id, 8)}`,
      kind: 2,
      start: nanos(epochMs, request.engineArrival + shift),
      end: nanos(epochMs, end + shift),
      attributes: attributes(vllm ? common : sglang),
    });
    put(spansLine(resourceOf(rep), vllm ? 'vllm.llm_engine' : 'sglang', [span]));
  };

  return {
    finished(request: Request, outcome: 'ok' | 'abort' | 'error') {
      if (spec.observe.spans === 0 || w.now < 0 || outcome !== 'ok' || !request.replica) return;
      const e2e = request.finished - request.arrival;
      const tail = e2e > 4 * usual;
      usual += 0.02 * (e2e - usual);
      if (!tail ? !r.chance(spec.observe.spans) : !r.chance(Math.min(1, spec.observe.spans * 6))) return;
      const rootId = hexId(serial++, 16);
      if (spec.deploy.frontend !== 'none') {
        const dynamo = spec.deploy.frontend === 'dynamo';
        const shift = clockError(w, w.frontend.node);
        const resource = attributes([
          ['service.name', spec.deploy.service],
          ['service.instance.id', w.frontend.name],
          ['inference.engine', dynamo ? 'dynamo' : 'llm_d'],
          ['inference.role', dynamo ? 'frontend' : 'router'],
          ['host.name', w.frontend.node.name],
        ]);
        const root = spanText({
          traceId: traceOf(request),
          spanId: rootId,
          name: dynamo ? 'http-request' : 'gateway.request',
          kind: 2,
          start: nanos(epochMs, request.arrival + shift),
          end: nanos(epochMs, request.finished + shift),
          attributes: attributes([[dynamo ? 'x_request_id' : 'request_id', `req-${request.id}`]]),
        });
        const route = spanText({
          traceId: traceOf(request),
          spanId: hexId(serial++, 16),
          parent: rootId,
          name: dynamo ? 'kv_router.select_worker' : 'gateway.request_orchestration',
          kind: 1,
          start: nanos(epochMs, request.dispatched + shift),
          end: nanos(epochMs, request.routed + shift),
          attributes: attributes([[dynamo ? 'x_request_id' : 'request_id', `req-${request.id}`]]),
        });
        put(spansLine(resource, dynamo ? 'dynamo' : 'llm-d-router', [root, route]));
      }
      if (request.leg?.replica && !Number.isNaN(request.leg.firstToken))
        engineSpan(request.leg, request.leg.replica, spec.deploy.frontend === 'none' ? '' : rootId);
      engineSpan(request, request.replica, spec.deploy.frontend === 'none' ? '' : rootId);
    },
  };
}

const round = (x: number) => Math.max(0, Math.round(x * 1e6) / 1e6);
