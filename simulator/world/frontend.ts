/**
 * The way of a request from the client through the router to an engine and back: policies with a view of the replicas
 * that is as old as its last refresh, client timeouts and retries.
 */
import type { Random } from '../random.ts';
import { toEngine } from './api-process.ts';
import { startSplit } from './disaggregation.ts';
import { abort, enqueue } from './engine.ts';
import { observe } from './histogram.ts';
import { waitingCount } from './scheduler.ts';
import { REQUEST, type Replica, type Request, type World } from './types.ts';
import { again } from './workload.ts';

interface View {
  waiting: number;
  running: number;
  kv: number;
  ready: boolean;
  sentSince: number;
}

export interface Router {
  /** A request of a client arrives. */
  arrive(r: Request): void;
}

export function router(w: World, r: Random): Router {
  const { spec, frontend: f } = w;
  const views = new Map<Replica, View>();
  let refreshed = Number.NEGATIVE_INFINITY;
  const turns = new Map<readonly Replica[], number>();
  /** Which replica last got a prefix; bounded, first seen forgotten first. */
  const index = new Map<number, Replica>();

  const refresh = () => {
    const every = f.fault.refreshS > 0 ? f.fault.refreshS : spec.deploy.routerRefreshS;
    if (w.now - refreshed < every) return;
    refreshed = w.now;
    for (const rep of w.replicas) {
      let waiting = 0;
      let running = 0;
      let kv = 0;
      for (const s of rep.scheds) {
        waiting += s.counters.waiting;
        running += s.counters.running;
        kv = Math.max(kv, s.counters.kvUsage);
      }
      const ready = (rep.state === 'ready' || rep.state === 'hung') && !rep.cordoned;
      const old = views.get(rep);
      if (old) {
        old.waiting = waiting;
        old.running = running;
        old.kv = kv;
        old.ready = ready;
        old.sentSince = 0;
      } else views.set(rep, { waiting, running, kv, ready, sentSince: 0 });
    }
  };

  const loadOf = (rep: Replica): number => {
    const v = views.get(rep)!;
    const own = f.fault.noCorrection ? 0 : v.sentSince;
    return v.running + 4 * v.waiting + own * 1.5 + v.kv * 20;
  };

  const overlap = (request: Request, rep: Replica): number => {
    let tokens = 0;
    for (const s of request.segments) {
      if (index.get(s.key) !== rep) break;
      tokens += s.tokens;
    }
    return tokens / Math.max(1, request.promptTokens);
  };

  const choose = (request: Request, pool: readonly Replica[]): Replica | null => {
    refresh();
    const ready = pool.filter((rep) => views.get(rep)!.ready);
    if (ready.length === 0) return null;
    if (ready.length === 1) return ready[0]!;
    const fault = f.fault;
    if (fault.skew > 0 && r.chance(fault.skew)) {
      const hot = pool.find((rep) => rep.index === fault.skewTo);
      if (hot && views.get(hot)!.ready) return hot;
    }
    const policy = fault.random > 0 && r.chance(fault.random) ? 'random' : spec.deploy.router;
    switch (policy) {
      case 'random':
        return r.pick(ready);
      case 'round-robin': {
        const turn = turns.get(pool) ?? 0;
        turns.set(pool, turn + 1);
        return ready[turn % ready.length]!;
      }
      case 'least-loaded': {
        let best = ready[0]!;
        let least = Number.POSITIVE_INFINITY;
        const start = r.int(ready.length);
        for (let i = 0; i < ready.length; i++) {
          const rep = ready[(start + i) % ready.length]!;
          const load = loadOf(rep);
          if (load < least) {
            least = load;
            best = rep;
          }
        }
        return best;
      }
      default: {
        // Affinity against load; the KV-cost policy weighs the prompt tokens that would have to be computed.
        const weight = policy === 'kv-cost' ? Math.min(3, request.promptTokens / 1500) : 1.2;
        let mean = 0;
        for (const rep of ready) mean += loadOf(rep);
        mean = mean / ready.length + 6;
        let best = ready[0]!;
        let top = Number.NEGATIVE_INFINITY;
        const start = r.int(ready.length);
        for (let i = 0; i < ready.length; i++) {
          const rep = ready[(start + i) % ready.length]!;
          const score = weight * overlap(request, rep) - loadOf(rep) / mean;
          if (score > top) {
            top = score;
            best = rep;
          }
        }
        return best;
      }
    }
  };

  const remember = (request: Request, rep: Replica) => {
    for (const s of request.segments) index.set(s.key, rep);
    index.set(request.ownKey, rep);
    while (index.size > 60_000) index.delete(index.keys().next().value as number);
  };

  const prefillPool = w.replicas.filter((x) => x.role === 'prefill');
  const servePool = w.replicas.filter((x) => x.role !== 'prefill');

  const dispatch = (request: Request) => {
    if (request.state === REQUEST.aborted) return;
    const target = choose(request, servePool);
    let prefill: Replica | null = null;
    if (prefillPool.length > 0) prefill = choose(request, prefillPool);
    if (!target || (prefillPool.length > 0 && !prefill)) {
      fail(request);
      return;
    }
    request.routed = w.now;
    observe(f.hitRatio, overlap(request, prefill ?? target));
    remember(request, prefill ?? target);
    for (const rep of prefill ? [prefill, target] : [target]) {
      views.get(rep)!.sentSince++;
      f.sent.set(rep, (f.sent.get(rep) ?? 0) + 1);
    }
    const flight = f.inflight.get(target)!;
    flight.requests++;
    flight.tokens += request.promptTokens;
    request.onFirst = (x, at) => {
      observe(f.ttft, at - x.arrival);
    };
    request.onEnd = (x, outcome) => {
      flight.requests--;
      flight.tokens -= x.promptTokens;
      settle(x, outcome);
    };
    if (prefill) {
      f.pdSplit++;
      startSplit(w, request, prefill, target);
      return;
    }
    toEngine(w, request, target, () => {
      // A data-parallel replica spreads requests over its cores, fewest first.
      let core = target.scheds[0]!;
      if (target.scheds.length > 1) {
        const skewed = target.knobs.dpSkew > 0 && target.random.chance(target.knobs.dpSkew);
        if (!skewed)
          for (const s of target.scheds)
            if (s.running.n + waitingCount(s) < core.running.n + waitingCount(core)) core = s;
      }
      enqueue(w, core, request);
    });
  };

  const settle = (request: Request, outcome: 'ok' | 'abort' | 'error') => {
    f.running--;
    w.totals.inSystem--;
    if (outcome === 'ok') {
      w.totals.completed++;
      const e2e = w.now - request.arrival;
      observe(f.duration, e2e);
      observe(f.inputTokens, request.promptTokens);
      observe(f.outputTokens, request.outputTokens);
      observe(f.cachedTokens, request.cached);
      f.outputTotal += request.outputTokens;
      if (request.outputTokens > 1)
        observe(f.tpot, (request.finished - request.firstToken) / (request.outputTokens - 1));
      observe(f.ntpot, e2e / request.outputTokens);
    } else if (outcome === 'abort') {
      w.totals.aborted++;
      f.cancelled++;
    } else {
      w.totals.failed++;
      f.errors++;
    }
    w.listeners.finished?.(request, outcome);
    if (outcome !== 'ok') retry(request);
  };

  const fail = (request: Request) => {
    request.state = REQUEST.aborted;
    request.finished = w.now;
    f.rejected++;
    settle(request, 'error');
  };

  const retry = (request: Request) => {
    if (request.attempt >= spec.load.clientRetry.max || w.now >= spec.durationS) return;
    const next = again(request, w.now + 0.4);
    w.totals.retried++;
    f.retries++;
    w.queue.at(next.arrival, () => arrive(next));
  };

  const arrive = (request: Request) => {
    w.totals.arrived++;
    w.totals.inSystem++;
    f.requests++;
    f.running++;
    const own = 0.0009 + 0.0006 * r.exponential() + (f.fault.delayS > 0 ? f.fault.delayS * r.gamma(4) : 0);
    f.cpuS += 0.0011 + f.fault.cpu;
    const decided = f.fault.delayS > 0 ? own : 0.0002 + 0.0003 * r.exponential();
    observe(f.decision, decided);
    observe(f.decisionMs, decided * 1000);
    observe(f.processing, own);
    observe(f.queueTime, f.fault.delayS > 0 ? own * 0.6 : 0.0001);
    request.dispatched = w.now;
    w.queue.at(w.now + own, () => dispatch(request));
    const timeout = spec.load.clientRetry.timeoutS;
    if (w.now + timeout < spec.durationS)
      w.queue.at(w.now + timeout, () => {
        if (request.state === REQUEST.done || request.state === REQUEST.aborted) return;
        w.totals.timedOut++;
        request.onAbort?.();
        if (request.sched) abort(w, request);
        else {
          request.state = REQUEST.aborted;
          request.finished = w.now;
          if (request.onEnd) request.onEnd(request, 'abort');
          else settle(request, 'abort');
        }
      });
  };

  return { arrive };
}
