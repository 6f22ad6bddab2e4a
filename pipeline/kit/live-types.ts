/**
 * `enginelight.live/v1`: the state of now, as the `live` exporter answers it and `enginelight top`, the web page and
 * `enginelight mcp` read it. Numbers are in the units of the signals (seconds, bytes, hertz, watts, shares of 1); null is what
 * nobody said.
 */
import type { EntityName, Grade, PathStep, Severity, SloKind } from './verdict.ts';

export const LIVE_SCHEMA = 'enginelight.live/v1';

type Maybe = number | null;

export interface LiveReplica {
  readonly id: string;
  readonly service: string | null;
  readonly engine: string | null;
  readonly role: string | null;
  readonly model: string | null;
  readonly node: string | null;
  /** Whether its last scrape was answered; null when it is not scraped. */
  readonly up: boolean | null;
  readonly running: Maybe;
  readonly waiting: Maybe;
  readonly kv: Maybe;
  /** Of the last minute. */
  readonly ttft_p50: Maybe;
  readonly ttft_p95: Maybe;
  readonly itl_p50: Maybe;
  readonly itl_p95: Maybe;
  /** Mean of the requests of the last minute. */
  readonly phases: { readonly queue: Maybe; readonly prefill: Maybe; readonly transfer: Maybe; readonly decode: Maybe };
  /** Tokens per second. */
  readonly prompt_rate: Maybe;
  readonly output_rate: Maybe;
  /** Means of the newest buckets, oldest first, `bucket_s` wide each. */
  readonly trend: { readonly ttft: readonly Maybe[]; readonly itl: readonly Maybe[] };
  /** The worst that an open incident or a firing finding says of it or its parts. */
  readonly trouble: Severity | null;
}

export interface LiveGpu {
  readonly id: string;
  readonly index: Maybe;
  readonly node: string | null;
  readonly replica: string | null;
  readonly rank: string | null;
  readonly model: string | null;
  readonly utilization: Maybe;
  readonly clock: Maybe;
  readonly power: Maybe;
  readonly power_limit: Maybe;
  readonly temperature: Maybe;
  readonly memory_used: Maybe;
  readonly memory_limit: Maybe;
  /** Share of the time that its clock was held down, and by what most. */
  readonly throttle: Maybe;
  readonly throttle_reason: string | null;
  /** Errors of its links per second; bytes over its links and PCIe per second. */
  readonly link_errors: Maybe;
  readonly io: Maybe;
  readonly trouble: Severity | null;
}

export interface LiveService {
  readonly id: string;
  readonly replicas: number;
  readonly running: Maybe;
  readonly waiting: Maybe;
  readonly output_rate: Maybe;
  readonly incidents: number;
}

/** An incident in brief; the whole of it, with evidence, is at `incidents/ID`. */
export interface LiveIncident {
  readonly id: string;
  readonly service: string;
  readonly severity: Severity;
  readonly state: 'open' | 'resolved';
  readonly summary: string;
  readonly started_at: string;
  readonly detected_at: string;
  readonly ended_at: string | null;
  readonly slo: SloKind;
  readonly before: Maybe;
  readonly during: Maybe;
  readonly unit: string;
  readonly root: {
    readonly detector: string;
    readonly entity: EntityName;
    readonly probability: number;
    readonly grade: Grade;
  };
  readonly path: readonly PathStep[];
  readonly ambiguous: string | null;
  /** What to do first. */
  readonly remedy: string | null;
}

export interface LiveSnapshot {
  readonly schema: typeof LIVE_SCHEMA;
  readonly version: string;
  readonly time: string;
  /** One sentence on how it is. */
  readonly verdict: string;
  readonly worst: Severity | null;
  readonly counts: {
    readonly replicas: number;
    readonly gpus: number;
    readonly nodes: number;
    readonly open: number;
    readonly findings: number;
    readonly insufficient: number;
  };
  /** Rows that were left out because there are too many; the worst come first. */
  readonly omitted: { readonly replicas: number; readonly gpus: number; readonly incidents: number };
  readonly bucket_s: number;
  readonly services: readonly LiveService[];
  readonly replicas: readonly LiveReplica[];
  readonly gpus: readonly LiveGpu[];
  /** Open ones first, then the newest resolved. */
  readonly incidents: readonly LiveIncident[];
}
