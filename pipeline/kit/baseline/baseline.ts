/**
 * What a load sweep says of each service: the knee, the largest load within the objectives, and what runs out first; as a file
 * that `compare` and the bottleneck processor use (`enginelight.baseline/v1`).
 */
import { feasibleLoad, type Interval, type Knee, kneeOf, type LoadLevel } from '../stats/knee.ts';
import { median, quantile } from '../stats/robust.ts';
import type { Objectives, WatchedService } from './watch.ts';
import { type Latency, RESOURCES, type Resource, type Window } from './windows.ts';

export interface BaselineLevel {
  /** Requests at once. */
  readonly load: number;
  readonly requests_per_s: number | null;
  readonly tokens_per_s: number;
  readonly ttft_s: number | null;
  readonly itl_s: number | null;
  readonly e2e_s: number | null;
  /** Share of requests that met every objective of which it is known; null without objectives. */
  readonly within_slo: number | null;
  readonly windows: number;
}

export interface BaselineResource {
  readonly resource: string;
  readonly signal: string;
  /** Share in use at the load that can be carried, and what is left of it. */
  readonly used: number;
  readonly headroom: number;
  /** Tokens a second at which it would be full, in proportion; null where it does not follow the output. */
  readonly full_at_tokens_per_s: number | null;
}

export interface ServiceBaseline {
  readonly service: string;
  readonly model: string;
  readonly replicas: number;
  readonly mix: {
    readonly prompt_tokens: number | null;
    readonly output_tokens: number | null;
    readonly steady: boolean;
  };
  readonly levels: readonly BaselineLevel[];
  /** `found`; `not_reached`: output followed the load as far as it went; `insufficient`: too little was seen. */
  readonly knee: {
    readonly status: 'found' | 'not_reached' | 'insufficient';
    readonly why: string | null;
    readonly load: Interval | null;
    readonly tokens_per_s: Interval | null;
    readonly requests_per_s: Interval | null;
    readonly cross_check_load: number | null;
  };
  /** What the service gives at most; null where the knee was not found. */
  readonly capacity: { readonly tokens_per_s: Interval; readonly requests_per_s: Interval | null } | null;
  /** The largest load at which the objectives hold. */
  readonly feasible: {
    readonly objectives: Objectives;
    readonly share: number;
    readonly load: number | null;
    readonly requests_per_s: number | null;
    readonly tokens_per_s: number | null;
    /** They held as far as the load went. */
    readonly open: boolean;
  } | null;
  readonly resources: readonly BaselineResource[];
  /** Values per minute, for `compare`: load first. */
  readonly minutes: Readonly<Record<string, readonly (number | null)[]>>;
}

export interface Baseline {
  readonly schema: 'enginelight.baseline/v1';
  readonly created_at: string;
  readonly window: { readonly start: string; readonly end: string };
  readonly services: readonly ServiceBaseline[];
}

/** Loads within this factor are one level; with few windows, its third power. */
const NEAR = 1.15;
const MOST_LEVELS = 16;
/** So many times the load that gives nearly all output is far beyond any knee. */
const FAR = 4;
/** Shorter, a level is a passing moment. Seconds of its windows together. */
const SHORTEST_LEVEL = 6;
/** By how much the length of answers may differ between levels before a knee of them means little. */
const MIX = 1.4;

interface Group {
  readonly windows: readonly Window[];
  readonly load: number;
  readonly output: number;
}

/** Windows of about the same load, in order of load: near enough to be one level, and each with enough of them. */
function groupsOf(windows: readonly Window[]): Group[] {
  const some = windows.filter((w) => w.load > 0.05 && w.output > 0).sort((a, b) => a.load - b.load);
  const enough = Math.max(2, Math.floor(some.length / MOST_LEVELS));
  const all: Window[][] = [];
  for (const w of some) {
    const last = all.at(-1);
    if (last && (w.load <= last[0]!.load * NEAR || (last.length < enough && w.load <= last[0]!.load * NEAR ** 3)))
      last.push(w);
    else all.push([w]);
  }
  const levels = all
    .filter((g) => g.length > 1 && g.reduce((sum, w) => sum + w.seconds, 0) >= SHORTEST_LEVEL)
    .map(groupOf);
  // Where a queue grows without end, loads are many and tell one thing: what the output is at most.
  const top = quantile(
    levels.map((l) => l.output),
    0.9,
  );
  const near = levels.find((l) => l.output >= 0.9 * top)?.load ?? Infinity;
  const far = levels.filter((l) => l.load > FAR * near);
  if (far.length < 2) return levels;
  return [...levels.filter((l) => l.load <= FAR * near), groupOf(far.flatMap((l) => l.windows))];
}

/** Relative standard error of a level's output: of the output itself, or for a load, whichever is the steadier. */
function errorOf({ windows }: Group): number {
  const cv = (xs: readonly number[]) => {
    const m = mean(xs);
    return Math.sqrt(mean(xs.map((x) => (x / m - 1) ** 2)));
  };
  const spread = Math.min(cv(windows.map((w) => w.output)), cv(windows.map((w) => w.output / w.load)));
  return spread / Math.sqrt(Math.max(1, windows.length - 1));
}

const groupOf = (windows: readonly Window[]): Group => ({
  windows,
  load: mean(windows.map((w) => w.load)),
  output: mean(windows.map((w) => w.output)),
});

const mean = (xs: readonly number[]): number => xs.reduce((a, b) => a + b, 0) / xs.length;
const meanOf = (windows: readonly Window[], read: (w: Window) => number | undefined): number | null => {
  const known = windows.map(read).filter((x) => x !== undefined);
  return known.length === 0 ? null : mean(known);
};
/** Mean over requests, not over windows. */
const latencyOf = (windows: readonly Window[], what: Latency): number | null => {
  let [sum, count] = [0, 0];
  for (const w of windows) {
    const l = w.latencies[what];
    if (!l) continue;
    sum += l.mean * l.count;
    count += l.count;
  }
  return count > 0 ? sum / count : null;
};

/** Requests that were within each objective, of those judged: the worst of the objectives decides. */
function within(windows: readonly Window[], objectives: Objectives): { good: number; all: number } {
  let worst = { good: 0, all: 0 };
  for (const what of Object.keys(objectives) as Latency[]) {
    let [good, all] = [0, 0];
    for (const w of windows) {
      good += w.latencies[what]?.good ?? 0;
      all += w.latencies[what]?.judged ?? 0;
    }
    if (all > 0 && (worst.all === 0 || good / all < worst.good / worst.all)) worst = { good, all };
  }
  return worst;
}

export interface BaselineOptions {
  readonly objectives: Objectives;
  /** Share of requests that must be within each. */
  readonly share: number;
}

/** The baseline of one service. */
export function serviceBaseline(watched: WatchedService, { objectives, share }: BaselineOptions): ServiceBaseline {
  const groups = groupsOf(watched.windows);
  const levels: LoadLevel[] = groups.map((g) => ({
    load: g.load,
    output: g.output,
    windows: g.windows.length,
    error: errorOf(g),
  }));
  const found = kneeOf(levels);
  const perRequest = tokensPerRequest(groups);
  const inRequests = (i: Interval): Interval | null =>
    perRequest === null ? null : { value: i.value / perRequest, low: i.low / perRequest, high: i.high / perRequest };
  const knee: Knee | undefined = found.found ? found.knee : undefined;
  const asked = Object.keys(objectives).length > 0;
  const judged = groups.map((g) => ({ load: g.load, ...within(g.windows, objectives) }));
  const feasible = asked && judged.some((j) => j.all > 0) ? feasibleLoad(judged, share) : undefined;
  const bearable = Math.min(feasible?.load ?? Infinity, knee?.load.value ?? Infinity, groups.at(-1)?.load ?? Infinity);
  const outputs = groups.map((g) => g.windows.map((w) => (w.requests ? w.output / w.requests : undefined)));
  const lengths = outputs.map((o) => o.filter((x) => x !== undefined)).filter((o) => o.length > 0);
  const middles = lengths.map((l) => median(l));
  const promptPer = meanOf(watched.windows, (w) =>
    w.requests && w.prompt !== undefined ? w.prompt / w.requests : undefined,
  );
  return {
    service: watched.service,
    model: watched.model,
    replicas: watched.replicas,
    mix: {
      prompt_tokens: promptPer,
      output_tokens: perRequest,
      steady: middles.length < 2 || quantile(middles, 0.9) / Math.max(1e-9, quantile(middles, 0.1)) <= MIX,
    },
    levels: groups.map(
      (g, i): BaselineLevel => ({
        load: g.load,
        requests_per_s: meanOf(g.windows, (w) => w.requests),
        tokens_per_s: g.output,
        ttft_s: latencyOf(g.windows, 'ttft'),
        itl_s: latencyOf(g.windows, 'itl'),
        e2e_s: latencyOf(g.windows, 'e2e'),
        within_slo: judged[i]!.all > 0 ? judged[i]!.good / judged[i]!.all : null,
        windows: g.windows.length,
      }),
    ),
    knee: {
      status: found.found ? 'found' : found.seen === undefined ? 'insufficient' : 'not_reached',
      why: found.found ? null : found.why,
      load: knee?.load ?? null,
      tokens_per_s: knee?.output ?? null,
      requests_per_s: knee ? inRequests(knee.output) : null,
      cross_check_load: knee?.cross_check ?? null,
    },
    capacity: knee ? { tokens_per_s: knee.capacity, requests_per_s: inRequests(knee.capacity) } : null,
    feasible: asked
      ? {
          objectives,
          share,
          load: feasible?.load ?? null,
          requests_per_s: feasible
            ? outputAt(groups, feasible.load, (g) => meanOf(g.windows, (w) => w.requests))
            : null,
          tokens_per_s: feasible ? outputAt(groups, feasible.load, (g) => g.output) : null,
          open: feasible?.open ?? false,
        }
      : null,
    resources: resourcesOf(groups, bearable),
    minutes: minutesOf(watched.windows),
  };
}

function tokensPerRequest(groups: readonly Group[]): number | null {
  let [tokens, requests] = [0, 0];
  for (const w of groups.flatMap((g) => g.windows)) {
    if (w.requests === undefined) continue;
    tokens += w.output;
    requests += w.requests;
  }
  return requests > 0 ? tokens / requests : null;
}

/** A value of the levels at a load, in proportion between two. */
function outputAt(groups: readonly Group[], load: number, read: (g: Group) => number | null): number | null {
  const after = groups.findIndex((g) => g.load >= load);
  if (after < 0) return groups.length > 0 ? read(groups.at(-1)!) : null;
  const b = groups[after]!;
  const a = groups[after - 1];
  const [from, to] = [a ? read(a) : null, read(b)];
  if (!a || from === null || to === null) return to;
  return from + ((to - from) * (load - a.load)) / (b.load - a.load);
}

function resourcesOf(groups: readonly Group[], load: number): BaselineResource[] {
  const out: BaselineResource[] = [];
  for (const signal of Object.keys(RESOURCES) as Resource[]) {
    const read = (g: Group) => meanOf(g.windows, (w) => w.resources[signal]);
    const known = groups.filter((g) => g.load <= load * 1.05 && read(g) !== null);
    if (known.length === 0) continue;
    const used = outputAt(known, load, read);
    if (used === null) continue;
    // used = rest + per·output, over the levels that can be carried.
    const [xs, ys] = [known.map((g) => g.output), known.map((g) => read(g)!)];
    const [mx, my] = [mean(xs), mean(ys)];
    const spread = xs.reduce((s, x) => s + (x - mx) ** 2, 0);
    const per = spread > 0 ? xs.reduce((s, x, i) => s + (x - mx) * (ys[i]! - my), 0) / spread : 0;
    const last = known.at(-1)!.output;
    const full = per * last > 0.05 ? last + (1 - read(known.at(-1)!)!) / per : null;
    out.push({
      resource: RESOURCES[signal],
      signal,
      used,
      headroom: Math.max(0, 1 - used),
      full_at_tokens_per_s: full !== null && full > 0 ? full : null,
    });
  }
  return out.sort((a, b) => (a.full_at_tokens_per_s ?? Infinity) - (b.full_at_tokens_per_s ?? Infinity));
}

/** Of `Window` what `compare` judges, a value a minute. */
export const MINUTE_SIGNALS = {
  'inference.requests.finished': (w: Window) => w.requests,
  'inference.tokens.generated': (w: Window) => w.output,
  'gen_ai.server.time_to_first_token': (w: Window) => w.latencies.ttft?.mean,
  'inference.inter_token.latency': (w: Window) => w.latencies.itl?.mean,
  'gen_ai.server.request.duration': (w: Window) => w.latencies.e2e?.mean,
  'inference.kv.usage': (w: Window) => w.resources['inference.kv.usage'],
} as const;

const MOST_MINUTES = 1440;

function minutesOf(windows: readonly Window[]): Record<string, (number | null)[]> {
  const minutes = new Map<number, Window[]>();
  for (const w of windows) {
    const at = Math.floor(w.startMs / 60_000);
    const found = minutes.get(at);
    if (found) found.push(w);
    else if (minutes.size < MOST_MINUTES) minutes.set(at, [w]);
  }
  const out: Record<string, (number | null)[]> = {};
  for (const [signal, read] of Object.entries(MINUTE_SIGNALS)) {
    const values = [...minutes.values()].map((some) => meanOf(some, read));
    if (values.some((v) => v !== null)) out[signal] = values.map((v) => (v === null ? null : Number(v.toPrecision(6))));
  }
  return out;
}

/** Puts the services' baselines into one file. */
export function baselineOf(services: readonly WatchedService[], options: BaselineOptions, nowMs: number): Baseline {
  const starts = services.flatMap((s) => [s.windows[0]!.startMs]);
  const ends = services.flatMap((s) => [s.windows.at(-1)!.startMs]);
  const iso = (ms: number) => (Number.isFinite(ms) ? new Date(ms).toISOString() : '');
  return {
    schema: 'enginelight.baseline/v1',
    created_at: iso(nowMs),
    window: { start: iso(Math.min(...starts)), end: iso(Math.max(...ends)) },
    services: services.map((s) => serviceBaseline(s, options)),
  };
}
