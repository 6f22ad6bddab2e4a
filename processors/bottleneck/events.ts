/**
 * What hooks, engines and the outside tell as single events: collectives joined by sequence number, engine steps, pipeline
 * stages, KV transfers, finished requests, changes and log lines. Everything is kept in bounded rings.
 */
import { type Entity, observeGroup, observePair, type Subject, type Topology } from '../../pipeline/kit/topology.ts';
import { CHANGE_EVENT } from '../../pipeline/kit/verdict.ts';
import { type AnyValue, Double, type LogRecord, msFromNanos, type Resource, type Span } from '../../pipeline/model.ts';

/** One synchronising operation that every rank of its group reported. */
export interface Collective {
  readonly seq: number;
  readonly op: string;
  readonly bytes: number;
  /** Time of the latest end by the ranks' own clocks; only roughly comparable between nodes. */
  readonly at: number;
  /** By `comm.rank`, milliseconds. */
  readonly durations: Float64Array;
}

export interface OpenOperation {
  readonly rank: number;
  readonly seq: number;
  readonly op: string;
  readonly openMs: number;
  readonly at: number;
}

/** A communicator: who is in it and what it did lately. */
export interface Group {
  readonly entity: Entity;
  readonly instance: Entity;
  readonly size: number;
  /** The entity (rank) behind each `comm.rank`, as far as seen. */
  readonly members: (Entity | undefined)[];
  readonly complete: Bounded<Collective>;
  /** Operations that did not end, newest report per rank. */
  readonly open: Map<number, OpenOperation>;
  /** Last finished sequence number and its time, per rank. */
  readonly progress: Map<number, { seq: number; at: number }>;
  incomplete: number;
  last: number;
}

export interface Step {
  readonly start: number;
  readonly end: number;
  readonly prefillTokens: number;
  readonly decodeSeqs: number;
  readonly gpuMs: number | undefined;
  readonly scheduleMs: number | undefined;
  readonly graph: string;
  readonly rank: string;
}

export interface StageRun {
  readonly stage: number;
  readonly stages: number;
  readonly microbatch: number;
  readonly step: number;
  readonly start: number;
  readonly end: number;
  readonly tokens: number | undefined;
}

export interface Transfer {
  readonly start: number;
  readonly end: number;
  readonly bytes: number;
  readonly blocks: number;
  readonly waitMs: number | undefined;
  readonly transport: string;
  readonly failed: boolean;
  readonly request: string;
}

export interface RequestRun {
  readonly end: number;
  readonly traceId: string;
  readonly id: string;
  readonly e2eMs: number;
  readonly ttftMs: number | undefined;
  readonly queueMs: number | undefined;
  readonly prefillMs: number | undefined;
  readonly decodeMs: number | undefined;
  readonly promptTokens: number | undefined;
  readonly cachedTokens: number | undefined;
  readonly outputTokens: number | undefined;
  readonly failed: boolean;
}

/** Something that happened once: a deploy, a restart, an XID line, an OOM. */
export interface Happening {
  readonly at: number;
  readonly kind: string;
  readonly entity: Entity | undefined;
  readonly attributes: Readonly<Record<string, string | number>>;
  readonly text: string;
}

/** A list that forgets its oldest items. */
export interface Bounded<T> {
  readonly items: readonly T[];
  push(item: T): void;
  /** Items from the newest back while `keep` says so, oldest first. */
  since(from: number, time: (item: T) => number): T[];
}

export function bounded<T>(limit: number): Bounded<T> {
  let items: T[] = [];
  return {
    get items() {
      return items;
    },
    push(item) {
      items.push(item);
      if (items.length > limit * 1.5) items = items.slice(-limit);
    },
    since(from, time) {
      let i = items.length;
      while (i > 0 && time(items[i - 1]!) >= from) i--;
      return items.slice(i);
    },
  };
}

export interface Events {
  readonly groups: ReadonlyMap<string, Group>;
  readonly happenings: Bounded<Happening>;
  steps(instance: Entity): Bounded<Step> | undefined;
  stages(instance: Entity): Bounded<StageRun> | undefined;
  transfers(pair: Entity): Bounded<Transfer> | undefined;
  requests(instance: Entity): Bounded<RequestRun> | undefined;
  groupsOf(instance: Entity): readonly Group[];
  /** The newest hook event of an instance; −Infinity if it has none. */
  lastHook(instance: Entity): number;
  spans(spans: readonly Span[], now: number): void;
  logs(records: readonly LogRecord[], now: number): void;
  expire(before: number): void;
}

const SYNCHRONISING = new Set(['all_reduce', 'all_gather', 'reduce_scatter', 'all_to_all', 'barrier']);
const GROUPS = 20_000;
const PENDING_PER_GROUP = 1024;

const num = (v: AnyValue | undefined): number | undefined => {
  const n =
    typeof v === 'number'
      ? v
      : v instanceof Double
        ? v.value
        : typeof v === 'bigint'
          ? Number(v)
          : typeof v === 'string' && v !== ''
            ? Number(v)
            : Number.NaN;
  return Number.isFinite(n) ? n : undefined;
};
const str = (v: AnyValue | undefined): string =>
  typeof v === 'string' ? v : v === undefined || v === null ? '' : String(num(v) ?? '');
const seconds = (v: AnyValue | undefined): number | undefined => {
  const s = num(v);
  return s === undefined ? undefined : s * 1000;
};

interface PendingOp {
  durations: Float64Array;
  seen: number;
  end: number;
  op: string;
  bytes: number;
}

export function createEvents(topology: Topology): Events {
  const groups = new Map<string, Group>();
  const pending = new Map<string, Map<number, PendingOp>>();
  const steps = new Map<string, Bounded<Step>>();
  const stages = new Map<string, Bounded<StageRun>>();
  const transfers = new Map<string, Bounded<Transfer>>();
  const requests = new Map<string, Bounded<RequestRun>>();
  const lastHook = new Map<string, number>();
  const happenings = bounded<Happening>(2000);
  const subjects = new WeakMap<Resource, Subject>();
  const pairs = new Map<string, Entity>();

  const subjectOf = (resource: Resource, now: number): Subject => {
    let subject = subjects.get(resource);
    if (!subject) {
      subject = topology.observe(resource.attributes, undefined, now, true);
      subjects.set(resource, subject);
    }
    return subject;
  };

  const listFor = <T>(map: Map<string, Bounded<T>>, key: string, limit: number): Bounded<T> | undefined => {
    let list = map.get(key);
    if (!list) {
      if (map.size >= GROUPS) return undefined;
      list = bounded<T>(limit);
      map.set(key, list);
    }
    return list;
  };

  function groupFor(instance: Entity, comm: string, size: number, now: number): Group | undefined {
    const id = `${instance.id}/${comm || 'world'}`;
    let group = groups.get(id);
    if (group && group.size !== size) {
      // The communicator was rebuilt with another size: sequence numbers start again.
      groups.delete(id);
      pending.delete(id);
      group = undefined;
    }
    if (!group) {
      if (groups.size >= GROUPS || !(size >= 2 && size <= 4096)) return undefined;
      const entity = observeGroup(topology, instance, comm, size, undefined, now);
      if (!entity) return undefined;
      group = {
        entity,
        instance,
        size,
        members: new Array(size).fill(undefined),
        complete: bounded<Collective>(4096),
        open: new Map(),
        progress: new Map(),
        incomplete: 0,
        last: now,
      };
      groups.set(id, group);
      pending.set(id, new Map());
    }
    return group;
  }

  function collective(span: Span, subject: Subject, start: number, end: number, now: number): void {
    const { instance } = subject;
    if (!instance) return;
    const a = span.attributes;
    const op = str(a['comm.op']);
    const seq = num(a['comm.seq']);
    const rank = num(a['comm.rank']);
    const size = num(a['comm.size']);
    if (seq === undefined || rank === undefined || size === undefined) return;
    if (!SYNCHRONISING.has(op)) return;
    const group = groupFor(instance, str(a['comm.id']), size, now);
    if (!group || rank < 0 || rank >= size) return;
    group.last = now;
    group.entity.lastSeen = now;
    if (subject.rank && group.members[rank] !== subject.rank) {
      group.members[rank] = subject.rank;
      observeGroup(topology, instance, str(a['comm.id']), size, subject.rank, now);
    }
    if (a['hook.open'] === true) {
      group.open.set(rank, { rank, seq, op, openMs: Math.max(0, end - start), at: now });
      return;
    }
    const open = group.open.get(rank);
    if (open && open.seq <= seq) group.open.delete(rank);
    const progress = group.progress.get(rank);
    if (progress && seq < progress.seq - 100_000) pending.get(group.entity.id)?.clear();
    if (!progress) group.progress.set(rank, { seq, at: now });
    else {
      progress.seq = seq;
      progress.at = now;
    }
    const waiting = pending.get(group.entity.id)!;
    let p = waiting.get(seq);
    if (!p) {
      if (waiting.size >= PENDING_PER_GROUP) {
        waiting.delete(waiting.keys().next().value!);
        group.incomplete++;
      }
      p = { durations: new Float64Array(size).fill(Number.NaN), seen: 0, end: 0, op, bytes: num(a['comm.bytes']) ?? 0 };
      waiting.set(seq, p);
    }
    if (Number.isNaN(p.durations[rank]!)) p.seen++;
    p.durations[rank] = Math.max(0, end - start);
    p.end = Math.max(p.end, end);
    if (p.seen === size) {
      waiting.delete(seq);
      group.complete.push({ seq, op: p.op, bytes: p.bytes, at: p.end, durations: p.durations });
    }
  }

  function transfer(span: Span, subject: Subject, start: number, end: number, now: number): void {
    const a = span.attributes;
    const source = str(a['kv.source']) || (subject.instance?.id ?? '');
    const destination = str(a['kv.destination']);
    if (!source || !destination) return;
    const key = `${source}->${destination}`;
    let pair = pairs.get(key);
    if (!pair || now - pair.lastSeen > 60_000) {
      pair = observePair(topology, source, destination, now);
      if (!pair) return;
      if (pairs.size > 10_000) pairs.clear();
      pairs.set(key, pair);
    }
    pair.lastSeen = now;
    const wait = num(a['kv.wait_ns']);
    listFor(transfers, pair.key, 1024)?.push({
      start,
      end,
      bytes: num(a['kv.bytes']) ?? 0,
      blocks: num(a['kv.blocks']) ?? 0,
      waitMs: wait === undefined ? undefined : wait / 1e6,
      transport: str(a['kv.transport']),
      failed: span.status.code === 2,
      request: str(a['kv.request_id']),
    });
  }

  function request(span: Span, instance: Entity, start: number, end: number): void {
    const a = span.attributes;
    listFor(requests, instance.key, 512)?.push({
      end,
      traceId: span.traceId,
      id: str(a['inference.request.id']),
      e2eMs: seconds(a['gen_ai.server.request.duration']) ?? end - start,
      ttftMs: seconds(a['gen_ai.server.time_to_first_token']),
      queueMs: seconds(a['inference.request.queue.duration']),
      prefillMs: seconds(a['inference.request.prefill.duration']),
      decodeMs: seconds(a['inference.request.decode.duration']),
      promptTokens: num(a['gen_ai.usage.input_tokens']),
      cachedTokens: num(a['gen_ai.usage.cache_read.input_tokens'] ?? a['gen_ai.usage.cached_tokens']),
      outputTokens: num(a['gen_ai.usage.output_tokens']),
      failed: span.status.code === 2,
    });
  }

  return {
    groups,
    happenings,
    steps: (e) => steps.get(e.key),
    stages: (e) => stages.get(e.key),
    transfers: (e) => transfers.get(e.key),
    requests: (e) => requests.get(e.key),
    groupsOf: (e) => [...groups.values()].filter((g) => g.instance === e),
    lastHook: (e) => lastHook.get(e.key) ?? Number.NEGATIVE_INFINITY,
    spans(spans, now) {
      for (const span of spans) {
        const subject = subjectOf(span.resource, now);
        const { instance } = subject;
        const start = msFromNanos(span.startTime);
        const end = msFromNanos(span.endTime);
        const a = span.attributes;
        switch (span.name) {
          case 'collective':
            collective(span, subject, start, end, now);
            break;
          case 'engine_step': {
            if (!instance) break;
            const gpu = num(a['step.gpu_time_ns']);
            const schedule = num(a['step.schedule_time_ns']);
            listFor(steps, instance.key, 4096)?.push({
              start,
              end,
              prefillTokens: num(a['step.prefill_tokens']) ?? 0,
              decodeSeqs: num(a['step.decode_seqs']) ?? 0,
              gpuMs: gpu === undefined ? undefined : gpu / 1e6,
              scheduleMs: schedule === undefined ? undefined : schedule / 1e6,
              graph: str(a['step.graph']),
              rank: subject.rank?.id ?? '',
            });
            break;
          }
          case 'pipeline_stage':
            if (instance) {
              listFor(stages, instance.key, 4096)?.push({
                stage: num(a['stage.index']) ?? 0,
                stages: num(a['stage.count']) ?? 1,
                microbatch: num(a['microbatch']) ?? 0,
                step: num(a['step.id']) ?? 0,
                start,
                end,
                tokens: num(a['stage.tokens']),
              });
            }
            break;
          case 'kv_transfer':
            transfer(span, subject, start, end, now);
            break;
          default:
            if (instance && (a['inference.stage'] === 'request' || a['gen_ai.server.request.duration'] !== undefined)) {
              request(span, instance, start, end);
            }
            continue;
        }
        if (instance) lastHook.set(instance.key, now);
      }
    },
    logs(records, now) {
      for (const r of records) {
        const kind =
          r.eventName === CHANGE_EVENT ? str(r.attributes['kind'] ?? r.attributes['change.kind']) : r.eventName;
        if (kind === '') continue;
        const subject = subjectOf(r.resource, now);
        const attributes: Record<string, string | number> = {};
        let n = 0;
        for (const [key, value] of Object.entries(r.attributes)) {
          if (n++ >= 24) break;
          attributes[key] = num(value) ?? str(value).slice(0, 200);
        }
        happenings.push({
          at: r.time > 0n ? msFromNanos(r.time) : now,
          kind,
          entity: subject.gpu ?? subject.rank ?? subject.instance ?? subject.node,
          attributes,
          text: typeof r.body === 'string' ? r.body.slice(0, 300) : '',
        });
      }
    },
    expire(before) {
      for (const [id, group] of groups) {
        if (group.last >= before) continue;
        groups.delete(id);
        pending.delete(id);
      }
      const old = <T>(map: Map<string, Bounded<T>>, end: (item: T) => number) => {
        for (const [key, list] of map) {
          const last = list.items.at(-1);
          if (last === undefined || end(last) < before) map.delete(key);
        }
      };
      old(steps, (s) => s.end);
      old(stages, (s) => s.end);
      old(transfers, (s) => s.end);
      old(requests, (s) => s.end);
      for (const [key, at] of lastHook) if (at < before) lastHook.delete(key);
    },
  };
}
