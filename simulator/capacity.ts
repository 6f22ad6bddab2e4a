/** How much load a deployment carries: the analytic knee that scenarios scale their load by. */
import { BANDWIDTH_EFFICIENCY, MODELS, PREFILL_MFU, SKUS } from './hardware.ts';
import { SUSTAINED } from './knees.ts';
import type { Spec } from './spec.ts';
import { kvTokensOf } from './world/build.ts';

/** Mean prompt, share of it that caches serve, and answer length of a mix at the usual sharing; from long runs of it. */
const MIX_MEANS: Readonly<Record<Spec['load']['mix'], { prompt: number; hit: number; output: number }>> = {
  chat: { prompt: 680, hit: 0.66, output: 232 },
  rag: { prompt: 2170, hit: 0.2, output: 165 },
  code: { prompt: 5000, hit: 0.13, output: 370 },
  agentic: { prompt: 3350, hit: 0.52, output: 145 },
  batch: { prompt: 900, hit: 0.12, output: 650 },
  'chat+rag': { prompt: 1200, hit: 0.36, output: 212 },
  'chat+code': { prompt: 2100, hit: 0.21, output: 275 },
};

/** Requests per second at which the deployment is full: its slowest resource, at batches that keep ITL bearable. */
export function knee(spec: Spec): number {
  const d = spec.deploy;
  const shape = d.pd
    ? `pd-${d.model.replace('-like', '')}`
    : d.pp > 1
      ? 'pp'
      : d.dp > 1
        ? 'moe'
        : `agg-${d.model.replace('-like', '')}`;
  const measured = SUSTAINED[shape]?.[spec.cluster.sku]?.[spec.load.mix] ?? 0.6;
  // SGLang runs prefill batches alone, and client retries and schemas cost a little.
  const l = spec.load;
  // What the measured knee did not have: bursts of tens of seconds, a router that does not look, retries, schemas.
  let margin = l.process === 'trace' ? 0.72 : l.process === 'gamma' && l.cv > 1.4 ? 0.93 : 1;
  if (d.router === 'round-robin' || d.router === 'random') margin *= 0.9;
  if (l.mix === 'agentic') margin *= 0.8;
  if (l.clientRetry.max > 0) margin *= 0.93;
  if (l.structured > 0) margin *= 0.95;
  // SGLang runs prefill batches alone; with many tokens from many ranks that costs most.
  if (d.engine === 'sglang') margin *= d.dp > 1 ? 0.62 : 0.85;
  return analyticKnee(spec) * measured * margin;
}

/** The same from rates alone, without what batching and bursts cost. */
export function analyticKnee(spec: Spec): number {
  const d = spec.deploy;
  const sku = SKUS[spec.cluster.sku]!;
  const model = MODELS[d.model]!;
  const mean = MIX_MEANS[spec.load.mix];
  const shards = d.tp * d.pp;
  const flops = sku.flops * PREFILL_MFU * shards;
  const computed = mean.prompt * (d.prefixCaching ? 1 - mean.hit : 1);
  const prefillS = (2 * model.activeParams * computed) / flops + (model.layers * 30e-6 * computed) / d.maxBatchTokens;
  const context = mean.prompt + mean.output / 2;
  const kv = kvTokensOf(spec, sku);
  let best = 0;
  for (const n of [4, 8, 16, 32, 48, 64, 96, 128, 192, 256]) {
    if (n > d.maxSeqs || n * context > kv * 0.85) break;
    const expertsRead = model.experts === 0 ? 1 : 1 - (1 - model.topK / model.experts) ** n;
    const dense = model.experts === 0 ? model.params : model.activeParams * (1 - model.moeShare);
    const weights = (dense + (model.params - dense) * expertsRead) * model.weightBytes;
    const bytes = weights + n * context * model.kvBytes;
    const step = bytes / (sku.bandwidth * BANDWIDTH_EFFICIENCY * shards) + model.layers * 2 * 13e-6 + 0.0015;
    if (step > 0.075) break;
    const decodeS = (mean.output * step) / n;
    const rate = d.pd ? 1 / decodeS : 1 / (prefillS + decodeS);
    best = Math.max(best, rate);
  }
  if (best === 0) best = 0.5 / (prefillS + mean.output * 0.05);
  if (d.pd) return Math.min((d.pd.prefill * 0.9) / prefillS, d.pd.decode * best * 0.9);
  // Pipelines lose to fill and to microbatches of unequal size.
  return best * d.replicas * d.dp * (d.pp > 1 ? 0.62 : 0.9);
}
