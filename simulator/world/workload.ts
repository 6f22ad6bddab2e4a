/**
 * Who asks for what, when. Arrivals are open-loop and drawn from streams of their own, so a fault changes how requests
 * are served but not which requests come; that is what makes the no-fault twin comparable request by request.
 */
import { type Random, random, zipf } from '../random.ts';
import type { LoadSpec, MixName } from '../spec.ts';
import type { Segment } from './kv-cache.ts';
import { REQUEST, type Request, type World } from './types.ts';

const ALIGN = 16;
const align = (tokens: number) => Math.max(ALIGN, Math.round(tokens / ALIGN) * ALIGN);

interface Kind {
  /** Tells the prefixes of one kind from those of another. */
  readonly id: number;
  readonly system: readonly [number, number];
  readonly documents: readonly [number, number];
  readonly documentTokens: number;
  readonly tail: readonly [number, number];
  readonly output: readonly [number, number];
  readonly turns: number;
  readonly again: number;
  readonly thinkS: readonly [number, number];
  readonly maxTokens: number;
}

const CHAT: Kind = {
  id: 0,
  system: [320, 1280],
  documents: [0, 0],
  documentTokens: 0,
  tail: [110, 0.9],
  output: [190, 0.7],
  turns: 8,
  again: 0.55,
  thinkS: [8, 60],
  maxTokens: 1024,
};
const RAG: Kind = {
  id: 1,
  system: [256, 640],
  documents: [2, 5],
  documentTokens: 512,
  tail: [60, 0.5],
  output: [150, 0.6],
  turns: 1,
  again: 0,
  thinkS: [0, 0],
  maxTokens: 512,
};
const CODE: Kind = {
  id: 2,
  system: [640, 1024],
  documents: [2, 8],
  documentTokens: 768,
  tail: [320, 0.8],
  output: [300, 0.8],
  turns: 5,
  again: 0.5,
  thinkS: [10, 90],
  maxTokens: 2048,
};
const AGENT: Kind = {
  id: 3,
  system: [2048, 3584],
  documents: [0, 0],
  documentTokens: 0,
  tail: [480, 0.9],
  output: [120, 0.7],
  turns: 24,
  again: 0.86,
  thinkS: [1, 8],
  maxTokens: 1024,
};
const BATCH: Kind = {
  id: 4,
  system: [128, 256],
  documents: [0, 0],
  documentTokens: 0,
  tail: [700, 0.5],
  output: [600, 0.5],
  turns: 1,
  again: 0,
  thinkS: [0, 0],
  maxTokens: 2048,
};

const MIXES: Record<MixName, readonly (readonly [number, Kind])[]> = {
  chat: [[1, CHAT]],
  rag: [[1, RAG]],
  code: [[1, CODE]],
  agentic: [[1, AGENT]],
  batch: [[1, BATCH]],
  'chat+rag': [
    [0.65, CHAT],
    [0.35, RAG],
  ],
  'chat+code': [
    [0.6, CHAT],
    [0.4, CODE],
  ],
};

interface Conversation {
  readonly kind: Kind;
  readonly tenant: number;
  segments: Segment[];
  turn: number;
  readyAt: number;
}

export interface Workload {
  /** The next request and its arrival time; null when the load has ended. */
  next(): Request | null;
}

/** Rate of the load's schedule at a time: linear between its points, constant outside. */
export function rateAt(rps: LoadSpec['rps'], t: number): number {
  const first = rps[0]!;
  if (t <= first[0]) return first[1];
  for (let i = 1; i < rps.length; i++) {
    const [t1, r1] = rps[i]!;
    if (t > t1) continue;
    const [t0, r0] = rps[i - 1]!;
    return t1 === t0 ? r1 : r0 + ((r1 - r0) * (t - t0)) / (t1 - t0);
  }
  return rps[rps.length - 1]![1];
}

export function workload(w: World): Workload {
  const { load, seed, deploy } = w.spec;
  const arrivals: Random = random(seed, 'arrivals');
  const content: Random = random(seed, 'content');
  const conversations: Conversation[] = [];
  const mix = MIXES[load.mix];
  const document = zipf(1500, 1.02);
  const tenantOf = zipf(load.tenants, 0.9);
  const adapterOf = deploy.lora ? zipf(deploy.lora.adapters, 0.8) : null;
  const prefixOf = random(seed, 'prefixes');
  const systems = Array.from({ length: load.tenants }, () => prefixOf.next());
  const horizon = w.spec.durationS;
  let t = -w.spec.warmupS;
  let id = 0;
  let burstPhase = 1;
  let burstUntil = t;

  const gap = (): number => {
    let rate = rateAt(load.rps, t) * w.load.scale;
    if (load.process === 'diurnal') rate *= 1 + 0.35 * Math.sin((2 * Math.PI * (t + 300)) / 1200);
    if (load.process === 'trace') {
      // Measured traces alternate between calm and busy spells of tens of seconds.
      if (t >= burstUntil) {
        burstPhase = arrivals.lognormal(1, 0.35) / 1.06;
        burstUntil = t + arrivals.between(15, 60);
      }
      rate *= burstPhase;
    }
    if (!(rate > 0)) return 1;
    const unit =
      load.process === 'gamma' || load.process === 'trace' ? arrivals.gamma(1 / load.cv ** 2) : arrivals.exponential();
    return unit / rate;
  };

  const make = (arrival: number): Request => {
    let conversation: Conversation | undefined;
    let place = -1;
    const kind = pickKind(mix, content);
    if (content.chance(kind.again)) {
      // Of a few conversations, one whose user has had time to read.
      for (let tries = 0; tries < 4 && conversations.length > 0; tries++) {
        const at = content.int(conversations.length);
        const candidate = conversations[at]!;
        if (candidate.readyAt <= arrival && candidate.kind === kind) {
          conversation = candidate;
          place = at;
          break;
        }
      }
    }
    const number = id++;
    const salt = w.load.saltShare > 0 && content.chance(w.load.saltShare) ? number + 1 : 0;
    let segments: Segment[];
    let tenant: number;
    if (conversation) {
      segments = conversation.segments;
      tenant = conversation.tenant;
    } else {
      tenant = tenantOf(content);
      segments = [];
      if (content.chance(load.sharedPrefix)) {
        const [lo, hi] = kind.system;
        segments.push({ key: 1_000_000 + tenant * 8 + kind.id, tokens: align(lo + (hi - lo) * systems[tenant]!) });
      }
      if (kind.documents[1] > 0) {
        const n = kind.documents[0] + content.int(kind.documents[1] - kind.documents[0] + 1);
        for (let i = 0; i < n; i++) segments.push(documentSegment(2_000_000 + document(content), kind.documentTokens));
      }
      if (kind.again > 0 && content.chance(0.8)) {
        conversation = { kind, tenant, segments, turn: 0, readyAt: 0 };
        conversations.push(conversation);
        if (conversations.length > 4000) conversations.splice(content.int(200), 1);
      }
    }
    let tail = Math.max(8, Math.round(content.lognormal(kind.tail[0], kind.tail[1]) * w.load.promptScale));
    if (w.load.longShare > 0 && content.chance(w.load.longShare)) tail += Math.round(content.between(18_000, 30_000));
    const wanted = Math.max(1, Math.round(content.lognormal(kind.output[0], kind.output[1]) * w.load.outputScale));
    let prompt = tail;
    for (const s of segments) prompt += s.tokens;
    const limit = w.model.maxModelLen - 1024;
    if (prompt > limit) {
      tail = 64;
      segments = segments.slice(0, 1);
      prompt = tail + (segments[0]?.tokens ?? 0);
      conversation = undefined;
    }
    const output = Math.min(wanted, kind.maxTokens);
    const ownKey = 4_000_000_000 + number;
    const asked = salt > 0 ? segments.map((s) => ({ key: s.key + salt * 1e11, tokens: s.tokens })) : segments;
    if (conversation) {
      conversation.turn++;
      const extra = Math.floor((tail + output - 1) / ALIGN) * ALIGN;
      if (conversation.turn >= conversation.kind.turns || extra === 0) {
        const i = place >= 0 ? place : conversations.lastIndexOf(conversation);
        if (i >= 0) conversations.splice(i, 1);
      } else {
        conversation.segments = [...segments, { key: ownKey, tokens: extra }];
        conversation.readyAt = arrival + 12 + content.between(kind.thinkS[0], kind.thinkS[1]);
      }
    }
    const structured = content.next() < w.load.structured;
    const schema = content.chance(w.load.newSchemas) ? 100 + number : content.int(12);
    return {
      id: number,
      traceId: '',
      tenant,
      promptTokens: prompt,
      outputTokens: output,
      maxTokens: kind.maxTokens,
      segments: asked,
      ownKey,
      structured,
      schema,
      lora: adapterOf ? (w.load.adapters > 0 ? content.int(w.load.adapters) : adapterOf(content)) : -1,
      arrival,
      attempt: 0,
      state: REQUEST.created,
      queued: false,
      replica: null,
      sched: null,
      group: null,
      computed: 0,
      cached: 0,
      target: prompt,
      generated: 0,
      base: 0,
      startG: 0,
      finishG: 0,
      path: [],
      privateBlocks: 0,
      preemptions: 0,
      dispatched: Number.NaN,
      routed: Number.NaN,
      engineArrival: Number.NaN,
      queuedAt: Number.NaN,
      firstScheduled: Number.NaN,
      firstToken: Number.NaN,
      lastToken: Number.NaN,
      finished: Number.NaN,
      sampled: false,
      decodeReplica: null,
      prefillReplica: null,
      preallocated: false,
      leg: null,
      offloaded: Number.NaN,
      transferStart: Number.NaN,
      transferEnd: Number.NaN,
      transferBytes: 0,
      transferWait: 0,
      heldSince: 0,
      blockedBy: 0,
      blockedUntil: 0,
      onAbort: null,
      onFirst: null,
      onEnd: null,
    };
  };

  return {
    next() {
      for (;;) {
        const before = rateAt(load.rps, t) * w.load.scale;
        t += gap();
        if (t >= horizon) return null;
        if (before > 0) return make(t);
      }
    },
  };
}

/** The same document has the same length every time. */
const documentSegment = (key: number, tokens: number): Segment => ({
  key,
  tokens: align(tokens * (0.75 + 0.5 * ((key * 0.6180339887) % 1))),
});

function pickKind(mix: readonly (readonly [number, Kind])[], r: Random): Kind {
  if (mix.length === 1) return mix[0]![1];
  const x = r.next();
  return x < mix[0]![0] ? mix[0]![1] : mix[1]![1];
}

/** A fresh attempt at the same request, after the client gave up waiting. */
export function again(r: Request, arrival: number): Request {
  return {
    ...r,
    arrival,
    attempt: r.attempt + 1,
    state: REQUEST.created,
    queued: false,
    replica: null,
    sched: null,
    group: null,
    computed: 0,
    cached: 0,
    target: r.promptTokens,
    generated: 0,
    base: 0,
    startG: 0,
    finishG: 0,
    path: [],
    privateBlocks: 0,
    preemptions: 0,
    dispatched: Number.NaN,
    routed: Number.NaN,
    engineArrival: Number.NaN,
    queuedAt: Number.NaN,
    firstScheduled: Number.NaN,
    firstToken: Number.NaN,
    lastToken: Number.NaN,
    finished: Number.NaN,
    decodeReplica: null,
    prefillReplica: null,
    preallocated: false,
    leg: null,
    offloaded: Number.NaN,
    transferStart: Number.NaN,
    transferEnd: Number.NaN,
    transferBytes: 0,
    transferWait: 0,
    heldSince: 0,
    blockedBy: 0,
    blockedUntil: 0,
    onAbort: null,
    onFirst: null,
    onEnd: null,
  };
}
