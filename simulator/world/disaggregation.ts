/**
 * Prefill on one replica, decode on another. vLLM and Dynamo prefill first and let the decode side fetch; SGLang reserves
 * room on the decode side before the prompt runs. Blocks on the prefill side are leased: they stay until they were
 * fetched or the lease is over.
 */
import { toEngine } from './api-process.ts';
import { abort, enqueue, hooks, kick } from './engine.ts';
import { observe } from './histogram.ts';
import { available, blocksOf, claim, match, take } from './kv-cache.ts';
import { send } from './network.ts';
import { firstWaiting, freeBlocks, pushWaiting } from './scheduler.ts';
import { type Nic, REQUEST, type Replica, type Request, type Sched, type World } from './types.ts';
import { again } from './workload.ts';

interface Split {
  readonly request: Request;
  readonly leg: Request;
  readonly prefill: Replica;
  readonly decode: Replica;
  reserved: boolean;
  arrived: boolean;
  ready: boolean;
  started: boolean;
  /** The request is on its way to the decode side, or was there. */
  sent: boolean;
  /** The prefill side gave the blocks up before anybody came for them. */
  expired: boolean;
  attempts: number;
}

const splits = new WeakMap<Request, Split>();
const connected = new WeakMap<World, Set<string>>();

/** Starts both halves. */
export function startSplit(w: World, request: Request, prefill: Replica, decode: Replica): void {
  const leg = { ...again(request, request.arrival), attempt: request.attempt, outputTokens: 1 };
  const split: Split = {
    request,
    leg,
    prefill,
    decode,
    reserved: false,
    arrived: false,
    ready: false,
    started: false,
    sent: false,
    expired: false,
    attempts: 0,
  };
  splits.set(leg, split);
  splits.set(request, split);
  request.leg = leg;
  request.prefillReplica = prefill;
  request.decodeReplica = decode;
  request.onAbort = () => {
    // The proxy hangs up on the prefill side too, unless that is what is broken.
    if (prefill.knobs.cacheLeak === 0 && leg.state !== REQUEST.held) abort(w, leg);
  };
  leg.onEnd = (_leg, outcome) => {
    if (outcome === 'ok' || request.state === REQUEST.aborted) return;
    prefill.scheds[0]!.bootstrap.delete(leg);
    if (request.sched) {
      abort(w, request, outcome);
      return;
    }
    request.state = REQUEST.aborted;
    request.finished = w.now;
    request.onEnd?.(request, outcome);
  };
  if (w.spec.deploy.engine === 'sglang') {
    const core = decode.scheds[0]!;
    split.sent = true;
    toEngine(w, request, decode, () => {
      if (split.expired) return recompute(w, split);
      request.sched = core;
      request.replica = decode;
      request.queuedAt = w.now;
      core.prealloc.push(request);
      request.state = REQUEST.waiting;
      reserve(w, core);
    });
  }
  toEngine(w, leg, prefill, () => {
    if (request.state === REQUEST.aborted) return;
    split.arrived = true;
    // SGLang's prefill side waits in its bootstrap queue until the decode side has room.
    if (w.spec.deploy.engine !== 'sglang' || split.reserved) begin(w, split);
    else prefill.scheds[0]!.bootstrap.add(leg);
  });
}

function begin(w: World, split: Split): void {
  const core = split.prefill.scheds[0]!;
  core.bootstrap.delete(split.leg);
  if (split.request.state === REQUEST.aborted || split.prefill.state !== 'ready') return;
  enqueue(w, core, split.leg);
}

/** Wires the engine's events to this module. */
export function installDisaggregation(w: World): void {
  connected.set(w, new Set());
  hooks.set(w, {
    prefillDone: (world, leg) => prefillDone(world, leg),
    room: (world, s) => {
      if (s.prealloc.length > 0) reserve(world, s);
    },
  });
}

function prefillDone(w: World, leg: Request): void {
  const split = splits.get(leg)!;
  const { request, prefill, decode } = split;
  split.ready = true;
  const lease = w.spec.deploy.leaseS;
  w.queue.at(w.now + lease, () => {
    const s = leg.sched!;
    if (!s.held.has(leg) || split.started) return;
    s.counters.transferExpired++;
    drop(w, s, leg);
    if (request.state === REQUEST.done || request.state === REQUEST.aborted) return;
    split.expired = true;
    if (request.sched !== null) recompute(w, split);
    // Still on its way to the decode side, it finds nothing there; or the way begins only now.
    else if (!split.sent) toEngine(w, request, decode, () => recompute(w, split));
  });
  if (request.state === REQUEST.aborted) {
    // Nobody will come for the blocks; without a cancel they stay until the lease is over.
    if (prefill.knobs.cacheLeak === 0) drop(w, leg.sched!, leg);
    return;
  }
  if (prefill.knobs.expire > 0 && prefill.random.chance(prefill.knobs.expire * 0.3)) {
    // Nobody asks for it: the request waits until the lease is over, and the blocks with it.
    if (request.sched === null) request.queuedAt = w.now;
    return;
  }
  if (w.spec.deploy.engine === 'sglang') {
    if (split.reserved) startTransfer(w, split);
    return;
  }
  split.sent = true;
  toEngine(w, request, decode, () => {
    if (split.expired) return recompute(w, split);
    const core = decode.scheds[0]!;
    request.sched = core;
    request.replica = decode;
    request.queuedAt = w.now;
    request.state = REQUEST.waiting;
    core.prealloc.push(request);
    reserve(w, core);
  });
}

function drop(w: World, s: Sched, leg: Request): void {
  if (!s.held.delete(leg)) return;
  leg.state = REQUEST.done;
  freeBlocks(s, leg, leg.computed);
  kick(w, s.replica);
}

/** Gives decode-side blocks to requests in order, as far as there is room. */
function reserve(w: World, s: Sched): void {
  if (s.replica.state !== 'ready') return;
  const kv = s.kv;
  // SGLang keeps room for the answers of everybody it has let in; vLLM only for the step.
  const spare = w.spec.deploy.engine === 'sglang' ? Math.ceil(256 / kv.blockSize) : 1;
  while (s.prealloc.length > 0) {
    // Whoever was thrown out comes first.
    const head = firstWaiting(s);
    if (head && head.preemptions > 0 && head.privateBlocks === 0) break;
    const r = s.prealloc[0]!;
    const found = match(kv, r.segments);
    const shared = blocksOf(kv, r.segments);
    const own = Math.ceil(r.target / kv.blockSize) - shared;
    const cost = shared + own - found.cachedBlocks + found.idleBlocks;
    if (
      cost + spare * (s.running.n + s.inTransfer) > available(kv) ||
      s.running.n + s.inTransfer >= s.replica.knobs.maxSeqs * 1.5
    )
      break;
    s.prealloc.shift();
    r.path = claim(kv, r.segments, found);
    take(kv, own);
    r.privateBlocks = own;
    const local = Math.min(found.cachedBlocks * kv.blockSize, r.target - 1);
    r.cached = local;
    const c = s.counters;
    c.queries += r.target;
    c.hits += local;
    c.externalQueries += r.target - local;
    c.externalHits += r.target - local - 1;
    c.externalTokens += r.target - local - 1;
    r.computed = r.target - 1;
    const split = splits.get(r)!;
    split.reserved = true;
    r.preallocated = true;
    if (w.spec.deploy.engine === 'sglang' && split.arrived && !split.ready) begin(w, split);
    if (split.ready) startTransfer(w, split);
  }
}

/** NICs that the replica's ranks use, each once. */
export function railsOf(rep: Replica): Nic[] {
  const nics = new Set<Nic>();
  for (const rank of rep.ranks) nics.add(rank.gpu.node.nics[rank.gpu.index % rank.gpu.node.nics.length]!);
  return [...nics];
}

function startTransfer(w: World, split: Split): void {
  const { request, prefill, decode, leg } = split;
  if (split.started) return;
  split.started = true;
  split.attempts++;
  const s = decode.scheds[0]!;
  const model = w.model;
  const tokens = request.target - request.cached;
  const bytes = tokens * model.kvBytes;
  s.inTransfer++;
  request.transferWait = w.now - request.queuedAt;
  request.transferStart = w.now;
  request.transferBytes = bytes;
  const pair = `${prefill.id}->${decode.id}`;
  const known = connected.get(w)!;
  let handshake = 0.0012 + decode.knobs.wireLatencyS + prefill.knobs.wireLatencyS;
  if (!known.has(pair)) {
    known.add(pair);
    handshake += 0.35;
  }
  const post = 0.0006 + (tokens / 16) * model.layers * 2 * 4e-8;
  const life = decode.life;
  const finish = () => {
    if (decode.life !== life) return;
    s.inTransfer--;
    const failed = decode.random.chance(Math.max(prefill.knobs.transferFail, decode.knobs.transferFail));
    const duration = w.now - request.transferStart;
    request.transferEnd = w.now;
    w.listeners.transfer?.(request, {
      from: prefill,
      to: decode,
      bytes,
      start: request.transferStart,
      end: w.now,
      waitS: request.transferWait,
      ok: !failed,
    });
    const c = s.counters;
    if (request.state === REQUEST.aborted) {
      if (prefill.knobs.cacheLeak === 0) drop(w, leg.sched!, leg);
      return;
    }
    if (failed) {
      c.transferFailed++;
      // A failed pull leaves the blocks on the prefill side until the lease is over, and the prompt is computed again.
      split.started = false;
      recompute(w, split);
      return;
    }
    if (w.spec.deploy.engine === 'sglang') {
      observe(c.transferTime, duration * 1000);
      observe(c.transferPost, bytes / 1e9 / Math.max(1e-6, duration));
      observe(c.transferBytes, bytes / 1e6);
    } else {
      observe(c.transferTime, duration);
      observe(c.transferPost, post);
      observe(c.transferBytes, bytes);
      observe(c.transferDescriptors, Math.ceil(tokens / 16) * 2);
    }
    drop(w, leg.sched!, leg);
    pushWaiting(s, request);
    kick(w, decode);
  };
  w.queue.at(w.now + handshake + post, () => {
    const from = railsOf(prefill);
    const to = railsOf(decode);
    const cap = 46e9 * Math.min(prefill.knobs.wireScale, decode.knobs.wireScale);
    if (prefill.node === decode.node) {
      w.queue.at(w.now + bytes / (120e9 * Math.min(prefill.knobs.wireScale, decode.knobs.wireScale)), finish);
      return;
    }
    let left = from.length;
    from.forEach((nic, i) => {
      send(w, nic, to[i % to.length]!, bytes / from.length, cap, prefill.knobs.wireTcp, () => {
        if (--left === 0) finish();
      });
    });
  });
}

/** The decode side computes the prompt itself, as engines do when a hand-off failed. */
function recompute(w: World, split: Split): void {
  const { request, decode } = split;
  const s = decode.scheds[0]!;
  const waiting = s.prealloc.indexOf(request);
  if (waiting >= 0) s.prealloc.splice(waiting, 1);
  request.computed = Math.min(request.cached, request.target - 1);
  if (request.sched === null) {
    request.sched = s;
    request.replica = decode;
    request.queuedAt = w.now;
  }
  pushWaiting(s, request);
  kick(w, decode);
}
