/** Bucket bounds as each engine version declares them; the sources are in docs/simulator.md. */
import { histogram } from './world/histogram.ts';
import type { Counters } from './world/types.ts';

/** 1-2-5 per decade up to the model's longest context, as vLLM builds its token histograms. */
export function oneTwoFive(max: number): number[] {
  const bounds: number[] = [];
  for (let decade = 1; ; decade *= 10)
    for (const m of [1, 2, 5]) {
      if (m * decade > max) return bounds;
      bounds.push(m * decade);
    }
}

export const VLLM_TTFT = [
  0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560,
];
export const VLLM_ITL = [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80];
export const VLLM_REQUEST = [
  0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680,
];
export const VLLM_STEP_TOKENS = [1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384];
export const NIXL_TIME = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 5];
export const NIXL_POST = [0.001, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 5];
export const NIXL_BYTES = [2, 8, 32, 128, 512, 2048, 8192, 32768, 131072, 524288, 2097152, 8388608].map(
  (k) => k * 1024,
);
export const NIXL_DESCRIPTORS = [10, 20, 30, 50, 75, 100, 200, 400, 1000, 2000, 4000, 10000, 20000, 50000];

export const SGLANG_TTFT = [0.1, 0.2, 0.4, 0.6, 0.8, 1, 2, 4, 6, 8, 10, 20, 40, 60, 80, 100, 200, 400];
export const SGLANG_ITL = [
  0.002, 0.004, 0.006, 0.008, 0.01, 0.015, 0.02, 0.025, 0.03, 0.035, 0.04, 0.06, 0.08, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 2, 4,
  6, 8,
];
export const SGLANG_E2E = [
  0.1, 0.2, 0.4, 0.6, 0.8, 1, 2, 4, 6, 8, 10, 20, 40, 60, 80, 100, 200, 400, 600, 1200, 1800, 2400,
];
export const SGLANG_QUEUE = [
  0, 0.001, 0.005, 0.01, 0.05, 0.1, 0.2, 0.5, 1, 2, 3, 4, 5, 10, 15, 20, 30, 40, 50, 60, 70, 80, 90, 100, 200, 300, 400,
  500, 600, 700, 800, 900, 1000, 1200, 1400, 1600, 1800, 2000, 2500, 3000,
];
export const SGLANG_STAGE = Array.from({ length: 30 }, (_, i) => Math.round(0.001 * 1.62 ** i * 1e6) / 1e6);
export const SGLANG_TRANSFER_MS = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000];
export const SGLANG_TRANSFER_SPEED = [0.1, 0.5, 1, 5, 10, 25, 50, 100, 200, 400];
export const SGLANG_TRANSFER_MB = [1, 5, 10, 50, 100, 500, 1000, 5000, 10000];
export const SGLANG_GRAMMAR = [0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 90, 120, 240];
export const SGLANG_TOKENS = [
  100, 300, 500, 700, 1000, 1500, 2000, 3000, 4000, 5000, 6000, 7000, 8000, 9000, 10000, 12000, 15000, 20000, 22000,
  25000, 30000, 35000, 40000, 66000, 99000, 132000, 300000, 600000, 900000, 1100000,
];
export const LMCACHE_TIME = [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10];

/** Fresh counters of one engine core, with the bounds of its dialect. */
export function counters(engine: 'vllm' | 'sglang' | 'dynamo', maxModelLen: number): Counters {
  const sg = engine === 'sglang';
  const tokens = sg ? SGLANG_TOKENS : oneTwoFive(maxModelLen);
  const request = sg ? SGLANG_STAGE : VLLM_REQUEST;
  return {
    running: 0,
    waiting: 0,
    waitingDeferred: 0,
    kvUsage: 0,
    grammarQueue: 0,
    preallocQueue: 0,
    transferQueue: 0,
    bootstrapQueue: 0,
    inflightQueue: 0,
    genThroughput: 0,
    cacheHitRate: 0,
    ctxTokens: 0,
    preemptions: 0,
    promptTokens: 0,
    cachedTokens: 0,
    externalTokens: 0,
    recomputedTokens: 0,
    computedTokens: 0,
    generatedTokens: 0,
    queries: 0,
    hits: 0,
    externalQueries: 0,
    externalHits: 0,
    finishedStop: 0,
    finishedLength: 0,
    finishedAbort: 0,
    finishedError: 0,
    drafts: 0,
    draftTokens: 0,
    acceptedTokens: 0,
    acceptedAt: new Float64Array(16),
    flops: 0,
    readBytes: 0,
    writeBytes: 0,
    steps: 0,
    graphSteps: 0,
    eagerSteps: 0,
    piecewiseSteps: 0,
    stepSeconds: 0,
    prefillSeconds: 0,
    decodeSeconds: 0,
    hostSeconds: 0,
    evictedTokens: 0,
    loraLoads: 0,
    structuredRequests: 0,
    grammarHits: 0,
    transferFailed: 0,
    transferExpired: 0,
    offloadLoadBytes: 0,
    offloadLoadSeconds: 0,
    offloadStoreBytes: 0,
    offloadStoreSeconds: 0,
    retractedInput: 0,
    retractedOutput: 0,
    balanceSum: 0,
    balanceCount: 0,
    acceptedRecent: 0,
    offloadLookups: 0,
    offloadLookupTokens: 0,
    offloadHitTokens: 0,
    offloadStoredTokens: 0,
    offloadUsedBytes: 0,
    ttft: histogram(sg ? SGLANG_TTFT : VLLM_TTFT),
    itl: histogram(sg ? SGLANG_ITL : VLLM_ITL),
    e2e: histogram(sg ? SGLANG_E2E : VLLM_REQUEST),
    queue: histogram(sg ? SGLANG_QUEUE : VLLM_REQUEST),
    prefill: histogram(request),
    decode: histogram(request),
    inference: histogram(request),
    tpot: histogram(VLLM_ITL),
    promptLen: histogram(tokens),
    outputLen: histogram(tokens),
    maxTokens: histogram(tokens),
    paramsN: histogram([1, 2, 5, 10, 20]),
    kvComputed: histogram(tokens),
    stepTokens: histogram(VLLM_STEP_TOKENS),
    transferTime: histogram(sg ? SGLANG_TRANSFER_MS : NIXL_TIME),
    transferPost: histogram(sg ? SGLANG_TRANSFER_SPEED : NIXL_POST),
    transferBytes: histogram(sg ? SGLANG_TRANSFER_MB : NIXL_BYTES),
    transferDescriptors: histogram(NIXL_DESCRIPTORS),
    grammarTime: histogram(SGLANG_GRAMMAR),
    loadTime: histogram(LMCACHE_TIME),
    storeTime: histogram(LMCACHE_TIME),
  };
}
