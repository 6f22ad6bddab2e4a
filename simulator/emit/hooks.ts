/**
 * What the shim inside the engines sends (interfaces.md §4): collectives of every rank, pipeline stages, engine steps and
 * KV transfers, as bursts, each stamped with its own host's wall clock. Ranks of a collective leave it together, so the
 * one that came last has the shortest span.
 */

import type { Random } from '../random.ts';
import { random } from '../random.ts';
import { expertComm, tensorComm } from '../world/comms.ts';
import { allToAllTime, expertImbalance } from '../world/step-time.ts';
import type { Rank, Replica, StageDetail, StepInfo, TransferInfo, World } from '../world/types.ts';
import { attributes, hexId, nanos, spansLine, spanText, type Value } from './otlp.ts';

const SCOPE = 'enginelight.hooks';

export interface HookEmitter {
  /** Which replicas' next step is wanted in detail. */
  detail(rep: Replica): boolean;
  step(rep: Replica, info: StepInfo): void;
  transfer(traceRequest: { id: number; traceId: string }, info: TransferInfo): void;
  /** Once a second: open collectives of hung groups. */
  tick(): void;
}

/** Seconds by which a host's clock differs at a time. */
export const clockError = (w: World, node: Rank['gpu']['node']): number =>
  (node.clockOffsetMs + node.clockStepMs) / 1000 + node.clockDriftPpm * 1e-6 * (w.now + 60);

export function hookEmitter(w: World, epochMs: number, put: (line: string) => void): HookEmitter {
  const { spec } = w;
  const every = spec.observe.hooksEveryS;
  const noise: Random = random(spec.seed, 'hooks');
  const next = new Map<Replica, number>();
  const stepsLeft = new Map<Replica, number>();
  const pending = new Map<Rank, string[]>();
  const resources = new Map<Rank, string>();
  const lastOpen = new Map<Replica, number>();
  let spanSerial = 1;
  let burst = 0;

  const resourceOf = (rank: Rank): string => {
    let text = resources.get(rank);
    if (text) return text;
    const rep = rank.replica;
    const d = spec.deploy;
    text = attributes([
      ['service.name', d.service],
      ['service.instance.id', rep.id],
      ['inference.engine', d.engine],
      ['inference.role', rep.role],
      ['inference.rank.tp', rank.tp],
      ['inference.rank.pp', d.pp > 1 ? rank.pp : undefined],
      ['inference.rank.dp', d.dp > 1 ? rank.dp : undefined],
      ['inference.rank.ep', d.ep ? rank.ep : undefined],
      ['inference.rank', rank.global],
      ['inference.world_size', rep.ranks.length],
      ['host.name', rank.gpu.node.name],
      ['hw.id', rank.gpu.uuid],
      ['hw.gpu.pci_bus_id', rank.gpu.pci],
      ...(spec.cluster.kubernetes
        ? ([
            ['k8s.namespace.name', 'inference'],
            ['k8s.pod.name', rep.pod],
          ] as const)
        : []),
    ]);
    resources.set(rank, text);
    return text;
  };

  const trace = (rep: Replica) => `${hexId(spec.seed % 0xffffffff, 8)}${hexId(rep.index + 1, 8)}${hexId(burst, 16)}`;

  const add = (
    rank: Rank,
    name: string,
    start: number,
    end: number,
    entries: readonly (readonly [string, Value | undefined])[],
    error?: string,
  ) => {
    const shift = clockError(w, rank.gpu.node);
    const text = spanText({
      traceId: trace(rank.replica),
      spanId: hexId(spanSerial++, 16),
      name,
      kind: 1,
      start: nanos(epochMs, start + shift),
      end: nanos(epochMs, end + shift),
      attributes: attributes(entries),
      ...(error === undefined ? {} : { error }),
    });
    const list = pending.get(rank);
    if (list) list.push(text);
    else pending.set(rank, [text]);
  };

  const flush = () => {
    for (const [rank, spans] of pending) put(spansLine(resourceOf(rank), SCOPE, spans));
    pending.clear();
  };

  const collectives = (rep: Replica, info: StepInfo, d: StageDetail, most: number) => {
    const ranks = rep.tpGroups[d.dp]![d.stage]!;
    const R = ranks.length;
    const expert = spec.deploy.ep;
    if (R < 2 && !expert) return;
    const backend = rep.sku.vendor === 'amd' ? 'rccl' : 'nccl';
    const commId = tensorComm(rep, d.dp, d.stage);
    const n = Math.min(most, d.ops);
    let clock = info.stageStart[d.stage]!;
    const arrive = new Float64Array(R);
    for (let k = 0; k < n && R > 1; k++) {
      let last = 0;
      for (let r = 0; r < R; r++) {
        const own = (d.compute[r]! / d.ops) * (1 + 0.02 * noise.normal()) + (k === 0 ? d.late[r]! : 0);
        arrive[r] = clock + Math.max(1e-6, own) + 2e-7 * noise.next();
        if (arrive[r]! > last) last = arrive[r]!;
      }
      const x = d.op * (1 + 0.03 * Math.abs(noise.normal()));
      const end = last + x;
      for (let r = 0; r < R; r++)
        add(ranks[r]!, 'collective', arrive[r]!, end + x * 0.04 * noise.next(), [
          ['comm.id', commId],
          ['comm.seq', rep.commSeq + k],
          ['comm.op', 'all_reduce'],
          ['comm.bytes', d.opBytes],
          ['comm.size', R],
          ['comm.rank', r],
          ['comm.backend', backend],
        ]);
      clock = end;
    }
  };

  /** Expert all-to-alls run over all ranks of the replica; the rank with the hot experts comes last. */
  const exchanges = (rep: Replica, info: StepInfo, details: readonly StageDetail[], most: number) => {
    const ranks = rep.ranks;
    const R = ranks.length;
    if (R < 2) return;
    const backend = rep.sku.vendor === 'amd' ? 'rccl' : 'nccl';
    let tokens = 0;
    for (const d of details) tokens += d.tokens;
    const x0 = allToAllTime(rep, tokens, R);
    const extra = rep.model.moeShare * expertImbalance(rep, tokens, R);
    let clock = info.stageStart[0]!;
    const arrive = new Float64Array(R);
    for (let k = 0; k < most; k++) {
      let last = 0;
      for (let r = 0; r < R; r++) {
        const rank = ranks[r]!;
        const d = details.find((z) => z.dp === rank.dp)!;
        const hot = rank.ep === rep.knobs.hotExpertRank && rep.knobs.hotExpert > 0 ? 1 : 1 + extra * 0.3 * noise.next();
        const own = (d.compute[rank.tp]! / (2 * rep.model.layers)) * hot * (1 + 0.02 * noise.normal());
        arrive[r] = clock + Math.max(1e-6, own);
        if (arrive[r]! > last) last = arrive[r]!;
      }
      const x = x0 * (1 + 0.04 * Math.abs(noise.normal()));
      for (let r = 0; r < R; r++)
        add(ranks[r]!, 'collective', arrive[r]!, last + x * (1 + 0.04 * noise.next()), [
          ['comm.id', expertComm(rep)],
          ['comm.seq', rep.commSeq + k],
          ['comm.op', 'all_to_all'],
          ['comm.bytes', Math.round((tokens * rep.model.hidden * rep.model.topK) / R)],
          ['comm.size', R],
          ['comm.rank', r],
          ['comm.backend', backend],
        ]);
      clock = last + x;
    }
  };

  return {
    detail(rep) {
      if (every === 0 || w.now < 0) return false;
      const at = next.get(rep) ?? 1 + ((rep.index * 1.7) % every);
      if (w.now >= at) {
        next.set(rep, w.now + every);
        stepsLeft.set(rep, spec.deploy.pp > 1 ? 24 : 12);
        burst++;
        return true;
      }
      next.set(rep, at);
      return false;
    },
    step(rep, info) {
      rep.commSeq += 2 * rep.model.layers;
      const left = stepsLeft.get(rep) ?? 0;
      if (left <= 0) return;
      stepsLeft.set(rep, left - 1);
      const first = rep.ranks[0]!;
      add(first, 'engine_step', info.start, info.end, [
        ['step.id', rep.stepId],
        ['step.prefill_tokens', info.prefillTokens],
        ['step.decode_seqs', info.decodeSeqs],
        ['step.gpu_time_ns', Math.round(info.gpuS * 1e9)],
        ['step.schedule_time_ns', Math.round(info.hostS * 1e9)],
        ['step.graph', info.mode],
      ]);
      const pp = spec.deploy.pp;
      if (pp > 1) {
        for (let s = 0; s < pp; s++) {
          const rank = rep.tpGroups[0]![s]![0]!;
          add(rank, 'pipeline_stage', info.stageStart[s]!, info.stageEnd[s]!, [
            ['stage.index', s],
            ['stage.count', pp],
            ['microbatch', info.group],
            ['step.id', rep.stepId],
            ['stage.tokens', info.prefillTokens + info.decodeSeqs],
          ]);
        }
      }
      if (info.detail) {
        const cores = info.detail.length;
        const most = Math.max(8, Math.floor(spec.observe.hooksOps / (spec.deploy.ep ? 2 : 1)));
        for (const d of info.detail) collectives(rep, info, d, Math.max(6, Math.floor(most / Math.max(1, cores / 2))));
        if (spec.deploy.ep) exchanges(rep, info, info.detail, Math.max(8, Math.floor(most / 2)));
      }
      if (left === 1) flush();
    },
    transfer(request, info) {
      if (every === 0 || w.now < 0) return;
      const rank = info.to.ranks[0]!;
      const text = spanText({
        traceId: request.traceId || trace(info.to),
        spanId: hexId(spanSerial++, 16),
        name: 'kv_transfer',
        kind: 1,
        start: nanos(epochMs, info.start + clockError(w, rank.gpu.node)),
        end: nanos(epochMs, info.end + clockError(w, rank.gpu.node)),
        attributes: attributes([
          ['kv.request_id', `req-${request.id}`],
          ['kv.source', info.from.id],
          ['kv.destination', info.to.id],
          ['kv.bytes', Math.round(info.bytes)],
          ['kv.blocks', Math.ceil(info.bytes / (w.model.kvBytes * 16))],
          [
            'kv.transport',
            spec.deploy.engine === 'sglang' ? 'mooncake' : info.to.knobs.wireTcp ? 'nixl_tcp' : 'nixl_rdma',
          ],
          ['kv.wait_ns', Math.round(Math.max(0, info.waitS) * 1e9)],
        ]),
        ...(info.ok ? {} : { error: 'transfer failed' }),
      });
      put(spansLine(resourceOf(rank), SCOPE, [text]));
    },
    tick() {
      if (every === 0 || w.now < 0) return;
      for (const rep of w.replicas) {
        if (rep.state !== 'hung' || w.now - rep.hungAt < 5) continue;
        if (w.now - (lastOpen.get(rep) ?? Number.NEGATIVE_INFINITY) < 10) continue;
        lastOpen.set(rep, w.now);
        burst++;
        const group = rep.tpGroups.flat().find((g) => g.some((r) => r.global === rep.hungRank)) ?? rep.ranks;
        for (const rank of group) {
          if (rank.global === rep.hungRank) continue;
          add(rank, 'collective', rep.hungAt, w.now, [
            ['comm.id', tensorComm(rep, group[0]!.dp, group[0]!.pp)],
            ['comm.seq', rep.commSeq],
            ['comm.op', 'all_reduce'],
            ['comm.bytes', 65536],
            ['comm.size', group.length],
            ['comm.rank', rank.tp],
            ['comm.backend', rep.sku.vendor === 'amd' ? 'rccl' : 'nccl'],
            ['hook.open', true],
          ]);
        }
        flush();
      }
    },
  };
}
