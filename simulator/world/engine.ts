/**
 * The step loop of a replica: schedule, run through the pipeline stages, hand out tokens, record. Data-parallel cores step
 * together; pipeline microbatches follow each other through the stages.
 */
import { observe } from './histogram.ts';
import { flush } from './kv-cache.ts';
import {
  dropWaiting,
  enterDecode,
  freeBlocks,
  leaveGroup,
  pushWaiting,
  removeRunning,
  retire,
  schedule,
  storeToTier,
  takeFinished,
  waitingCount,
} from './scheduler.ts';
import { type Batch, batchBytes, batchFlops, expertImbalance, stageTime } from './step-time.ts';
import {
  BLOCKED,
  type Group,
  REQUEST,
  type Replica,
  type Request,
  type Sched,
  type StageDetail,
  type World,
} from './types.ts';

/** Called when a prefill replica has finished a prompt; set by the disaggregation module. */
export interface EngineHooks {
  prefillDone?: (w: World, r: Request) => void;
  /** Room may have appeared on this core. */
  room?: (w: World, s: Sched) => void;
}

export const hooks: WeakMap<World, EngineHooks> = new WeakMap();

/** Gives a request to an engine core; it may have to wait for its grammar first. */
export function enqueue(w: World, s: Sched, r: Request): void {
  const rep = s.replica;
  r.sched = s;
  r.replica = rep;
  r.queuedAt = w.now;
  if (r.promptTokens + r.outputTokens > s.kv.total * s.kv.blockSize) {
    // Longer than the whole pool: engines refuse it.
    r.state = REQUEST.waiting;
    abort(w, r, 'error');
    return;
  }
  if (r.structured) {
    s.counters.structuredRequests++;
    const seen = schemasOf(rep);
    const cost = rep.knobs.grammarS * rep.hostSlow;
    if (seen.has(r.schema)) s.counters.grammarHits++;
    else {
      seen.set(r.schema, w.now);
      if (seen.size > 64) seen.delete(seen.keys().next().value as number);
      const workers = compilers(rep);
      let free = 0;
      for (let i = 1; i < workers.length; i++) if (workers[i]! < workers[free]!) free = i;
      const start = Math.max(w.now, workers[free]!);
      workers[free] = start + cost;
      r.blockedBy = BLOCKED.grammar;
      r.blockedUntil = start + cost;
      observe(s.counters.grammarTime, r.blockedUntil - w.now);
      w.queue.at(r.blockedUntil, () => kick(w, rep));
    }
  }
  pushWaiting(s, r);
  kick(w, rep);
}

const schemas = new WeakMap<Replica, Map<number, number>>();
/** When each thread of the grammar compiler is free. */
const compilerThreads = new WeakMap<Replica, Float64Array>();
function compilers(rep: Replica): Float64Array {
  let threads = compilerThreads.get(rep);
  if (!threads) {
    threads = new Float64Array(4);
    compilerThreads.set(rep, threads);
  }
  return threads;
}
function schemasOf(rep: Replica): Map<number, number> {
  let seen = schemas.get(rep);
  if (!seen) {
    seen = new Map();
    schemas.set(rep, seen);
  }
  return seen;
}

/** Starts a step in every idle microbatch slot that has work. */
export function kick(w: World, rep: Replica): void {
  if (rep.state !== 'ready') return;
  for (let g = 0; g < rep.groupBusy.length; g++) if (!rep.groupBusy[g]) begin(w, rep, g);
}

const batch: Batch = { tokens: 0, prefillTokens: 0, decodeSeqs: 0, attention: 0, kvTokens: 0 };
const stageStart: number[] = [];
const stageEnd: number[] = [];

function hasWork(s: Sched, g: Group): boolean {
  return g.n > 0 || waitingCount(s) > 0 || s.deferred.size > 0;
}

function begin(w: World, rep: Replica, index: number): void {
  let any = false;
  for (const s of rep.scheds) if (hasWork(s, s.groups[index]!)) any = true;
  if (!any) return;
  const k = rep.knobs;
  const spec = w.spec.deploy;
  const draft = spec.speculative ? spec.speculative.tokens : 0;
  const pp = rep.stageFree.length;
  const now = w.now;
  let tokens = 0;
  let prefillTokens = 0;
  let decodeSeqs = 0;
  let work = false;
  let slowest = 0;
  let host = 0;
  let mode: 'full' | 'piecewise' | 'eager' = 'full';
  let gpuTime = 0;
  let opTime = 0;
  let opBytes = 0;
  let start = now;
  const epRanks = spec.ep ? rep.ranks.length / pp : 1;

  for (const s of rep.scheds) {
    const g = s.groups[index]!;
    const d = schedule(w, s, g);
    const seqs = g.stepDecode;
    const t = d.prefillTokens + seqs * (1 + draft);
    g.stepPrefillTokens = d.prefillTokens;
    tokens += t;
    prefillTokens += d.prefillTokens;
    decodeSeqs += seqs;
    if (t > 0) work = true;
    s.stepKind = d.prefillTokens > 0 ? 1 : 0;
    const h = (0.0009 + 7e-6 * (seqs + g.chunkOf.length) + 35e-6 * d.admitted + 1.2e-6 * waitingCount(s)) * k.hostScale;
    if (h > host) host = h;
  }
  if (!work) {
    for (const s of rep.scheds) publish(w, s);
    return;
  }
  let maxSeqs = 0;
  for (const s of rep.scheds)
    maxSeqs = Math.max(maxSeqs, s.groups[index]!.stepDecode + s.groups[index]!.chunkOf.length);
  if (k.eager) mode = 'eager';
  else if (prefillTokens > 0) mode = 'piecewise';
  else if (maxSeqs > k.graphMaxSeqs) mode = 'eager';

  // Host work, stretched by a starved or throttled CPU.
  host *= rep.hostSlow;
  if (rep.noise.chance(0.0008)) host += rep.noise.between(0.012, 0.035);
  if (rep.hostPause > 0 && rep.noise.chance(rep.hostPause)) host += rep.hostPauseS * rep.noise.exponential();
  if (k.grammarMask > 0 && decodeSeqs > 0) host += k.grammarMask * decodeSeqs * rep.hostSlow;

  rep.noiseLevel = 0.9 * rep.noiseLevel + 0.435 * rep.noise.normal() * 0.015;
  const noise = 1 + rep.noiseLevel + (rep.noise.chance(0.001) ? rep.noise.exponential() * 0.15 : 0);

  const detail: StageDetail[] | null = w.listeners.detail?.(rep) ? [] : null;
  let ready = now;
  // Setting a length is a slow call, even to what it is.
  if (stageStart.length !== pp) {
    stageStart.length = pp;
    stageEnd.length = pp;
  }
  for (let stage = 0; stage < pp; stage++) {
    const share = k.stageShare[stage]!;
    let stageS = 0;
    let lastHost = 0;
    for (const s of rep.scheds) {
      const g = s.groups[index]!;
      batch.tokens = g.stepPrefillTokens + g.stepDecode * (1 + draft);
      batch.prefillTokens = g.stepPrefillTokens;
      batch.decodeSeqs = g.stepDecode;
      batch.attention = 0;
      batch.kvTokens = g.stepDecode > 0 ? g.ctx : 0;
      for (let i = 0; i < g.chunkOf.length; i++) {
        const r = g.chunkOf[i]!;
        const n = g.chunkTokens[i]!;
        batch.attention += n * (r.computed + n / 2);
        batch.kvTokens += r.computed;
      }
      const ranks = rep.tpGroups[s.dp]![stage]!;
      const st = stageTime(rep, ranks, share, batch, mode === 'eager', epRanks);
      if (stage === 0) {
        s.counters.flops += batchFlops(rep, batch) / (ranks.length * pp);
        const bytes = batchBytes(rep, batch) / (ranks.length * pp);
        s.counters.readBytes += bytes;
        s.counters.writeBytes += (batch.tokens * rep.model.kvBytes) / (ranks.length * pp);
      }
      const busy = st.total * noise;
      // Drafting costs a little per proposed token.
      if (busy > stageS) stageS = busy;
      if (st.op > opTime) {
        opTime = st.op;
        opBytes = st.opBytes;
      }
      const late: number[] | null = detail ? [] : null;
      for (const rank of ranks) {
        let delay = 0;
        if (rank.hostDelayS > 0 && rank.random.chance(rank.hostDelayShare))
          delay = rank.hostDelayS * rank.random.exponential();
        if (delay > lastHost) lastHost = delay;
        if (late) late.push(delay);
        rank.gpu.linkBytes += ((2 * (ranks.length - 1)) / ranks.length) * st.opBytes * st.ops;
      }
      if (detail)
        detail.push({
          dp: s.dp,
          stage,
          tokens: batch.tokens,
          compute: st.compute.map((x) => x * noise),
          late: late!,
          op: st.op,
          ops: st.ops,
          opBytes: st.opBytes,
        });
    }
    if (draft > 0) stageS *= 1 + 0.035 * draft;
    stageS += lastHost;
    for (const s of rep.scheds)
      for (const rank of rep.tpGroups[s.dp]![stage]!) rank.gpu.busyS += stageS - lastHost * 0.5;
    const gap = stage === 0 ? (spec.asyncScheduling ? Math.max(0.00015, host - 0.95 * stageS * pp) : host) : 0;
    if (stage === 0) {
      slowest = gap;
      start = Math.max(ready, rep.stageFree[0]!);
      ready = start + gap;
    } else ready += 35e-6 + (tokens * rep.model.hidden * 2) / 40e9;
    const from = Math.max(ready, rep.stageFree[stage]!);
    stageStart[stage] = from;
    ready = from + stageS;
    stageEnd[stage] = ready;
    rep.stageFree[stage] = ready;
    gpuTime += stageS;
  }
  const end = ready;
  rep.hostS += host;
  rep.gpuS += gpuTime;
  rep.cpu.engine += host;
  rep.groupBusy[index] = true;
  const life = rep.life;
  const stepHost = slowest;
  if (w.listeners.step)
    w.listeners.step(rep, {
      start,
      end,
      group: index,
      prefillTokens,
      decodeSeqs,
      gpuS: gpuTime,
      hostS: stepHost,
      opS: opTime,
      mode,
      stageStart,
      stageEnd,
      bytesPerOp: opBytes,
      detail,
    });
  for (const s of rep.scheds) {
    const c = s.counters;
    c.hostSeconds += stepHost;
    c.stepSeconds += end - start;
    if (mode === 'full') c.graphSteps++;
    else if (mode === 'eager') c.eagerSteps++;
    else c.piecewiseSteps++;
    const total = prefillTokens + decodeSeqs;
    c.prefillSeconds += (gpuTime * prefillTokens) / Math.max(1, total);
    c.decodeSeconds += (gpuTime * decodeSeqs) / Math.max(1, total);
  }
  w.queue.at(end, () => {
    if (rep.life === life) finishStep(w, rep, index);
  });
}

const ended: Request[] = [];

function finishStep(w: World, rep: Replica, index: number): void {
  rep.groupBusy[index] = false;
  if (rep.state === 'hung') return;
  const now = w.now;
  rep.stepId++;
  const draft = w.spec.deploy.speculative ? w.spec.deploy.speculative.tokens : 0;
  for (const s of rep.scheds) {
    const g = s.groups[index]!;
    const c = s.counters;
    const decoded = Math.min(g.stepDecode, g.nDecode);
    let output = 0;
    let promptDone = 0;
    if (decoded > 0) {
      const gap = now - g.lastEnd;
      let old = decoded;
      for (const r of g.fresh) {
        if (r.group !== g || r.state !== REQUEST.decode) continue;
        observe(c.itl, now - r.lastToken);
        observe(w.frontend.itl, now - r.lastToken);
        old--;
      }
      if (old > 0) {
        observe(c.itl, gap, old);
        observe(w.frontend.itl, gap, old);
      }
      if (g.fresh.length > 0) g.fresh.length = 0;
      g.g += g.advance;
      g.ctx += decoded * g.advance;
      output += decoded * g.advance;
      g.lastEnd = now;
      if (draft > 0) {
        c.drafts += decoded;
        c.draftTokens += decoded * draft;
        c.acceptedTokens += decoded * (g.advance - 1);
        c.acceptedRecent = 0.98 * c.acceptedRecent + 0.02 * (g.advance - 1);
        for (let i = 0; i < g.advance - 1; i++) c.acceptedAt[i] = c.acceptedAt[i]! + decoded;
      }
      if (ended.length > 0) ended.length = 0;
      takeFinished(g, ended);
      for (const r of ended) {
        output -= g.g - r.finishG;
        retire(s, g, r);
        end(w, s, r, 'ok');
      }
    }
    for (let i = 0; i < g.chunkOf.length; i++) {
      const r = g.chunkOf[i]!;
      if (r.group !== g || r.state !== REQUEST.prefill) continue;
      r.computed += g.chunkTokens[i]!;
      c.computedTokens += g.chunkTokens[i]!;
      if (r.computed < r.target) continue;
      // The prompt is complete: this step also gave a token.
      const at = g.prefilling.indexOf(r);
      if (at >= 0) g.prefilling.splice(at, 1);
      output++;
      r.generated++;
      if (r.generated === 1) {
        promptDone += r.promptTokens;
        r.firstToken = now;
        c.promptTokens += r.promptTokens;
        c.cachedTokens += r.cached;
        observe(c.ttft, now + apiDelay(rep) - r.engineArrival);
        if (r.onFirst) r.onFirst(r, now + apiDelay(rep));
      } else observe(c.itl, now - r.lastToken);
      r.lastToken = now;
      if (rep.role === 'prefill' || r.generated >= r.outputTokens) {
        leaveGroup(s, g, r);
        end(w, s, r, 'ok');
      } else {
        enterDecode(g, r, r.computed);
        g.fresh.push(r);
      }
    }
    if (g.chunkOf.length > 0 || decoded > 0) {
      c.steps++;
      c.generatedTokens += output;
      if (rep.expertParallel) {
        c.balanceCount++;
        c.balanceSum += 1 / (1 + expertImbalance(rep, g.stepDecode + g.stepPrefillTokens, rep.ranks.length));
      }
      rep.cpu.api += output * 22e-6;
      rep.api.demandS += output * 22e-6 * rep.knobs.apiScale;
      observe(c.stepTokens, promptDone + output);
      s.decodeSinceLog += decoded > 0 ? 1 : 0;
      c.evictedTokens = s.kv.evictedBlocks * s.kv.blockSize;
    }
    publish(w, s);
    hooks.get(w)?.room?.(w, s);
  }
  begin(w, rep, index);
  // Work that was waiting may fit into another idle slot now.
  if (rep.groupBusy.length > 1) kick(w, rep);
}

/** Gauges as the engine writes them at the end of a step: they stand still when the loop does. */
export function publish(w: World, s: Sched): void {
  const c = s.counters;
  let ctx = 0;
  for (const g of s.groups) ctx += g.ctx;
  const deferred = s.deferred.size + s.inTransfer;
  const sglang = w.spec.deploy.engine === 'sglang';
  if (sglang && s.stepKind === 0 && s.decodeSinceLog < 40 && s.running.n > 0) return;
  s.decodeSinceLog = 0;
  const since = w.now - s.logged.at;
  if (since > 0.05) {
    c.genThroughput = (c.generatedTokens - s.logged.tokens) / since;
    s.logged.at = w.now;
    s.logged.tokens = c.generatedTokens;
  }
  c.running = s.running.n;
  c.waiting = sglang ? waitingCount(s) : waitingCount(s) + deferred + s.prealloc.length;
  c.waitingDeferred = deferred;
  c.kvUsage = s.kv.used / s.kv.total;
  c.ctxTokens = ctx;
  c.grammarQueue = s.grammarWaiting;
  c.preallocQueue = s.prealloc.length;
  c.transferQueue = s.inTransfer;
  c.inflightQueue = s.held.size;
  c.bootstrapQueue = s.bootstrap.size;
}

/** Seconds the API process adds between the core and the client: tokens go out before new requests come in. */
export function apiDelay(rep: Replica): number {
  const use = Math.min(0.97, rep.api.use);
  return (0.0006 * rep.hostSlow * Math.min(20, rep.knobs.apiScale)) / (1 - use);
}

/** The core is done with a request: populations that are observed at the end, and blocks. */
function end(w: World, s: Sched, r: Request, outcome: 'ok' | 'abort' | 'error'): void {
  const c = s.counters;
  const now = w.now;
  const rep = s.replica;
  r.finished = now;
  r.lastToken = now;
  const held = rep.role === 'prefill' && outcome === 'ok';
  if (outcome === 'ok') {
    if (r.outputTokens >= r.maxTokens || rep.role === 'prefill') c.finishedLength++;
    else c.finishedStop++;
    observe(c.queue, r.firstScheduled - r.queuedAt);
    observe(c.prefill, r.firstToken - r.firstScheduled);
    observe(c.decode, now - r.firstToken);
    observe(c.inference, now - r.firstScheduled);
    observe(c.e2e, now + apiDelay(rep) - r.engineArrival);
    const generated = rep.role === 'prefill' ? 1 : r.outputTokens;
    observe(c.tpot, generated > 1 ? (now - r.firstToken) / (generated - 1) : 0);
    observe(c.promptLen, r.promptTokens);
    observe(c.outputLen, generated);
    observe(c.maxTokens, rep.role === 'prefill' ? 1 : r.maxTokens);
    observe(c.paramsN, 1);
    observe(c.kvComputed, r.promptTokens - r.cached);
    if (w.spec.deploy.lmcache) storeToTier(s, r);
    rep.outcome.ok++;
  } else if (outcome === 'abort') {
    c.finishedAbort++;
    rep.outcome.abort++;
  } else rep.outcome.error++;
  if (held) {
    r.state = REQUEST.held;
    r.heldSince = now;
    s.held.add(r);
  } else {
    freeBlocks(s, r, r.computed);
    r.state = outcome === 'ok' ? REQUEST.done : REQUEST.aborted;
  }
  if (r.onEnd) r.onEnd(r, outcome);
  if (held) hooks.get(w)?.prefillDone?.(w, r);
}

/** Takes a request out of the engine before its end: client gone, or replica dying (`error`). */
export function abort(w: World, r: Request, outcome: 'abort' | 'error' = 'abort'): void {
  const s = r.sched;
  if (!s || r.state === REQUEST.done || r.state === REQUEST.aborted) return;
  if (r.state === REQUEST.waiting) {
    const i = s.prealloc.indexOf(r);
    if (i >= 0) s.prealloc.splice(i, 1);
    else if (r.queued || s.deferred.has(r)) dropWaiting(s, r);
  } else if (r.group) {
    // The step under way already took the blocks of its tokens.
    const g = r.group;
    r.computed = removeRunning(s, r, s.replica.groupBusy[g.index] && g.stepDecode > 0 ? g.advance : 0);
  } else if (r.state === REQUEST.held) s.held.delete(r);
  end(w, s, r, outcome);
}

/** Everything in the replica is lost: requests fail, caches and counters are empty. Returns the victims. */
export function wipe(w: World, rep: Replica): Request[] {
  const victims: Request[] = [];
  for (const s of rep.scheds) {
    for (const g of s.groups) for (const r of g.run) if (r.group === g) victims.push(r);
    for (let i = s.waitingHead; i < s.waiting.length; i++) if (s.waiting[i]!.queued) victims.push(s.waiting[i]!);
    victims.push(...s.deferred, ...s.prealloc, ...s.held);
    s.bootstrap.clear();
  }
  const unique = [...new Set(victims)];
  for (const r of unique) abort(w, r, 'error');
  for (const s of rep.scheds) flush(s.kv);
  rep.groupBusy.fill(false);
  rep.stageFree.fill(w.now);
  return unique;
}
