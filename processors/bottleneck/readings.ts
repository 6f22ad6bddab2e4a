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
 * A factor over the usual, up to three times as demanding while little of the past is known: chance, and a service that fills up, look
 * like harm then.
 */
export const overUsual = (factor: number, base: { readonly n: number }): number =>
  1 + (factor - 1) * (1 + 2 * Math.max(0, 1 - base.n / 30));

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

/** The slow end of the core clock, Hz: a limit that comes and goes leaves the mean where it was. */
const slowEnd = (view: AnyView, windowMs: number): number | undefined => {
  const known = view.values('hw.gpu.clock', 'clock');
  const name = CORE_CLOCKS.find((n) => n !== '' && known.includes(n));
  const reading = name ? view.gauge('hw.gpu.clock', { clock: name }) : view.gauge('hw.gpu.clock');
  return reading?.quantile(windowMs, 0.15)?.value;
};

/**
 * Share of the core clock that is lost at the slow end of a window, against the same of the GPUs that do the same work;
 * undefined without such, or where the clock was not told. Only for what is also seen to hold the clock down.
 */
export function clockLossAtTimes(view: AnyView, windowMs: number): Measure | undefined {
  const now = clock(view, 'core', windowMs);
  const ratio = againstMates(view, (v) => slowEnd(v, windowMs));
  if (!now || ratio === undefined) return undefined;
  const { course: _mean, ...rest } = derived(
    'hw.gpu.clock',
    'share of the core clock lost, at times',
    Math.max(0, 1 - ratio),
    [now],
    now.of,
  );
  return rest;
}

export interface ClockLoss {
  /** 1 − clock / reference: the share of the clock that is lost. */
  readonly loss: Measure;
  readonly hertz: number;
  readonly reference: number;
  readonly by: 'its group' | 'own past' | 'peers';
}

/** GPUs that do the same work at the same time: those of the same replica, when that is known for sure. */
export function mates(view: AnyView): readonly Entity[] {
  const replica = view.the('replica');
  if (!replica) return [];
  return view.topology
    .related(replica, 'gpu')
    .filter((r) => r.entity !== view.entity && r.confidence >= 0.8)
    .map((r) => r.entity);
}

/** A value of this GPU against the median of its mates; undefined without mates that tell it. */
export function againstMates(view: AnyView, read: (v: AnyView) => number | undefined): number | undefined {
  const own = read(view);
  if (own === undefined) return undefined;
  const others = mates(view)
    .flatMap((e) => read(view.on(e)) ?? [])
    .sort((a, b) => a - b);
  const median = others.length > 0 ? (others[(others.length - 1) >> 1]! + others[others.length >> 1]!) / 2 : 0;
  return median > 0 ? own / median : undefined;
}

/**
 * The share of the clock that is lost. A GPU at its power limit runs as fast as its work allows, so a clock is compared only
 * with what did the same work: the GPUs of the same replica now. Where there are none, or where they all fell together, with
 * the slow end of its own past under load (its 10th percentile), or of its peers’ (the slowest of them).
 */
export function clockLoss(view: AnyView, windowMs: number, domain: 'core' | 'memory' = 'core'): ClockLoss | undefined {
  return (
    view.once(`clockLoss|${domain}|${windowMs}|${view.entity.key}`, () => {
      const loaded = (v: AnyView): boolean => (busy(v, windowMs)?.value ?? 1) >= 0.3;
      if (!loaded(view)) return null;
      const now = clock(view, domain, windowMs);
      if (!now) return null;
      const candidates: { reference: number; by: ClockLoss['by'] }[] = [];
      const ratio = againstMates(view, (v) => (loaded(v) ? clock(v, domain, windowMs)?.value : undefined));
      if (ratio !== undefined) candidates.push({ reference: now.value / ratio, by: 'its group' });
      const past = view.pastQuantile(`clock.${domain}`, now.value, 0.1);
      if (past !== undefined) candidates.push({ reference: past, by: 'own past' });
      else if (ratio === undefined) {
        const others = view
          .peers()
          .map((e) => view.on(e))
          .filter(loaded)
          .flatMap((v) => clock(v, domain, windowMs)?.value ?? []);
        if (others.length >= 3) candidates.push({ reference: Math.min(...others), by: 'peers' });
      }
      if (candidates.length === 0) return null;
      const best = candidates.reduce((a, c) => (c.reference > a.reference ? c : a));
      const loss: Measure = {
        ...derived(
          'hw.gpu.clock',
          `share of the ${domain} clock lost`,
          Math.max(0, 1 - now.value / best.reference),
          [now],
          now.of,
        ),
        ...(now.course
          ? {
              course: () => {
                const c = now.course!();
                return { t: c.t, v: c.v.map((x) => 1 - x / best.reference) };
              },
            }
          : {}),
      };
      return { loss, hertz: now.value, reference: best.reference, by: best.by };
    }) ?? undefined
  );
}

/**
 * Whether the core clock stands still under load, over its newest five samples: locked clocks do, a power limit lets them
 * follow the work. Undefined where it cannot be told.
 */
export function clockStandsStill(view: AnyView): boolean | undefined {
  const names = view.values('hw.gpu.clock', 'clock');
  const name = CORE_CLOCKS.find((n) => n !== '' && names.includes(n));
  const reading = name ? view.gauge('hw.gpu.clock', { clock: name }) : view.gauge('hw.gpu.clock');
  const newest = reading?.samples(120_000).v.slice(-5);
  if (!newest || newest.length < 5) return undefined;
  const high = Math.max(...newest);
  return high > 0 ? (high - Math.min(...newest)) / high <= 0.006 : undefined;
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
