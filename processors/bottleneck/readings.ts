/** Quantities that several detectors need, derived once: arrivals without a counter, clocks against a reference, hit rates. */
import type { Entity } from '../../pipeline/kit/topology.ts';
import type { Measure } from './measure.ts';
import type { View } from './view.ts';

// Detectors of every parameter type read these.
// biome-ignore lint/suspicious/noExplicitAny: the parameters are not used here
type AnyView = View<any>;

/** A share or ratio made of other measures, with the quality of its parts. */
export function derived(
  signal: string,
  how: string,
  value: number,
  parts: readonly (Measure | undefined)[],
  of: Measure['of'],
): Measure {
  const known = parts.filter((p): p is Measure => p !== undefined);
  return {
    signal,
    of,
    how,
    value,
    windowMs: Math.max(0, ...known.map((p) => p.windowMs)),
    n: Math.min(...known.map((p) => p.n)),
    defects: Math.max(0, ...known.map((p) => p.defects)),
    ...(known[0]?.course ? { course: known[0].course } : {}),
  };
}

/**
 * Arrivals per second: the engine's own counter where it has one, else what finished plus what piled up (conservation).
 */
export function arrivals(view: AnyView, windowMs: number): Measure | undefined {
  const started = view.counter('inference.requests.started')?.rate(windowMs);
  if (started) return started;
  const finished = view.counter('inference.requests.finished')?.increase(windowMs);
  if (!finished) return undefined;
  const piled = (signal: string): number => {
    const s = view.gauge(signal)?.samples(finished.windowMs);
    return s && s.v.length > 1 ? s.v.at(-1)! - s.v[0]! : 0;
  };
  const aborted = view.counter('inference.requests.aborted')?.increase(windowMs)?.value ?? 0;
  const total = finished.value + aborted + piled('inference.requests.running') + piled('inference.requests.waiting');
  return derived(
    'inference.requests.finished',
    'arrivals by conservation',
    Math.max(0, (total * 1000) / finished.windowMs),
    [finished],
    finished.of,
  );
}

/** Seconds that a request waits for admission right now, by Little's law: mean(waiting) / arrivals. */
export function waitingTime(view: AnyView, windowMs: number): Measure | undefined {
  const waiting = view.gauge('inference.requests.waiting')?.mean(windowMs);
  const rate = arrivals(view, windowMs);
  if (!waiting || !rate) return undefined;
  // With nothing arriving and something waiting, the wait is at least the window.
  const value = rate.value > 1e-3 ? waiting.value / rate.value : waiting.value > 0 ? windowMs / 1000 : 0;
  return derived('inference.requests.waiting', 'waiting / arrivals (s)', value, [waiting, rate], waiting.of);
}

/** Share of waiting requests that wait for capacity; undefined where the engine does not say. */
export function capacityShare(view: AnyView, windowMs: number): number | undefined {
  const capacity = view.gauge('inference.requests.waiting', { reason: 'capacity' })?.mean(windowMs);
  const deferred = view.gauge('inference.requests.waiting', { reason: 'deferred' })?.mean(windowMs);
  if (!capacity) return undefined;
  const total = capacity.value + (deferred?.value ?? 0);
  return total > 0 ? capacity.value / total : undefined;
}

/** Computed prompt tokens per second: those that were not found in a cache. */
export function computedTokens(view: AnyView, windowMs: number): Measure | undefined {
  const direct = view.counter('inference.tokens.prompt.computed')?.rate(windowMs);
  if (direct) return direct;
  const prompt = view.counter('inference.tokens.prompt')?.rate(windowMs);
  if (!prompt) return undefined;
  const cached =
    view.counter('inference.tokens.prompt.cached')?.rate(windowMs) ??
    view.counter('inference.prefix_cache.hits')?.rate(windowMs);
  return derived(
    'inference.tokens.prompt',
    'computed tokens/s',
    Math.max(0, prompt.value - (cached?.value ?? 0)),
    [prompt],
    prompt.of,
  );
}

/** Prefix-cache hits over queries in a window. */
export function hitRatio(view: AnyView, windowMs: number): Measure | undefined {
  const queries = view.counter('inference.prefix_cache.queries')?.increase(windowMs);
  const hits = view.counter('inference.prefix_cache.hits')?.increase(windowMs);
  if (queries && hits && queries.value > 0) {
    return derived(
      'inference.prefix_cache.hits',
      'hits / queries',
      Math.min(1, hits.value / queries.value),
      [hits, queries],
      hits.of,
    );
  }
  const prompt = view.counter('inference.tokens.prompt')?.increase(windowMs);
  const cached = view.counter('inference.tokens.prompt.cached')?.increase(windowMs);
  if (prompt && cached && prompt.value > 0) {
    return derived(
      'inference.tokens.prompt.cached',
      'cached / prompt',
      Math.min(1, cached.value / prompt.value),
      [cached, prompt],
      cached.of,
    );
  }
  return undefined;
}

const CORE_CLOCKS = ['sm', 'graphics', 'gfx', 'system', 'gpu', ''];
const MEMORY_CLOCKS = ['memory', 'mem', 'vram'];

/** Mean clock of the compute or memory domain, Hz. */
export function clock(view: AnyView, domain: 'core' | 'memory', windowMs: number): Measure | undefined {
  const known = view.values('hw.gpu.clock', 'clock');
  const names = domain === 'core' ? CORE_CLOCKS : MEMORY_CLOCKS;
  const name = names.find((n) => known.includes(n));
  if (name !== undefined && name !== '') return view.gauge('hw.gpu.clock', { clock: name })?.mean(windowMs);
  return domain === 'core' && known.length === 0 ? view.gauge('hw.gpu.clock')?.mean(windowMs) : undefined;
}

/** How busy the GPU is, 0..1; the best signal there is. */
export function busy(view: AnyView, windowMs: number): Measure | undefined {
  return view.gauge('hw.gpu.utilization')?.mean(windowMs) ?? view.gauge('hw.gpu.sm_active')?.mean(windowMs);
}

export interface Throttle {
  /** Share of time for which the clock was held down for such a reason. */
  readonly share: Measure | undefined;
  readonly reasons: readonly string[];
}

/** Share of time throttled for reasons that match; undefined where the GPU tells no reasons at all. */
export function throttled(view: AnyView, reason: RegExp, windowMs: number): Throttle | undefined {
  if (!view.has('hw.gpu.throttle')) return undefined;
  const known = view.values('hw.gpu.throttle', 'reason');
  let best: Measure | undefined;
  const reasons: string[] = [];
  for (const name of known) {
    if (!reason.test(name)) continue;
    const reading = view.counter('hw.gpu.throttle', { reason: name });
    const isCounter = reading?.channels[0]?.kind === 'counter';
    const share = isCounter
      ? reading?.rate(windowMs)
      : view.gauge('hw.gpu.throttle', { reason: name })?.share(windowMs, (v) => v > 0, 'share of samples');
    if (!share) continue;
    if (share.value > 0.01) reasons.push(name);
    if (!best || share.value > best.value)
      best = { ...share, value: Math.min(1, share.value), how: `share of time, ${name}` };
  }
  return { share: best, reasons };
}

export const THERMAL = /therm/i;
export const BRAKE = /brake/i;
export const POWER = /^(?!.*brake).*(power|board)/i;

export interface ClockLoss {
  /** clock / reference. */
  readonly ratio: Measure;
  readonly hertz: number;
  readonly reference: number;
  readonly by: 'own past' | 'peers';
}

/**
 * The core clock against what it should be under load: its own past under load, or its peers' median, whichever is higher
 * (a GPU that was always slow is found by its peers, a node that slows as a whole by its past).
 */
export function clockLoss(view: AnyView, windowMs: number, domain: 'core' | 'memory' = 'core'): ClockLoss | undefined {
  return (
    view.once(`clockLoss|${domain}|${windowMs}|${view.entity.key}`, () => {
      const now = clock(view, domain, windowMs);
      if (!now) return null;
      const load = busy(view, windowMs);
      const loaded = load === undefined || load.value >= 0.3;
      // Only clocks under load are a reference; an idle GPU's clock says nothing.
      const past = loaded ? view.baseline(`clock.${domain}`, now.value, 12) : undefined;
      const peer = view.peer(`clock.${domain}`, (v) => {
        const u = busy(v, windowMs);
        return u === undefined || u.value >= 0.3 ? clock(v, domain, windowMs)?.value : undefined;
      });
      const own = past?.median ?? 0;
      const others = peer?.median ?? 0;
      const reference = Math.max(own, others);
      if (reference <= 0) return null;
      const ratio: Measure = {
        ...derived('hw.gpu.clock', `${domain} clock / reference`, now.value / reference, [now], now.of),
        ...(past ? { baseline: past } : {}),
        ...(now.course
          ? {
              course: () => {
                const c = now.course!();
                return { t: c.t, v: c.v.map((x) => x / reference) };
              },
            }
          : {}),
      };
      return { ratio, hertz: now.value, reference, by: own >= others ? ('own past' as const) : ('peers' as const) };
    }) ?? undefined
  );
}

export const MHz = (hertz: number): string => `${Math.round(hertz / 1e6).toLocaleString('en-US')} MHz`;
export const percent = (share: number): string => `${Math.round(share * 100)} %`;
export const seconds = (s: number): string => (s < 1 ? `${Math.round(s * 1000)} ms` : `${s.toFixed(s < 10 ? 1 : 0)} s`);

/** Where a GPU sits, for a sentence. */
export function gpuWords(view: AnyView): string {
  const n = view.name;
  return [
    n.replica ? `replica ${n.replica}` : '',
    n.rank !== undefined ? `rank ${n.rank}` : '',
    `GPU ${n.id}`,
    n.node ? `on ${n.node}` : '',
  ]
    .filter((w) => w !== '')
    .join(', ')
    .replace(', on ', ' on ');
}

/** The replica of a rank or GPU when exactly one is known. */
export const replicaOf = (view: AnyView): Entity | undefined => view.the('replica');
