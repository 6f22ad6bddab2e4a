/** Every receiver that a config file can name, in the order `enginelight components` shows them. */
import type { ReceiverDefinition } from '../pipeline/component.ts';
import { amdGpu } from './amd_gpu/index.ts';
import { dynamoReceiver } from './dynamo/index.ts';
import { dynamoTrace } from './dynamo_trace/index.ts';
import { engineReceiver } from './engine/index.ts';
import { engineLog } from './engine_log/index.ts';
import { flightRecorder } from './flight_recorder/index.ts';
import { hooksReceiver } from './hooks/index.ts';
import { host } from './host/index.ts';
import { kineto } from './kineto/index.ts';
import { llmDReceiver } from './llm_d/index.ts';
import { lmcacheReceiver } from './lmcache/index.ts';
import { ncclInspector } from './nccl_inspector/index.ts';
import { ncclRas } from './nccl_ras/index.ts';
import { nvidiaGpu } from './nvidia_gpu/index.ts';
import { otlpReceiver } from './otlp/index.ts';
import { prometheusReceiver } from './prometheus/index.ts';
import { recording } from './recording/index.ts';
import { sglangReceiver } from './sglang/index.ts';
import { tgiReceiver } from './tgi/index.ts';
import { trtllmReceiver } from './trtllm/index.ts';
import { vllmReceiver } from './vllm/index.ts';

// biome-ignore lint/suspicious/noExplicitAny: a registry holds definitions of every config type
export const receivers: readonly ReceiverDefinition<any>[] = [
  engineReceiver,
  vllmReceiver,
  sglangReceiver,
  dynamoReceiver,
  llmDReceiver,
  lmcacheReceiver,
  trtllmReceiver,
  tgiReceiver,
  prometheusReceiver,
  otlpReceiver,
  hooksReceiver,
  ncclInspector,
  ncclRas,
  flightRecorder,
  kineto,
  dynamoTrace,
  engineLog,
  host,
  nvidiaGpu,
  amdGpu,
  recording,
];
