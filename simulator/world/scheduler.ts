/**
 * Continuous batching of one engine core: first come first served admission under a token budget and a sequence cap,
 * chunked prefill, block accounting, preemption by recompute (latest first), deferred requests. A decoding request costs
 * nothing per step: its group keeps a clock of tokens, and requests sit in a heap by the clock value at which they end.
 */
import { observe } from './histogram.ts';
import { available, blocksOf, claim, match, release, take } from './kv-cache.ts';
import { BLOCKED, type Group, REQUEST, type Request, type Sched, type World } from './types.ts';

const mod = (a: number, b: number) => ((a % b) + b) % b;

/** Puts a request at the end of the queue. */
export function pushWaiting(s: Sched, r: Request): void {
  r.state = REQUEST.waiting;
  r.queued = true;
  s.waiting.push(r);
}

function pushFront(s: Sched, r: Request): void {
  r.state = REQUEST.waiting;
  r.queued = true;
  if (s.waitingHead > 0) s.waiting[--s.waitingHead] = r;
  else s.waiting.unshift(r);
}

export const waitingCount = (s: Sched): number => s.waiting.length - s.waitingHead - s.waitingDead;

/** The next request that still wants to be served. */
export function firstWaiting(s: Sched): Request | undefined {
  for (;;) {
    const r = s.waiting[s.waitingHead];
    if (!r || r.queued) return r;
    s.waitingDead--;
    shiftWaiting(s);
  }
}

function shiftWaiting(s: Sched): void {
  s.waitingHead++;
  if (s.waitingHead > 256 && s.waitingHead * 2 > s.waiting.length) {
    s.waiting.splice(0, s.waitingHead);
    s.waitingHead = 0;
  }
}

function defer(s: Sched, r: Request, until: number): void {
  r.queued = false;
  s.deferred.add(r);
  if (r.blockedBy === BLOCKED.grammar) s.grammarWaiting++;
  if (until < s.wakeAt) s.wakeAt = until;
}

function undefer(s: Sched, r: Request): boolean {
  if (!s.deferred.delete(r)) return false;
  if (r.blockedBy === BLOCKED.grammar) s.grammarWaiting--;
  return true;
}

/** A waiting request whose client has gone; `state` says so already when it comes up. */
export function dropWaiting(s: Sched, r: Request): void {
  if (undefer(s, r)) return;
  r.queued = false;
  s.waitingDead++;
}

/** A running request leaves its group. */
export function leaveGroup(s: Sched, g: Group, r: Request): void {
  r.group = null;
  g.n--;
  s.running.n--;
  if (r.lora >= 0) {
    const left = s.adapterUse.get(r.lora)! - 1;
    if (left === 0) s.adapterUse.delete(r.lora);
    else s.adapterUse.set(r.lora, left);
    if (left === 0 && s.deferred.size > 0) s.wakeAt = 0;
  }
  compactRun(g);
}

// --- heap of ends -----------------------------------------------------------------------------------------------

function heapPush(g: Group, key: number, r: Request): void {
  const { heapKeys: keys, heap } = g;
  let i = keys.length;
  keys.push(key);
  heap.push(r);
  while (i > 0) {
    const parent = (i - 1) >> 1;
    if (keys[parent]! <= key) break;
    keys[i] = keys[parent]!;
    heap[i] = heap[parent]!;
    i = parent;
  }
  keys[i] = key;
  heap[i] = r;
}

function heapPop(g: Group): Request {
  const { heapKeys: keys, heap } = g;
  const top = heap[0]!;
  const key = keys.pop()!;
  const r = heap.pop()!;
  const n = keys.length;
  if (n > 0) {
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= n) break;
      if (child + 1 < n && keys[child + 1]! < keys[child]!) child++;
      if (keys[child]! >= key) break;
      keys[i] = keys[child]!;
      heap[i] = heap[child]!;
      i = child;
    }
    keys[i] = key;
    heap[i] = r;
  }
  return top;
}

// --- entering and leaving the batch -------------------------------------------------------------------------------

/** Tokens a decoding request holds now. */
export const tokensOf = (g: Group, r: Request): number => r.base + (g.g - r.startG);

/** A request whose prefill is complete joins the decoding ones. Its first token of this visit is already counted. */
export function enterDecode(g: Group, r: Request, base: number): void {
  r.state = REQUEST.decode;
  r.base = base;
  r.startG = g.g;
  r.finishG = g.g + (r.outputTokens - r.generated);
  g.nDecode++;
  g.ctx += base;
  const p = mod(g.g - base, g.phase.length);
  g.phase[p] = g.phase[p]! + 1;
  heapPush(g, r.finishG, r);
}

function leaveDecode(g: Group, r: Request): void {
  g.nDecode--;
  g.ctx -= tokensOf(g, r);
  const p = mod(r.startG - r.base, g.phase.length);
  g.phase[p] = g.phase[p]! - 1;
}

/** Requests of the group that have produced their last token, taken out of the decoding ones. */
export function takeFinished(g: Group, out: Request[]): void {
  const { heapKeys: keys, heap } = g;
  while (keys.length > 0 && keys[0]! <= g.g) {
    const key = keys[0]!;
    const r = heap[0]!;
    heapPop(g);
    if (r.state !== REQUEST.decode || r.group !== g || r.finishG !== key) continue;
    leaveDecode(g, r);
    out.push(r);
  }
}

function compactRun(g: Group): void {
  if (g.run.length < 64 || g.run.length < 2 * g.n) return;
  let n = 0;
  for (const r of g.run) if (r.group === g) g.run[n++] = r;
  g.run.length = n;
}

/** Blocks of a request's path; after `claim` every node of it is complete. */
function pathBlocks(r: Request): number {
  let blocks = 0;
  for (const n of r.path) blocks += n.blocks;
  return blocks;
}

/** Frees what a request holds. Full blocks of the `tokens` that were computed stay cached. */
export function freeBlocks(s: Sched, r: Request, tokens: number): void {
  const kv = s.kv;
  const last = r.path[r.path.length - 1];
  if (last && last.key === r.ownKey && last.refs === 1) {
    // A resumed request put its own earlier blocks into the tree; they and the later ones become one run again.
    last.parent!.children!.delete(last.key);
    r.path.pop();
    r.privateBlocks += last.blocks;
  }
  const keep = Math.max(0, Math.floor(tokens / kv.blockSize) - pathBlocks(r));
  release(kv, r.path, r.privateBlocks, keep, r.ownKey);
  r.path = [];
  r.privateBlocks = 0;
}

/** Takes a request out of its group; `ahead` says how many tokens it already has blocks for beyond the clock. */
export function removeRunning(s: Sched, r: Request, ahead = 0): number {
  const g = r.group!;
  let tokens = r.computed;
  if (r.state === REQUEST.decode) {
    tokens = tokensOf(g, r);
    r.privateBlocks = Math.ceil((tokens + ahead) / s.kv.blockSize) - pathBlocks(r);
    r.generated = r.outputTokens - (r.finishG - g.g);
    leaveDecode(g, r);
    const fresh = g.fresh.indexOf(r);
    if (fresh >= 0) g.fresh.splice(fresh, 1);
  } else if (r.state === REQUEST.prefill) {
    const i = g.prefilling.indexOf(r);
    if (i >= 0) g.prefilling.splice(i, 1);
  }
  leaveGroup(s, g, r);
  return tokens;
}

/** After `takeFinished`: bookkeeping of a request that left the decoding ones at its end; its blocks stay with it. */
export function retire(s: Sched, g: Group, r: Request): void {
  r.privateBlocks = Math.ceil(tokensOf(g, r) / s.kv.blockSize) - pathBlocks(r);
  r.computed = tokensOf(g, r) - (g.g - r.finishG);
  r.generated = r.outputTokens;
  leaveGroup(s, g, r);
}

function preempt(s: Sched, g: Group, ahead: number): Request | null {
  for (let i = g.run.length - 1; i >= 0; i--) {
    const r = g.run[i]!;
    g.run.length = i;
    if (r.group !== g) continue;
    const held = removeRunning(s, r, ahead);
    s.counters.preemptions++;
    s.counters.retractedInput += r.promptTokens;
    s.counters.retractedOutput += r.generated;
    freeBlocks(s, r, held);
    r.preemptions++;
    r.computed = 0;
    r.target = r.promptTokens + r.generated;
    pushFront(s, r);
    return r;
  }
  return null;
}

// --- one scheduling decision --------------------------------------------------------------------------------------

export interface Decision {
  /** A request that was thrown out for lack of blocks in this step. */
  preempted: number;
  admitted: number;
  attention: number;
  prefillTokens: number;
  prefillContext: number;
}

const decision: Decision = { preempted: 0, admitted: 0, attention: 0, prefillTokens: 0, prefillContext: 0 };

function chunk(g: Group, r: Request, tokens: number): void {
  g.chunkOf.push(r);
  g.chunkTokens.push(tokens);
  decision.attention += tokens * (r.computed + tokens / 2);
  decision.prefillTokens += tokens;
  decision.prefillContext += r.computed;
}

/** Room that SGLang keeps for the tokens running requests may still produce. */
function reserve(s: Sched, conservative: number): number {
  let tokens = 0;
  for (const g of s.groups) tokens += g.nDecode * 120 * conservative;
  return Math.floor(tokens / s.kv.blockSize);
}

/**
 * Decides what the group's next step works on and takes the blocks for it. The result (reused by the next call) goes
 * with `g.chunkOf`, `g.chunkTokens`, `g.stepDecode` and `g.advance`.
 */
export function schedule(w: World, s: Sched, g: Group): Decision {
  const rep = s.replica;
  const k = rep.knobs;
  const spec = w.spec.deploy;
  const kv = s.kv;
  decision.preempted = 0;
  decision.admitted = 0;
  decision.attention = 0;
  decision.prefillTokens = 0;
  decision.prefillContext = 0;
  if (g.chunkOf.length > 0) {
    g.chunkOf.length = 0;
    g.chunkTokens.length = 0;
  }
  const draft = spec.speculative ? spec.speculative.tokens : 0;
  let advance = 1;
  if (draft > 0 && g.nDecode > 0) {
    const a = k.specAcceptance;
    for (let i = 0; i < draft && rep.noise.next() < a; i++) advance++;
  }
  // Blocks for the tokens that decoding requests are about to write.
  let decoding = g.nDecode;
  for (let j = 0; j < advance && decoding > 0; ) {
    const need = g.phase[mod(g.g + j, g.phase.length)]!;
    if (need <= available(kv)) {
      take(kv, need);
      j++;
      continue;
    }
    // Thrown-out requests give back what they held; blocks handed to them in this step are part of it.
    const victim = preempt(s, g, j);
    decision.preempted++;
    if (!victim) break;
    decoding = g.nDecode;
  }
  g.stepDecode = decoding;
  g.advance = advance;
  const exclusive = spec.engine === 'sglang';
  let budget = k.maxBatchTokens - (exclusive ? 0 : decoding * (1 + draft));
  for (const r of g.prefilling) {
    if (budget <= 0) break;
    let n = Math.min(r.target - r.computed, budget);
    if (k.longPrefill > 0) n = Math.min(n, k.longPrefill);
    chunk(g, r, n);
    budget -= n;
  }
  // Nobody is let in during a step that had to throw somebody out.
  if (decision.preempted === 0) admit(w, s, g, budget);
  if (exclusive && decision.prefillTokens > 0) {
    // Prefill batches run alone: decoding stands still, and the blocks just taken for it are given back.
    for (let j = 0; j < advance && g.stepDecode > 0; j++) kv.used -= g.phase[mod(g.g + j, g.phase.length)]!;
    g.stepDecode = 0;
  }
  return decision;
}

function admit(w: World, s: Sched, g: Group, budget: number): void {
  const rep = s.replica;
  const k = rep.knobs;
  const kv = s.kv;
  const groups = s.groups.length;
  const share = groups === 1 ? k.maxSeqs : Math.max(4, Math.ceil((1.25 * (s.running.n + 1)) / groups));
  if (s.wakeAt <= w.now) wake(w, s);
  while (budget > 0 && s.running.n < k.maxSeqs && g.n < share) {
    const r = firstWaiting(s);
    if (!r) break;
    if (r.blockedBy !== BLOCKED.nothing && r.blockedUntil > w.now) {
      shiftWaiting(s);
      defer(s, r, r.blockedUntil);
      continue;
    }
    if (r.lora >= 0 && !claimAdapter(w, s, r)) {
      shiftWaiting(s);
      defer(s, r, r.blockedUntil > w.now ? r.blockedUntil : Number.POSITIVE_INFINITY);
      continue;
    }
    if (w.spec.deploy.lmcache && Number.isNaN(r.offloaded) && fetchFromTier(w, s, r)) {
      shiftWaiting(s);
      defer(s, r, r.blockedUntil);
      continue;
    }
    if (r.path.length === 0 && r.privateBlocks === 0) {
      const segments = r.target > r.promptTokens || r.preemptions > 0 ? resumed(kv.blockSize, r) : r.segments;
      const found = match(kv, segments);
      const shared = blocksOf(kv, segments);
      const own = Math.ceil(r.target / kv.blockSize) - shared;
      const cost = shared + own - found.cachedBlocks + found.idleBlocks;
      const keep = w.spec.deploy.engine === 'sglang' ? reserve(s, 0.5) : 0;
      if (cost + keep > available(kv)) break;
      r.segments = segments;
      r.path = claim(kv, segments, found);
      take(kv, own);
      r.privateBlocks = own;
      // The last token is always computed, else there would be nothing to sample from.
      const local = found.cachedBlocks * kv.blockSize;
      const cached = Math.min(local, r.target - 1);
      r.computed = r.offloaded > 0 ? Math.min(local + r.offloaded, r.target - 1) : cached;
      const c = s.counters;
      if (kv.caching) c.queries += r.target;
      c.hits += cached;
      c.cacheHitRate = cached / r.target;
      if (r.preemptions === 0) r.cached = cached;
      else c.recomputedTokens += r.target - cached;
    }
    shiftWaiting(s);
    r.queued = false;
    r.state = REQUEST.prefill;
    r.group = g;
    g.n++;
    s.running.n++;
    if (r.lora >= 0) s.adapterUse.set(r.lora, (s.adapterUse.get(r.lora) ?? 0) + 1);
    g.run.push(r);
    g.prefilling.push(r);
    if (Number.isNaN(r.firstScheduled)) r.firstScheduled = w.now;
    let n = Math.min(r.target - r.computed, budget);
    if (k.longPrefill > 0) n = Math.min(n, k.longPrefill);
    chunk(g, r, n);
    budget -= n;
    decision.admitted++;
  }
}

/** A thrown-out request looks for its own blocks again: they stay cached until somebody else needs them. */
function resumed(blockSize: number, r: Request): Request['segments'] {
  let shared = 0;
  for (const s of r.segments) if (s.key !== r.ownKey) shared += s.tokens;
  const own = Math.floor((r.target - shared) / blockSize) * blockSize;
  const base = r.segments.filter((s) => s.key !== r.ownKey);
  return own > 0 ? [...base, { key: r.ownKey, tokens: own }] : base;
}

function wake(w: World, s: Sched): void {
  s.wakeAt = Number.POSITIVE_INFINITY;
  for (const r of s.deferred) {
    if (r.blockedBy !== BLOCKED.nothing && r.blockedUntil > w.now) {
      s.wakeAt = Math.min(s.wakeAt, r.blockedUntil);
      continue;
    }
    if (r.lora >= 0 && !adapterFits(w, s, r)) continue;
    undefer(s, r);
    pushFront(s, r);
  }
}

function adapterFits(w: World, s: Sched, r: Request): boolean {
  return s.loaded.has(r.lora) || s.loaded.size < w.spec.deploy.lora!.slots || oldestIdleAdapter(s) >= 0;
}

function oldestIdleAdapter(s: Sched): number {
  let oldest = -1;
  let since = Number.POSITIVE_INFINITY;
  for (const [adapter, used] of s.loaded)
    if (!s.adapterUse.has(adapter) && used < since) {
      since = used;
      oldest = adapter;
    }
  return oldest;
}

/** True when the request's adapter is (or can be) in a slot; loading it blocks the request for a while. */
function claimAdapter(w: World, s: Sched, r: Request): boolean {
  if (!s.loaded.has(r.lora)) {
    if (s.loaded.size >= w.spec.deploy.lora!.slots) {
      const victim = oldestIdleAdapter(s);
      if (victim < 0) return false;
      s.loaded.delete(victim);
    }
    s.counters.loraLoads++;
    s.loaded.set(r.lora, w.now);
    r.blockedBy = BLOCKED.adapter;
    r.blockedUntil = w.now + s.replica.knobs.loraLoadS;
    w.queue.at(r.blockedUntil, () => w.kick(s.replica));
    if (r.blockedUntil > w.now) return false;
  }
  s.loaded.set(r.lora, w.now);
  return true;
}

/** Host or remote memory that prefixes are fetched from, in bytes per second. */
const TIER_BANDWIDTH = 18e9;

/** Asks the tier outside the GPU for what the GPU does not have; true when the request now waits for it. */
function fetchFromTier(w: World, s: Sched, r: Request): boolean {
  r.offloaded = 0;
  const kv = s.kv;
  const found = match(kv, r.segments);
  const c = s.counters;
  let tokens = 0;
  for (let i = found.complete; i < r.segments.length; i++) {
    const segment = r.segments[i]!;
    if (s.tier.get(segment.key) === undefined) break;
    tokens += segment.tokens;
    s.tier.delete(segment.key);
    s.tier.set(segment.key, segment.tokens);
  }
  c.offloadLookups++;
  c.offloadLookupTokens += r.target;
  c.externalQueries += r.target - found.cachedBlocks * kv.blockSize;
  if (tokens === 0) return false;
  c.offloadHitTokens += tokens;
  c.externalHits += tokens;
  c.externalTokens += tokens;
  r.offloaded = tokens;
  const bytes = tokens * s.replica.model.kvBytes;
  const seconds = 0.003 + bytes / (TIER_BANDWIDTH * s.replica.knobs.offloadScale);
  const start = Math.max(w.now, s.tierState.freeAt);
  s.tierState.freeAt = start + seconds;
  observe(c.loadTime, start + seconds - w.now);
  c.offloadLoadBytes += bytes;
  c.offloadLoadSeconds += start + seconds - w.now;
  const group = s.replica.ranks;
  for (const rank of group) rank.gpu.pcieRx += bytes / group.length;
  r.blockedBy = BLOCKED.remoteKv;
  r.blockedUntil = start + seconds;
  w.queue.at(r.blockedUntil, () => w.kick(s.replica));
  return true;
}

/** Copies what a finished request computed to the tier. */
export function storeToTier(s: Sched, r: Request): void {
  const c = s.counters;
  const put = (key: number, tokens: number) => {
    const old = s.tier.get(key);
    if (old !== undefined) {
      s.tier.delete(key);
      s.tierState.tokens -= old;
    } else {
      c.offloadStoredTokens += tokens;
      c.offloadStoreBytes += tokens * s.replica.model.kvBytes;
    }
    s.tier.set(key, tokens);
    s.tierState.tokens += tokens;
  };
  let shared = 0;
  for (const segment of r.segments) {
    put(segment.key, segment.tokens);
    shared += segment.tokens;
  }
  const own = Math.floor((r.computed - shared) / 16) * 16;
  if (own > 0 && !r.segments.some((x) => x.key === r.ownKey)) put(r.ownKey, own);
  for (const [key, tokens] of s.tier) {
    if (s.tierState.tokens <= s.tierState.capacity) break;
    s.tier.delete(key);
    s.tierState.tokens -= tokens;
  }
  c.offloadUsedBytes = s.tierState.tokens * s.replica.model.kvBytes;
}
