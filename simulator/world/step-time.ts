/**
 * How long one engine step takes: a roofline per rank (matrix products against HBM traffic), collectives with a start-up
 * cost and a bandwidth, the host's share, and noise. Every rank's part is scaled by its own GPU, and the group waits for
 * its slowest member, which is what makes one slow GPU everybody's problem.
 */
import { BANDWIDTH_EFFICIENCY, PREFILL_MFU } from '../hardware.ts';
import type { Rank, Replica } from './types.ts';

/** Work of one scheduler in one step. */
export interface Batch {
  /** Tokens that run through the layers: prompt chunks, decode tokens and draft tokens. */
  tokens: number;
  prefillTokens: number;
  decodeSeqs: number;
  /** Sum over prompt chunks of tokens x context they attend to. */
  attention: number;
  /** Tokens of context that are read from the cache. */
  kvTokens: number;
}

export interface StageTime {
  /** Kernel time of the slowest rank, with collectives and launches. */
  total: number;
  /** Kernel time of every rank of the TP group without waiting. */
  readonly compute: number[];
  /** Pure transfer time of one collective. */
  op: number;
  ops: number;
  opBytes: number;
}

/** Start-up cost of one all-reduce inside a node over NVLink or xGMI, and over PCIe/shared memory, seconds. */
export const ALLREDUCE_START = { nvlink: 9e-6, pcie: 28e-6, shm: 55e-6 } as const;
/** Share of the link's data-sheet rate that large collectives reach. */
export const LINK_EFFICIENCY = 0.75;
const SHM_BANDWIDTH = 9e9;
const LAYER_OVERHEAD_S = 11e-6;
/** CPU time to launch one layer's kernels without a CUDA graph. */
export const EAGER_LAUNCH_S = 105e-6;

/** Weight bytes that a step reads, over all ranks. */
export function weightBytes(replica: Replica, tokens: number): number {
  const m = replica.model;
  if (m.experts === 0) return m.params * m.weightBytes;
  const dense = m.activeParams * (1 - m.moeShare) * m.weightBytes;
  const experts = m.params * m.weightBytes - dense;
  return dense + experts * (1 - (1 - m.topK / m.experts) ** tokens);
}

export const batchFlops = (replica: Replica, batch: Batch): number =>
  2 * replica.model.activeParams * batch.tokens + 4 * replica.model.layers * replica.model.hidden * batch.attention;

export const batchBytes = (replica: Replica, batch: Batch): number =>
  weightBytes(replica, batch.tokens) + batch.kvTokens * replica.model.kvBytes;

/** Pure time of one all-reduce of this many bytes among these ranks. */
export function allReduceTime(replica: Replica, ranks: readonly Rank[], bytes: number): number {
  const size = ranks.length;
  if (size < 2) return 0;
  const k = replica.knobs;
  const wire = (2 * (size - 1) * bytes) / size;
  if (k.transport === 'shm') return ALLREDUCE_START.shm * k.commLatency + wire / (SHM_BANDWIDTH * k.commBandwidth);
  const sku = replica.sku;
  if (sku.linkBandwidth === 0) {
    const pcie = 2 ** (sku.pcieGen - 3) * sku.pcieWidth * 0.985e9 * 0.8;
    return ALLREDUCE_START.pcie * k.commLatency + wire / (pcie * k.commBandwidth);
  }
  let worst = 1;
  for (let i = 0; i < size; i++) {
    const left = 1 - ranks[i]!.gpu.fault.linkLost;
    if (left < worst) worst = left;
  }
  return (
    ALLREDUCE_START.nvlink * k.commLatency + wire / (sku.linkBandwidth * LINK_EFFICIENCY * k.commBandwidth * worst)
  );
}

/** Share by which the busiest expert-parallel rank is over the mean: chance plus the skew of a hot expert. */
export function expertImbalance(replica: Replica, tokens: number, ranks: number): number {
  if (ranks < 2) return 0;
  const n = Math.max(1, tokens * replica.model.topK);
  return 0.6 * Math.sqrt(2 * Math.log(ranks)) * Math.sqrt(ranks / n) + replica.knobs.hotExpert;
}

const scratch: StageTime = { total: 0, compute: [], op: 0, ops: 0, opBytes: 0 };

/** Time of one pipeline stage for this batch on these ranks. The result is reused by the next call. */
export function stageTime(
  replica: Replica,
  ranks: readonly Rank[],
  share: number,
  batch: Batch,
  eager: boolean,
  epRanks: number,
): StageTime {
  const m = replica.model;
  const k = replica.knobs;
  const tp = ranks.length;
  const flops = (batchFlops(replica, batch) * share) / tp;
  const dense = m.experts === 0 ? m.params * m.weightBytes : m.activeParams * (1 - m.moeShare) * m.weightBytes;
  const experts = weightBytes(replica, batch.tokens) - dense;
  const bytes = (dense / tp + experts / (epRanks > 1 ? epRanks : tp) + (batch.kvTokens * m.kvBytes) / tp) * share;
  let moeExtra = 0;
  if (epRanks > 1 && m.experts > 0) moeExtra = m.moeShare * expertImbalance(replica, batch.tokens, epRanks);
  let slowest = 0;
  if (scratch.compute.length !== tp) scratch.compute.length = tp;
  for (let i = 0; i < tp; i++) {
    const rank = ranks[i]!;
    const gpu = rank.gpu;
    const free = 1 - gpu.fault.tenant;
    const tc = ((flops / (gpu.sku.flops * PREFILL_MFU)) * gpu.slowCompute * gpu.fault.kernel) / free;
    const tm = ((bytes / (gpu.sku.bandwidth * BANDWIDTH_EFFICIENCY)) * gpu.slowMemory * gpu.fault.kernel) / free;
    let t = tc > tm ? tc + 0.15 * tm : tm + 0.15 * tc;
    if (moeExtra > 0 && rank.ep === k.hotExpertRank) t *= 1 + moeExtra;
    t += m.layers * share * LAYER_OVERHEAD_S;
    scratch.compute[i] = t;
    if (t > slowest) slowest = t;
    gpu.tensorS += tc * 0.6;
    gpu.dramS += tm * BANDWIDTH_EFFICIENCY;
  }
  scratch.opBytes = batch.tokens * m.hidden * 2;
  scratch.op = allReduceTime(replica, ranks, scratch.opBytes);
  scratch.ops = Math.round(2 * m.layers * share);
  // All ranks have small kernel jitter per layer; the group pays the mean of the largest, about 1 %.
  let total = slowest * (tp > 1 ? 1.01 : 1) + (tp > 1 ? scratch.ops * scratch.op : 0);
  if (epRanks > 1) total += m.layers * share * 2 * allToAllTime(replica, batch.tokens, epRanks);
  if (eager) total = Math.max(total, m.layers * share * EAGER_LAUNCH_S * replica.hostSlow * k.hostScale) + 0.1 * total;
  scratch.total = total;
  return scratch;
}

/** One all-to-all of expert routing. */
export function allToAllTime(replica: Replica, tokens: number, ranks: number): number {
  const m = replica.model;
  const k = replica.knobs;
  const bytes = (tokens * m.hidden * m.topK * 1) / ranks;
  const bandwidth = replica.sku.linkBandwidth > 0 ? replica.sku.linkBandwidth * LINK_EFFICIENCY : 20e9;
  return 14e-6 * k.commLatency + bytes / (bandwidth * k.commBandwidth);
}
