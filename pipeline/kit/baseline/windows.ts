/** Load, output and latencies of a service, second by second, and their means over windows. */

export const RATES = {
  'inference.tokens.generated': 'tokens',
  'inference.requests.finished': 'requests',
  'inference.tokens.prompt': 'prompt',
} as const;
export const LATENCIES = {
  'gen_ai.server.time_to_first_token': 'ttft',
  'inference.inter_token.latency': 'itl',
  'gen_ai.server.request.duration': 'e2e',
} as const;
export const LEVELS = {
  'inference.requests.running': 'running',
  'inference.requests.waiting': 'waiting',
} as const;
/** Shares of something that is full at 1. Pairs are a value and its limit. */
export const RESOURCES = {
  'inference.kv.usage': 'KV cache',
  'hw.gpu.sm_active': 'GPU compute',
  'hw.gpu.tensor_active': 'GPU tensor cores',
  'hw.gpu.dram_active': 'GPU memory bandwidth',
  'hw.gpu.utilization': 'GPU busy',
  'hw.gpu.memory.utilization': 'GPU memory',
  'hw.power': 'GPU power',
  'system.cpu.utilization': 'host CPU',
} as const;
export const LIMITS: Readonly<Record<string, string>> = { 'hw.power.limit': 'hw.power' };

export type Rate = (typeof RATES)[keyof typeof RATES];
export type Latency = (typeof LATENCIES)[keyof typeof LATENCIES];
export type Level = (typeof LEVELS)[keyof typeof LEVELS];
export type Resource = keyof typeof RESOURCES;

/** Sums over one second, of all replicas. Seconds of a level are those in which it was known, added over the replicas. */
export interface Second {
  readonly rates: Map<Rate, { amount: number; seconds: number }>;
  readonly levels: Map<Level, { amount: number; seconds: number }>;
  readonly latencies: Map<Latency, { sum: number; count: number; good: number; judged: number }>;
  readonly resources: Map<Resource, { amount: number; seconds: number }>;
}
export const second = (): Second => ({
  rates: new Map(),
  levels: new Map(),
  latencies: new Map(),
  resources: new Map(),
});

/** Means over a window. Absent is not known. */
export interface Window {
  readonly startMs: number;
  readonly seconds: number;
  readonly load: number;
  /** Tokens a second. */
  readonly output: number;
  readonly requests?: number;
  readonly prompt?: number;
  readonly latencies: Readonly<
    Partial<
      Record<Latency, { readonly mean: number; readonly count: number; readonly good: number; readonly judged: number }>
    >
  >;
  readonly resources: Readonly<Partial<Record<Resource, number>>>;
}

/** What was seen of one service. */
export interface Service {
  readonly engines: Map<number, Second>;
  readonly fronts: Map<number, Second>;
  readonly replicas: Set<string>;
  /** Which of the two have a signal. */
  readonly seen: { engines: Set<string>; fronts: Set<string> };
  model: string;
}

/** Of engines where they tell it, of what stands before them otherwise. */
export function windowsOf(s: Service, shared: Service | undefined, width: number, firstMs: number): Window[] {
  const from = (name: string) => (s.seen.engines.has(name) ? s.engines : s.fronts);
  const load = from('inference.requests.running');
  const output = from('inference.tokens.generated');
  const requests = from('inference.requests.finished');
  const prompt = from('inference.tokens.prompt');
  const latencies = (Object.keys(LATENCIES) as (keyof typeof LATENCIES)[]).map((name) => ({
    what: LATENCIES[name],
    // What a client waits for is seen at the front, where there is one.
    seconds: s.seen.fronts.has(name) ? s.fronts : s.engines,
  }));
  const last = Math.max(-1, ...load.keys());
  const windows: Window[] = [];
  for (let at = Math.min(...load.keys()); at + width <= last + 1; at += width) {
    const sum = (all: Map<number, Second>, read: (s: Second) => { amount: number; seconds: number } | undefined) => {
      let [amount, seconds, known] = [0, 0, 0];
      for (let i = at; i < at + width; i++) {
        const one = all.get(i);
        const found = one && read(one);
        if (!found) continue;
        amount += found.amount;
        seconds += found.seconds;
        known++;
      }
      return { amount, seconds, share: known / width };
    };
    const running = sum(load, (x) => x.levels.get('running'));
    const tokens = sum(output, (x) => x.rates.get('tokens'));
    if (running.share < 0.7 || tokens.share < 0.7 || !isSteady(load, at, width)) continue;
    const waiting = sum(load, (x) => x.levels.get('waiting'));
    const done = sum(requests, (x) => x.rates.get('requests'));
    const prompts = sum(prompt, (x) => x.rates.get('prompt'));
    const resources: Partial<Record<Resource, number>> = {};
    for (const name of Object.keys(RESOURCES) as Resource[]) {
      const all = name.startsWith('inference.') ? s.engines : shared?.engines;
      const found = all && sum(all, (x) => x.resources.get(name));
      if (found && found.seconds > 0) resources[name] = found.amount / found.seconds;
    }
    const seen: Partial<Record<Latency, { mean: number; count: number; good: number; judged: number }>> = {};
    for (const { what, seconds } of latencies) {
      const total = { sum: 0, count: 0, good: 0, judged: 0 };
      for (let i = at; i < at + width; i++) {
        const one = seconds.get(i)?.latencies.get(what);
        if (!one) continue;
        total.sum += one.sum;
        total.count += one.count;
        total.good += one.good;
        total.judged += one.judged;
      }
      if (total.count > 0) {
        seen[what] = { mean: total.sum / total.count, count: total.count, good: total.good, judged: total.judged };
      }
    }
    windows.push({
      startMs: firstMs + at * 1000,
      seconds: width,
      load: (running.amount + waiting.amount) / (running.share * width),
      output: tokens.amount / (tokens.share * width),
      ...(done.share >= 0.7 && { requests: done.amount / (done.share * width) }),
      ...(prompts.share >= 0.7 && { prompt: prompts.amount / (prompts.share * width) }),
      latencies: seen,
      resources,
    });
  }
  return windows;
}

/** Whether the load of a window is one load: not the end of a benchmark and what came after it. */
function isSteady(load: Map<number, Second>, at: number, width: number): boolean {
  const loads: number[] = [];
  for (let i = at; i < at + width; i++) {
    const level = load.get(i)?.levels.get('running');
    if (level && level.seconds > 0) loads.push(level.amount);
  }
  const mean = loads.reduce((a, b) => a + b, 0) / loads.length;
  // Few requests come and go: there a second without any is nothing unusual.
  return mean < 2 || loads.every((x) => x > mean / 2 && x < mean * 2);
}
